package setup

import (
	"bytes"
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

// key is a key at the top of the file. Without a value the file shows its example, if it has
// one.
type key struct {
	name           string
	value, example any
	comment        string
}

func (c Config) keys() []key {
	var contact any = c.Contact
	if len(c.Contact) == 1 {
		contact = c.Contact[0]
	}
	return []key{
		{"state", c.State, state.SystemDir, "The directory that both halves share."},
		{"server", c.Server, c.DefaultServer, "The CA, by its ACME directory."},
		{"ca-bundle", c.CABundle, nil, "Who may vouch for that server, beside the system's roots."},
		{"contact", contact, "postmaster@example.org", "Where the CA may reach you."},
		{"agree-tos", c.AgreeTOS, true, "Whether you agree to the CA's terms of service; else the first order asks."},
		{"smtp", c.SMTP, DefaultSMTP, "Where replies go: the mail server, which sends them on."},
		{"resolver", c.Resolver, nil, "DNS server for DKIM keys."},
		{"listen", c.Listen, nil, "Where the mail server finds postseal-milter, unless systemd passes it a socket."},
	}
}

// Text returns the configuration file, with comments for later readers.
func (c Config) Text() string {
	text := "# Configuration of postseal, made by \"postseal init\"; see postseal.toml(5).\n" +
		"# Lines that begin with # show the default, or an example.\n"
	for _, k := range c.keys() {
		switch {
		case !slices.Contains([]string{"", "[]", "false"}, fmt.Sprint(k.value)):
			text += "\n# " + k.comment + "\n" + encoded(k.name, k.value)
		case k.example != nil:
			text += "\n# " + k.comment + "\n#" + encoded(k.name, k.example)
		}
	}
	text += "\n# With a table for each domain, postseal signs replies itself. Else the mail server\n" +
		"# has to, with all the fields of RFC 8823, Section 3.2. Tables come last.\n"
	if len(c.DKIM) > 0 {
		return text + encoded("dkim", c.DKIM)
	}
	return text + "#[[dkim]]\n#domain = \"example.org\"\n#selector = \"s1\"\n#key = \"/etc/postseal/example.org.pem\"\n"
}

// encoded writes TOML.
func encoded(name string, value any) string {
	var text bytes.Buffer
	e := toml.NewEncoder(&text)
	e.Indent = ""
	_ = e.Encode(map[string]any{name: value}) // cannot fail for texts, lists, booleans and tables
	return text.String()
}

// differs returns the keys for which a file lacks the value in c, alone or in a list. It does
// not compare the milter's address.
func (c Config) differs(path string) (names []string, err error) {
	c.Listen = ""
	want, have := map[string]any{}, map[string]any{"state": c.DefaultState}
	if _, err = toml.DecodeFile(path, &have); err != nil {
		return nil, err
	}
	_, err = toml.Decode(c.Text(), &want)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !strings.Contains(items(have[name]), items(want[name])) {
			names = append(names, name)
		}
	}
	return names, err
}

// items writes a list, or a text with commas, in one form for comparison.
func items(value any) string {
	return "," + strings.NewReplacer("[", "", "]", "", " ", ",").Replace(fmt.Sprint(value)) + ","
}
