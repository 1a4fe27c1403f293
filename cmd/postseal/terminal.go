package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"postseal/internal/check"
	"postseal/internal/failure"

	"golang.org/x/term"
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
