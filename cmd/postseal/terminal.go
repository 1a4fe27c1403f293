package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"

	"postseal/internal/check"
	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer"
)

// terminal is the person at the keyboard. A nil terminal is nobody.
type terminal struct {
	in *bufio.Reader
}

func newTerminal(nonInteractive bool) *terminal {
	if nonInteractive || !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	return &terminal{bufio.NewReader(os.Stdin)}
}

// ask reads one line, which is empty where nobody can be asked.
func (t *terminal) ask(ctx context.Context, prompt string) (string, error) {
	if t == nil {
		return "", nil
	}
	fmt.Fprint(os.Stderr, prompt)
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := t.in.ReadString('\n')
		read <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return "", ctx.Err()
	case l := <-read:
		if l.err != nil && l.text == "" {
			return "", failure.Failed("run it at a terminal, or with --non-interactive and flags for what it asks", "no answer: %v", l.err)
		}
		return strings.TrimSpace(l.text), nil
	}
}

// agree shows the terms of service.
func (t *terminal) agree(terms string) (bool, error) {
	answer, err := t.ask(context.Background(), "The CA's terms of service: "+terms+"\nDo you agree to them? [y/N] ")
	return yes(answer), err
}

func yes(answer string) bool { return slices.Contains([]string{"y", "yes"}, strings.ToLower(answer)) }

// newPassphrase asks twice, without echo.
func (t *terminal) newPassphrase() (string, error) {
	first, err := t.secret("Passphrase for the PKCS#12 container: ")
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", failure.Usage("use --no-passphrase for an empty one", "the passphrase is empty")
	}
	second, err := t.secret("The same again: ")
	if err == nil && first != second {
		err = failure.Usage("run the same command again", "the two passphrases differ")
	}
	return first, err
}

func (t *terminal) secret(prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt)
	text, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", failure.Failed("use --passphrase-file", "the passphrase cannot be read: %v", err)
	}
	return string(text), nil
}

// onScreen reports whether f is a terminal that understands more than lines.
func onScreen(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// colours reports whether what is written to f may have colours: only on a terminal,
// and never where NO_COLOR is set (no-color.org).
func colours(f *os.File) bool { return os.Getenv("NO_COLOR") == "" && onScreen(f) }

// SGR sequences (ECMA-48, Section 8.3.117).
var statusColours = map[check.Status]string{check.OK: "\x1b[32m", check.Skipped: "\x1b[2m", check.Warning: "\x1b[33m", check.Failure: "\x1b[1;31m"}

const plainAgain = "\x1b[0m"

// voice is what the program says while it works: on stderr, a line at a time.
type voice struct {
	verbose  bool
	json     bool
	terminal bool         // somebody watches
	screen   bool         // that can show more than lines
	journal  *slog.Logger // instead of lines, where stderr is that of a service; else nil

	mu   sync.Mutex
	bar  *bar // nil unless a batch runs on a terminal
	many bool // a batch: its results say enough
}

func newVoice(verbose, asJSON bool) *voice {
	v := &voice{verbose: verbose, json: asJSON, terminal: term.IsTerminal(int(os.Stderr.Fd())), screen: onScreen(os.Stderr)}
	if cli.ToJournal() {
		v.journal = slog.New(cli.NewLogHandler())
	}
	return v
}

// step tells of a step of an order. Failures are always told; what is
// waited for, to people; the rest on demand.
func (v *voice) step(s issuer.Step) {
	s.Text = typed(s.Text)
	switch s.Kind {
	case issuer.StepHint, issuer.StepNote:
	case issuer.StepWait:
		if !v.verbose && (!v.terminal || v.many) {
			return
		}
	default:
		if !v.verbose {
			return
		}
	}
	switch {
	case v.journal != nil:
		v.record(s)
	case s.Kind == issuer.StepHint:
		v.say("postseal: hint: " + s.Text)
	default:
		v.say("postseal: " + s.Text)
	}
}

// record makes an entry of the journal of a step.
func (v *voice) record(s issuer.Step) {
	level := slog.LevelInfo
	if s.Kind == issuer.StepNote {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("step", string(s.Kind))}
	for _, a := range []slog.Attr{slog.String("certificate", s.Name), slog.String("address", s.Email)} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	v.journal.LogAttrs(context.Background(), level, s.Text, attrs...)
}

func (v *voice) damaged(path string, err error) {
	v.say(fmt.Sprintf("postseal: %s is left out: %v", path, err))
}

func (v *voice) say(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bar.clear()
	fmt.Fprintln(os.Stderr, cli.OneLine(line))
	v.bar.draw()
}

func (v *voice) done() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bar.clear()
	v.bar = nil
}

// printJSON writes one JSON document, in which all is printable.
func printJSON(value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		_, err = os.Stdout.Write(append(printable.JSON(text), '\n'))
	}
	return err
}
