package setup

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"postseal/state"
)

// Config holds an admin's answers. Empty fields mean the default.
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

	DefaultState  string // the default of a file without state
	DefaultServer string // and one without server
}

// DKIMKey is a [[dkim]] table.
type DKIMKey struct {
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	Key      string `toml:"key"`
}

// DefaultSMTP is the server for replies unless a file names another.
const DefaultSMTP = "smtp://localhost:25"

// key is a key of the file. Where it is not set, the file shows the default, or an example.
type key struct {
	name    string
	set     bool
	value   any
	example any
	comment string
}

func (c Config) keys() []key {
	server, smtp := cmp.Or(c.Server, c.DefaultServer), cmp.Or(c.SMTP, DefaultSMTP)
	return []key{
		{"state", c.State != "", c.State, state.SystemDir, "The directory that both halves share."},
		{"server", server != c.DefaultServer, server, c.DefaultServer, "The CA, by its ACME directory."},
		{"ca-bundle", c.CABundle != "", c.CABundle, "/etc/postseal/ca.pem", "Who may vouch for that server, beside the system's roots."},
		{"contact", len(c.Contact) > 0, strings.Join(c.Contact, ","), "postmaster@example.org", "Where the CA may reach you."},
		{"agree-tos", c.AgreeTOS, true, true, "Whether you agree to the CA's terms of service; else the first order asks."},
		{"smtp", smtp != DefaultSMTP, smtp, DefaultSMTP, "Where replies go: the mail server, which sends them on."},
		{"resolver", c.Resolver != "", c.Resolver, "127.0.0.1:53", "DNS server for DKIM keys, unless it is the system's."},
		{"listen", c.Listen != "", c.Listen, "unix:/run/postseal/milter.sock", "Where the mail server finds postseal-milter, unless systemd passes it a socket."},
		{"dkim", len(c.DKIM) > 0, c.DKIM, []DKIMKey{{"example.org", "s1", "/etc/postseal/example.org.pem"}},
			"With a table for each domain, postseal signs replies itself. Else the mail server\n" +
				"# has to, with all the fields of RFC 8823, Section 3.2. Tables come last."},
	}
}

// Text returns the configuration file, with comments for later readers.
func (c Config) Text() string {
	text := "# Configuration of postseal, made by \"postseal init\"; see postseal.toml(5).\n" +
		"# Lines that begin with # show the default, or an example.\n"
	for _, k := range c.keys() {
		lines := encoded(k.name, k.value)
		if !k.set {
			lines = "#" + strings.ReplaceAll(encoded(k.name, k.example), "\n", "\n#")
		}
		text += "\n# " + k.comment + "\n" + lines + "\n"
	}
	return text
}

// encoded writes TOML, without the last end of line.
func encoded(name string, value any) string {
	var text bytes.Buffer
	e := toml.NewEncoder(&text)
	e.Indent = ""
	_ = e.Encode(map[string]any{name: value}) // cannot fail for texts, booleans and tables
	return strings.TrimSpace(text.String())
}

// differs returns the keys for which a file lacks the value in c, alone or in a list. It does
// not compare the milter's address. A missing file differs in nothing.
func (c Config) differs(path string) (names []string) {
	c.Listen = ""
	want, have := map[string]any{}, map[string]any{"state": c.DefaultState}
	if _, err := toml.DecodeFile(path, &have); err != nil {
		return nil
	}
	_, _ = toml.Decode(c.Text(), &want) // a test reads it
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !strings.Contains(items(have[name]), items(want[name])) {
			names = append(names, name)
		}
	}
	return names
}

// items writes a list, or a text with commas, in one form for comparison.
func items(value any) string {
	return "," + strings.NewReplacer("[", "", "]", "", " ", ",").Replace(fmt.Sprint(value)) + ","
}
