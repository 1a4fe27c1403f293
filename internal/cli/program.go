package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"postseal/internal/failure"
)

// Program is one command: its name, its description and its flags.
type Program struct {
	Name        string
	Description string
	Example     string            // the end of --help
	Examples    map[string]string // the end of each command's --help, by its words
	Flags       any               // pointer to kong's struct; it embeds Common
	Options     []kong.Option
	NoFile      bool // the program reads no configuration file, and has no --config
	LateSignals bool // SIGINT and SIGTERM kill the program until it first uses its context
}

// Common are the flags that every program has.
type Common struct {
	Config  string           `placeholder:"FILE" help:"Configuration file (default: ${config_default}, where it exists)." env:"POSTSEAL_CONFIG"`
	Version kong.VersionFlag `help:"Print the version and exit." env:"-"`
}

// Parsed is a parsed command line, with the file beneath it.
type Parsed struct {
	Kong *kong.Context
	File *File // tables of the configuration file; never nil
}

// Given reports whether a flag is on the command line itself, not only in the
// environment or the file.
func (p *Parsed) Given(flag string) bool {
	return slices.ContainsFunc(p.Kong.Path, func(step *kong.Path) bool {
		return step.Flag != nil && step.Flag.Name == flag && !step.Resolved
	})
}

// Configured returns the value in the environment, or in the file, of a flag that the command
// may not have; "" if there is none.
func (p *Parsed) Configured(flag string) string {
	name := "POSTSEAL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	if value, ok := os.LookupEnv(name); ok {
		return value
	}
	value, _ := p.File.top[flag].(string)
	return value
}

// errDone ends a run in which kong has already said everything (--help, --version).
var errDone = errors.New("")

// Parse reads args, the environment and the configuration file into p.Flags.
//
// It returns an error with exit status 64 for a mistake on the command line and 78 for one in
// the environment or the file. --help and --version write to stdout and return an error with
// status 0.
func (p Program) Parse(args []string, stdout io.Writer) (_ *Parsed, err error) {
	resolver := &resolver{defaultPath: DefaultConfig, loaded: p.NoFile}
	done := false
	parser, err := kong.New(p.Flags, append([]kong.Option{
		kong.Name(p.Name),
		kong.Description(p.Description),
		kong.DefaultEnvars("POSTSEAL"),
		kong.Resolvers(resolver),
		kong.Writers(stdout, io.Discard),
		kong.Exit(func(int) { done = true; panic(errDone) }),
		kong.Help(p.help),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"version": Version(), "config_default": DefaultConfig},
	}, p.Options...)...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			if !done {
				panic(r)
			}
			err = &failure.Error{Kind: failure.KindNone, Err: errDone}
		}
	}()
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, p.parseError(resolver, err)
	}
	return &Parsed{ctx, &resolver.file}, nil
}

// parseError tells errors of the file and the environment (exit 78) from those
// of the command line (exit 64). Kong names the environment variable in its text.
func (p Program) parseError(r *resolver, err error) error {
	var own *failure.Error
	if errors.As(err, &own) {
		return own
	}
	hint := fmt.Sprintf("see %q", strings.Join(append([]string{p.Name}, commandOf(err)...), " ")+" --help")
	if r.inFile != "" && strings.Contains(err.Error(), "--"+r.inFile) {
		return failure.Config("see postseal.toml(5) for the values", "%s: %v", r.file.Path, err)
	}
	if strings.Contains(err.Error(), "from envar ") {
		return failure.Config(hint, "environment: %v", err)
	}
	return failure.Usage(hint, "%v", err)
}

// commandOf returns the command, as words, that a command line reached before its error.
func commandOf(err error) (words []string) {
	var parse *kong.ParseError
	if !errors.As(err, &parse) {
		return nil
	}
	for _, step := range parse.Context.Path {
		if step.Command != nil {
			words = append(words, step.Command.Name)
		}
	}
	return words
}

// help prints kong's help and the example.
func (p Program) help(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	example := p.Example
	if own, ok := p.Examples[ctx.Command()]; ok {
		example = own
	}
	if example != "" {
		fmt.Fprintf(ctx.Stdout, "\nExample:\n%s\n", indent(example))
	}
	return nil
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ")
}

// Main reads the command line, calls run, and returns the exit status. SIGINT and SIGTERM end
// the context that run gets.
func (p Program) Main(run func(context.Context, *Parsed) error) int {
	parsed, err := p.Parse(os.Args[1:], os.Stdout)
	if err != nil {
		return Report(LastWords(), p.Name, err)
	}
	ctx := untilSignal()
	if !p.LateSignals {
		ctx.Done()
	}
	return Report(LastWords(), p.Name, parsed.blame(run(ctx, parsed)))
}

// untilSignal returns a context that SIGINT and SIGTERM end. It catches them from its first
// use on: that starts threads, a tenth of the CPU time of postseal-pipe on ordinary mail.
func untilSignal() context.Context {
	return lazy(sync.OnceValue(func() context.Context {
		ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		return ctx
	}))
}

// lazy is a context that is made at its first use.
type lazy func() context.Context

func (l lazy) Deadline() (time.Time, bool) { return l().Deadline() }
func (l lazy) Done() <-chan struct{}       { return l().Done() }
func (l lazy) Err() error                  { return l().Err() }
func (l lazy) Value(key any) any           { return l().Value(key) }

// blame attributes an error in the value of a flag, which names the setting or starts with
// the flag's name, to the configuration file or the environment (exit 78) if the command line
// does not have that flag.
func (p *Parsed) blame(err error) error {
	if failure.KindOf(err) != failure.KindUsage || p.Kong == nil {
		return err
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "--"), ":")
	name = cmp.Or(failure.SettingOf(err), name)
	for _, step := range p.Kong.Path {
		if step.Flag != nil && step.Flag.Name == name && !step.Resolved {
			return err
		}
	}
	for _, flag := range p.Kong.Flags() {
		if flag.Name == name && slices.ContainsFunc(flag.Envs, isSet) {
			return failure.Config(failure.HintOf(err), "environment: %w", err)
		}
	}
	if _, inFile := p.File.top[name]; inFile {
		return failure.Config(failure.HintOf(err), "%s: %w", p.File.Path, err)
	}
	return err
}

// release is the version of a release, set by its build.
var release string

// Version returns the version from which the binary was built.
func Version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// BadExamples returns the commands whose --help does not end with a valid example of that
// command, each with the mistake. Each program's tests require it to be empty. A line ends at
// a redirection.
func (p Program) BadExamples() (bad []string, err error) {
	model, err := p.Model()
	if err != nil {
		return nil, err
	}
	leaves := model.Leaves(true)
	if len(leaves) == 0 {
		leaves = []*kong.Node{model.Node}
	}
	for _, leaf := range leaves {
		words := strings.Fields(strings.TrimPrefix(leaf.FullPath(), p.Name))
		example := p.Example
		if len(words) > 0 {
			example = p.Examples[strings.Join(words, " ")]
		}
		if example == "" {
			bad = append(bad, leaf.FullPath()+": there is none")
		}
		for line := range strings.Lines(example) {
			line, _, _ = strings.Cut(line, "<")
			args := strings.Fields(line)
			if args[0] != p.Name || !p.runs(args[1:], words) {
				bad = append(bad, leaf.FullPath()+": "+line)
			}
		}
		if len(words) > 1 && !strings.HasPrefix(p.Examples[words[0]], p.Name+" "+words[0]+" ") {
			bad = append(bad, words[0]+": there is none")
		}
	}
	return bad, nil
}

// runs reports whether a command line runs a command.
func (p Program) runs(args, command []string) bool {
	ctx, err := p.trace(args)
	return err == nil && slices.Equal(strings.Fields(ctx.Command()), command)
}

// Try returns what is wrong with a command line, without running it.
func (p Program) Try(args []string) error {
	_, err := p.trace(args)
	return err
}

func (p Program) trace(args []string) (*kong.Context, error) {
	parser, err := kong.New(p.Flags, append([]kong.Option{kong.Vars{"version": "", "config_default": ""}}, p.Options...)...)
	if err != nil {
		return nil, err
	}
	ctx, err := kong.Trace(parser, args)
	if err == nil {
		err = ctx.Error
	}
	return ctx, err
}

// UnknownFlags returns the flags of p that no configuration file may set
// because Keys does not name them. Each program's tests require it to be empty.
func (p Program) UnknownFlags() ([]string, error) {
	parser, err := kong.New(p.Flags, append([]kong.Option{kong.Vars{"version": "", "config_default": ""}}, p.Options...)...)
	if err != nil {
		return nil, err
	}
	var unknown []string
	err = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && !slices.Contains(Keys, flag.Name) && !slices.Contains(notInFile, flag.Name) {
			unknown = append(unknown, flag.Name)
		}
		return next(nil)
	})
	return unknown, err
}
