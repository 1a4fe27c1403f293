package pages

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"postseal/internal/cli"
)

// onCommandLines are keys that the example leaves out: postseal.toml(5) says that they
// are better given on a command line, or where a secret is better put.
var onCommandLines = []string{
	"email", "each", "from-file", "key-path", "out", "to", "format", "former", "force", "dry-run", "interactive", "cert-path", "reason", "mail-to",
	"reset-learned", "mailbox", "message", "print", "passthrough", "explain",
	"passphrase", "smtp-password", // in files of their own
	"settle", "token-join", "trigger", "compat", // in a [ca] table
}

// The example configuration can be read, as it is and with all of its lines, and has
// every key.
func TestExampleConfiguration(t *testing.T) {
	example := filepath.Join(root, "contrib/postseal.toml")
	if _, err := cli.ReadFile(example); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	setting := regexp.MustCompile(`(?m)^#((?:[a-z0-9-]+ = |\[).*)$`)
	all := filepath.Join(t.TempDir(), "all.toml")
	if err := os.WriteFile(all, setting.ReplaceAll(text, []byte("$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.ReadFile(all); err != nil {
		t.Error(err)
	}
	var has []string
	for _, m := range regexp.MustCompile(`(?m)^#([a-z0-9-]+) = `).FindAllSubmatch(text, -1) {
		has = append(has, string(m[1]))
	}
	for _, key := range cli.Keys {
		if slices.Contains(has, key) == slices.Contains(onCommandLines, key) && !slices.Contains([]string{"settle", "token-join", "trigger", "compat"}, key) {
			t.Errorf("%s has to be either in the example or in the list of keys that it leaves out", key)
		}
	}
}
