package setup

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"postseal/state"
)

// Config is what an admin is asked for. Empty fields mean the default.
type Config struct {
	State    string
	Server   string
	CABundle string
	Contact  []string
	AgreeTOS bool
	SMTP     string
	Resolver string
	Listen   string
	DKIM     []DKIMKey

	DefaultState  string // what a file without state means
	DefaultServer string // and one without server
}

// DKIMKey is a [[dkim]] table.
type DKIMKey struct{ Domain, Selector, Key string }

// DefaultSMTP is where replies go unless a file says something else.
const DefaultSMTP = "smtp://localhost:25"

// Text returns the configuration file, with comments for who reads it later.
func (c Config) Text() string {
	var b strings.Builder
	b.WriteString("# Configuration of postseal, made by \"postseal init\"; see postseal.toml(5).\n" +
		"# Lines that begin with # show the default, or an example.\n")
	para := func(comment, key, value, example string) {
		fmt.Fprintf(&b, "\n# %s\n", comment)
		if value == "" {
			fmt.Fprintf(&b, "#%s = %s\n", key, example)
		} else {
			fmt.Fprintf(&b, "%s = %s\n", key, value)
		}
	}
	para("The directory that both halves share.", "state", text(c.State), text(state.SystemDir))
	para("The CA, by its ACME directory.", "server", text(c.Server), text(c.DefaultServer))
	if c.CABundle != "" {
		para("Who may vouch for that server, beside the system's roots.", "ca-bundle", text(c.CABundle), "")
	}
	para("Where the CA may reach you.", "contact", list(c.Contact), text("postmaster@example.org"))
	para("Whether you agree to the CA's terms of service; else the first order asks.", "agree-tos", truth(c.AgreeTOS), "true")
	para("Where replies go: the mail server, which sends them on.", "smtp", text(c.SMTP), text(DefaultSMTP))
	if c.Resolver != "" {
		para("DNS server for DKIM keys.", "resolver", text(c.Resolver), "")
	}
	if c.Listen != "" {
		para("Where the mail server finds postseal-milter, unless systemd passes it a socket.", "listen", text(c.Listen), "")
	}
	b.WriteString("\n# With a table for each domain, postseal signs replies itself. Else the mail server\n" +
		"# has to, with all the fields of RFC 8823, Section 3.2. Tables come last.\n")
	for _, k := range c.DKIM {
		fmt.Fprintf(&b, "[[dkim]]\ndomain = %s\nselector = %s\nkey = %s\n", text(k.Domain), text(k.Selector), text(k.Key))
	}
	if len(c.DKIM) == 0 {
		b.WriteString("#[[dkim]]\n#domain = \"example.org\"\n#selector = \"s1\"\n#key = \"/etc/postseal/example.org.pem\"\n")
	}
	return b.String()
}

// text writes a TOML string; "" stays empty.
func text(s string) string {
	if s == "" {
		return ""
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func list(items []string) string {
	if len(items) < 2 {
		return text(strings.Join(items, ""))
	}
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = text(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// differs returns the keys in which a file says something else than c. What c leaves
// to the default is left to the file, and so is where a milter listens.
func (c Config) differs(path string) (keys []string, err error) {
	var have struct {
		State    string
		Server   string
		CABundle string `toml:"ca-bundle"`
		Contact  any
		AgreeTOS bool `toml:"agree-tos"`
		SMTP     string
		Resolver string
		DKIM     []DKIMKey
	}
	if _, err := toml.DecodeFile(path, &have); err != nil {
		return nil, err
	}
	for _, k := range []struct {
		key        string
		want, have string
	}{
		{"state", c.State, cmp.Or(have.State, c.DefaultState)},
		{"server", c.Server, have.Server},
		{"ca-bundle", c.CABundle, have.CABundle},
		{"contact", strings.Join(c.Contact, ","), joined(have.Contact)},
		{"agree-tos", truth(c.AgreeTOS), truth(have.AgreeTOS)},
		{"smtp", c.SMTP, have.SMTP},
		{"resolver", c.Resolver, have.Resolver},
	} {
		if k.want != "" && k.want != k.have {
			keys = append(keys, k.key)
		}
	}
	if slices.ContainsFunc(c.DKIM, func(k DKIMKey) bool { return !slices.Contains(have.DKIM, k) }) {
		keys = append(keys, "dkim")
	}
	return keys, nil
}

// joined writes a TOML list, or one text, as it would stand on a command line.
func joined(value any) string {
	items, ok := value.([]any)
	if !ok && value != nil {
		return fmt.Sprint(value)
	}
	var texts []string
	for _, item := range items {
		texts = append(texts, fmt.Sprint(item))
	}
	return strings.Join(texts, ",")
}

// createFile makes a file that must not be there yet, and the directories above it.
func createFile(path, content string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(content)
	for _, step := range []func() error{func() error { return tmp.Chmod(mode) }, tmp.Sync, tmp.Close} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}
