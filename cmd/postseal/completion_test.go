package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"postseal/internal/test/mta"
)

// program has a little of everything: commands within commands, flags of all
// kinds, and texts with characters that shells care for.
type completed struct {
	Config string `placeholder:"FILE" help:"It's a file: of $HOME (default: none)."`
	Store  string `placeholder:"DIR" help:"Where to [keep] it."`
	Quiet  bool   `short:"q" help:"Say nothing."`
	Make   struct {
		Email   []string `short:"e" placeholder:"ADDR" help:"An address."`
		KeyType string   `help:"rsa (default), ec."`
		Mode    string   `enum:"slow,fast" default:"slow" help:"How."`
		Secret  bool     `hidden:""`
	} `cmd:"" help:"Make one: now."`
	Account struct {
		Show struct{} `cmd:"" help:"Show the account's \"state\"."`
		End  struct{} `cmd:"" help:"End it; for good."`
	} `cmd:"" help:"Accounts."`
}

func writeScript(t *testing.T, shell string) string {
	t.Helper()
	parser, err := kong.New(new(completed), kong.Name("prog"))
	if err != nil {
		t.Fatal(err)
	}
	var script bytes.Buffer
	if err := writeCompletion(&script, shell, parser.Model, flagWords{"key-type": {"rsa", "ec"}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, script.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompletion(t *testing.T) {
	mta.NotShort(t)
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a file", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			script := writeScript(t, shell)
			for line, want := range map[string]string{
				"prog ma":                        "make",
				"prog account ":                  "end show",
				"prog --store make acc":          "account",
				"prog -q account e":              "end",
				"prog make --key-t":              "--key-type",
				"prog make --key-type ":          "ec rsa",
				"prog make --key-type=r":         "rsa",
				"prog make -q --mode f":          "fast",
				"prog make -e ":                  "",
				"prog make -e account --key-t":   "--key-type",
				"prog make --secr":               "",
				"prog --key-t":                   "",
				"prog account show --st":         "--store",
				"prog --config ":                 "a file|b|d",
				"prog make --store ":             "d",
				"prog make --mode slow --config": "--config",
			} {
				wanted := strings.FieldsFunc(want, func(r rune) bool { return r == '|' || r == ' ' && !strings.Contains(want, "|") })
				if got := askShell(t, shell, script, line); !slices.Equal(got, wanted) {
					t.Errorf("%q: got %q, want %q", line, got, wanted)
				}
			}
		})
	}
}

func TestCompletionForUnknownShell(t *testing.T) {
	parser, err := kong.New(new(completed))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeCompletion(new(bytes.Buffer), "tcsh", parser.Model, nil); err == nil {
		t.Error("a script for tcsh")
	}
}

// What people type at the program itself.
func TestCompletionOfPostseal(t *testing.T) {
	mta.NotShort(t)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			script := filepath.Join(t.TempDir(), "script")
			text, err := exec.Command("go", "run", "postseal/cmd/postseal", "completion", shell).Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(script, text, 0o600); err != nil {
				t.Fatal(err)
			}
			for line, want := range map[string]string{
				"postseal ce":               "cert",
				"postseal cert --key-t":     "--key-type",
				"postseal cert --key-type ": "p256 p384 rsa2048 rsa3072 rsa4096",
				"postseal revoke --reason ": "affiliationchanged cessationofoperation keycompromise superseded unspecified",
				"postseal account r":        "rollover",
				"postseal completion ":      "bash fish zsh",
			} {
				if got := askShell(t, shell, script, line); !slices.Equal(got, strings.Fields(want)) {
					t.Errorf("%q: got %q, want %q", line, got, want)
				}
			}
		})
	}
}

// ask has a real shell complete a line. It returns the words that are offered, in
// order; flags are left out where only an empty word is to be completed, since
// shells differ in whether they offer them then.
func askShell(t *testing.T, shell, script, line string) []string {
	t.Helper()
	var out string
	switch shell {
	case "bash":
		out = askBash(t, script, line)
	case "zsh":
		out = askZsh(t, script, line)
	case "fish":
		out = runShell(t, "fish", "--no-config", "-c", "source "+script+"; complete -C "+quote(line))
	}
	var words []string
	for _, word := range strings.Split(out, "\n") {
		word, _, _ = strings.Cut(word, "\t")
		word = strings.ReplaceAll(strings.TrimSuffix(word, "/"), `\ `, " ")
		if _, value, ok := strings.Cut(word, "="); ok {
			word = value // fish repeats the flag
		}
		if word != "" && (word[0] != '-' || !strings.HasSuffix(line, " ")) {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func runShell(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "TERM=dumb", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// askBash calls the function as readline does, which takes words apart at "=".
func askBash(t *testing.T, script, line string) string {
	return runShell(t, "bash", "--norc", "-c", `set -u
source "$1"
line=${2//=/ = }
read -ra COMP_WORDS <<<"$line"
[[ $line != *" " ]] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
read -ra spec <<<"$(complete -p "${COMP_WORDS[0]}")"
"${spec[2]}"
printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}`, "bash", script, line)
}

// askZsh has a zsh with a terminal complete the line in its editor, and notes what
// the completion system is given.
func askZsh(t *testing.T, script, line string) string {
	dir := t.TempDir()
	inner := `
PS1= PS2= RPS1=
autoload -Uz compinit
compinit -u -d ` + filepath.Dir(script) + `/dump
source ` + script + `
compadd() {
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
		builtin compadd "$@"
		return
	fi
	local -a hits
	builtin compadd -A hits "$@"
	print -rl -- $hits >>` + dir + `/hits
	builtin compadd "$@"
}
ask() {
	BUFFER=` + quote(line) + `
	CURSOR=$#BUFFER
	zle complete-word
	: >` + dir + `/done
	exit
}
zle -N ask
bindkey '^G' ask
`
	if err := os.WriteFile(filepath.Join(dir, "inner"), []byte(inner), 0o600); err != nil {
		t.Fatal(err)
	}
	runShell(t, "zsh", "-f", "-c", `
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "source $1/inner; : >$1/ready"
for file in ready done; do
	for ((i = 0; i < 500; i++)); do
		[[ -e $1/$file ]] && break
		sleep 0.02
	done
	[[ -e $1/$file ]] || { zpty -r shell; exit 1 }
	[[ $file == ready ]] && { sleep 0.1; zpty -w -n shell $'\a' }
done
:`, "zsh", dir)
	hits, err := os.ReadFile(filepath.Join(dir, "hits"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(hits)
}
