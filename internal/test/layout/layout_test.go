package layout

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// imports says which packages of this module each package may import. One that is
// not listed may import none; to let it, add it here with a reason.
var imports = map[string][]string{
	"cmd/postseal": {"issuer", "issuer/ca", "issuer/cert", "issuer/enroll", "issuer/store", "state", "internal/check", "internal/cli", "internal/failure", "internal/hostport",
		"internal/printable", "internal/setup", "state/redis"},
	// What "postseal check" looks at. It belongs to neither half: it looks at the state
	// directory, and speaks to the servers of both as they do; a reply is the mail half's to
	// write. Which mail servers there are, and what each needs, "postseal init" knows.
	"cmd/postseal-check": {"internal/challenge", "internal/check", "internal/cli", "internal/failure", "internal/hostport", "internal/https",
		"internal/printable", "internal/resolve", "internal/setup", "internal/submit", "state", "state/redis"},
	"cmd/postseal-milter": {"milter", "internal/challenge", "internal/mailconf", "internal/cli", "internal/failure", "internal/hostport",
		"internal/submit", "state"},
	"cmd/postseal-pipe": {"pipe", "internal/challenge", "internal/mailconf", "internal/cli", "internal/failure",
		"state"},
	"cmd/postseal-demo": {"issuer", "issuer/ca", "issuer/cert", "issuer/store", "milter", "pipe", "internal/challenge", "internal/mailconf", "internal/mailhost",
		"internal/submit", "internal/testca", "internal/cli", "internal/failure", "state"},

	"milter":             {"internal/challenge", "state"},
	"pipe":               {"internal/challenge", "state"},
	"internal/challenge": {"internal/smime", "internal/printable", "internal/resolve", "internal/submit", "state"},
	"issuer":             {"issuer/ca", "issuer/cert", "issuer/enroll", "issuer/store", "internal/failure", "internal/printable", "state"},
	"issuer/ca":          {"issuer/cert", "issuer/store", "internal/failure", "internal/https", "internal/printable", "state"},
	"issuer/cert":        {"internal/failure", "internal/printable", "state"},
	"issuer/enroll":      {"issuer/cert", "issuer/store", "internal/failure", "internal/printable", "state"},
	"issuer/store":       {"issuer/cert", "internal/failure", "state"},

	// What others wrote goes out of both halves through the same filter.
	"state":          {"internal/printable"},
	"internal/https": {"internal/printable"},

	// Redis is one of two places where the halves meet, and its tests are those of both.
	"state/redis":             {"internal/printable", "state"},
	"internal/test/statetest": {"internal/printable", "state"},
	"internal/test/redistest": {"internal/test/mta"},

	"internal/cli": {"internal/failure", "internal/hostport", "internal/printable", "state"},

	// Both take addresses of servers.
	"internal/submit":   {"internal/hostport", "internal/printable"},
	"internal/mailhost": {"internal/challenge", "internal/hostport"},

	// What "postseal init" does and shows: the recipes, and the state directory.
	"internal/setup": {"contrib", "state"},

	// What the two programs of the mail half read from their flags and file in
	// the same way: a part of cmd/ that both share.
	"internal/mailconf": {"internal/challenge", "internal/cli", "internal/failure", "internal/hostport", "internal/submit", "state", "state/redis"},
}

// reasons is why a package may not be imported by those that imports does not
// list; it stands in the failure.
var reasons = map[string]string{
	"internal/cli":            "flags, exit codes, the log and what a process gives up belong to the programs in cmd/; packages return errors",
	"internal/testca":         "it is a second reading of the RFC, and no product links a test CA",
	"internal/mailhost":       "it is for the demo; real hosts have a real mail server",
	"internal/test/machine":   "it is for tests",
	"internal/test/mta":       "it is for tests",
	"internal/test/certs":     "it is for tests",
	"internal/check":          "only postseal and postseal-check talk about findings",
	"internal/challenge":      "only the mail half reads mail, and postseal-check reads it as that does",
	"internal/test/manual":    "it is for tests",
	"internal/submit":         "only the mail half sends mail, and postseal-check looks at the server as it does",
	"internal/resolve":        "who asks the DNS is decided in few places; the issuing half does not",
	"internal/setup":          "it prepares a machine, once, for an admin; what works does not depend on it",
	"contrib":                 "only postseal init shows recipes",
	"internal/test/redistest": "it is for tests",
	"state/redis":             "which store there is, is decided in cmd/; the halves know state.Store",
	"internal/test/statetest": "it is for tests",
	"internal/https":          "only the issuing half, and what looks whether it can work, ask a CA",
	"issuer/ca":               "only the half that holds keys speaks ACME",
	"issuer/cert":             "a room of the half that holds keys, which asks it for what is of a certificate",
	"issuer/enroll":           "a room of the half that holds keys, which asks it who is to have a certificate",
	"issuer/store":            "a room of the half that holds keys, which asks it for what is on disk",
	"issuer":                  "the half that holds keys must not be reachable from the half that reads foreign mail",
	"milter":                  "the two doors of the mail half do not know each other, and nobody else knows them",
	"pipe":                    "the two doors of the mail half do not know each other, and nobody else knows them",
}

// ban says what some packages must not link, however indirectly.
type ban struct {
	packages []string
	links    map[string]string // import path or its beginning: the reason
}

var bans = []ban{
	{
		// The mail half.
		[]string{"cmd/postseal-milter", "cmd/postseal-pipe", "milter", "pipe", "state", "state/redis", "internal/challenge",
			"internal/smime", "internal/hostport", "internal/resolve", "internal/submit", "internal/mailconf"},
		map[string]string{
			"github.com/mholt/acmez":             "the mail half is no ACME client: it needs a token and a thumbprint, never the account",
			"software.sslmate.com/src/go-pkcs12": "certificate keys are the issuing half's; the mail half must not be able to read one",
			"postseal/issuer":                    "the issuing half has the keys",
			"postseal/internal/testca":           "no product links the test CA",
			"github.com/miekg/dns":               "the Go project's parser does (internal/resolve); a second one is for the test CA",
			"github.com/go-jose/go-jose":         "JWS is for ACME",
			"testing":                            "no product links test code",
		},
	},
	{
		// The issuing half. What looks at mail for it is another program, postseal-check.
		[]string{"cmd/postseal", "internal/check", "internal/hostport", "issuer", "issuer/ca", "issuer/cert", "issuer/enroll", "issuer/store", "state", "state/redis"},
		map[string]string{
			"github.com/emersion":         "the half with the keys parses no foreign mail, judges no signatures, and talks to no mail server",
			"github.com/miekg/dns":        "the half with the keys asks no DNS server for more than addresses",
			"golang.org/x/net/dns":        "the half with the keys asks no DNS server for more than addresses",
			"net/smtp":                    "the half with the keys sends no mail",
			"postseal/internal/submit":    "the half with the keys sends no mail",
			"postseal/internal/resolve":   "the half with the keys asks no DNS server for more than addresses",
			"postseal/milter":             "the halves meet only in the state directory",
			"postseal/pipe":               "the halves meet only in the state directory",
			"postseal/internal/challenge": "the halves meet only in the state directory",
			"postseal/internal/testca":    "no product links the test CA",
			"testing":                     "no product links test code",
		},
	},
	{
		// Its corridor and its rooms: they are given values and return values.
		[]string{"issuer", "issuer/ca", "issuer/cert", "issuer/enroll", "issuer/store"},
		map[string]string{
			"github.com/alecthomas/kong":       "flags are those of cmd/postseal",
			"github.com/schollz/progressbar":   "what is shown meanwhile is decided in cmd/postseal",
			"golang.org/x/term":                "who is asked, and where, is decided in cmd/postseal",
			"github.com/coreos/go-systemd/v22": "where the log goes is decided in cmd/; a room has none",
		},
	},
	{
		// What looks at mail, mail servers and the DNS for "postseal check".
		[]string{"cmd/postseal-check"},
		map[string]string{
			"github.com/mholt/acmez":             "it has no account: postseal says whether there is one",
			"software.sslmate.com/src/go-pkcs12": "it reads foreign mail, so certificate keys are out of its reach",
			"postseal/issuer":                    "it reads foreign mail, and the issuing half has the keys",
			"postseal/milter":                    "it is asked as a mail server asks it, over its socket",
			"postseal/pipe":                      "it answers no challenge",
			"github.com/miekg/dns":               "it asks the DNS as the mail half does (internal/resolve)",
			"postseal/internal/testca":           "no product links the test CA",
			"testing":                            "no product links test code",
		},
	},
}

// modules are the direct dependencies and what each is for. Another one has to be
// worth its line here.
var modules = map[string]string{
	"github.com/BurntSushi/toml":          "the configuration file",
	"github.com/VictoriaMetrics/metrics":  "--metrics",
	"github.com/alecthomas/kong":          "command lines",
	"github.com/alicebob/miniredis/v2":    "tests of redis://",
	"github.com/coreos/go-systemd/v22":    "socket activation, sd_notify, whether stderr is the journal",
	"github.com/emersion/go-message":      "mail headers",
	"github.com/emersion/go-milter":       "the milter protocol",
	"github.com/emersion/go-msgauth":      "DKIM",
	"github.com/emersion/go-sasl":         "authentication at the mail servers of tests",
	"github.com/emersion/go-smtp":         "the mail servers of the demo and the test CA",
	"github.com/fsnotify/fsnotify":        "waking up when an answer is written",
	"github.com/go-asn1-ber/asn1-ber":     "PKCS#12 as NSS writes it",
	"github.com/go-jose/go-jose/v4":       "JWS in the test CA",
	"github.com/google/renameio/v2":       "atomic writes",
	"github.com/landlock-lsm/go-landlock": "the programs give up what they do not need",
	"github.com/mholt/acmez/v3":           "ACME",
	"github.com/miekg/dns":                "the DNS server of the test CA",
	"github.com/redis/go-redis/v9":        "redis:// for several MX hosts",
	"github.com/rogpeppe/go-internal":     "testscript",
	"github.com/schollz/progressbar/v3":   "the progress of a batch on a terminal",
	"github.com/smallstep/pkcs7":          "signed challenges in the test CA",
	"golang.org/x/crypto":                 "ASN.1 with care",
	"golang.org/x/net":                    "IDNA, the public suffix list, DNS messages",
	"golang.org/x/sys":                    "file locks, inotify",
	"golang.org/x/term":                   "passphrase prompts",
	"howett.net/plist":                    "profiles for iOS and macOS",
	"software.sslmate.com/src/go-pkcs12":  "PKCS#12",
}

// topLevel is what stands at the top; `ls` is to show the architecture.
var topLevel = []string{
	"cmd", "milter", "pipe", "issuer", "state", "contrib", "internal",
	"go.mod", "go.sum", "README.md", "CONTRIBUTING.md", "RELEASE_NOTES.md", "SECURITY.md", "LICENSE", "Makefile", ".ci", ".editorconfig", ".github", ".gitignore",
}

// leftovers are what work in a tree leaves there; .gitignore names them.
var leftovers = []string{".git", "bin", "dist", "postseal-demo"}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// root returns the top of the source tree.
func root(t *testing.T) string {
	t.Helper()
	return filepath.Dir(strings.TrimSpace(run(t, ".", "go", "env", "GOMOD")))
}

func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return string(out)
}

// packages returns all packages of this module, by their path within it.
func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	all := map[string]goPackage{}
	d := json.NewDecoder(strings.NewReader(run(t, root(t), "go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./...")))
	for d.More() {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if name, ours := strings.CutPrefix(p.ImportPath, "postseal/"); ours {
			all[name] = p
		}
	}
	if len(all) == 0 {
		t.Fatal("go list found no package of ours")
	}
	return all
}

func TestImports(t *testing.T) {
	for name, p := range packages(t) {
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, "postseal/")
			if !ours || slices.Contains(imports[name], imported) {
				continue
			}
			reason := reasons[imported]
			if reason == "" {
				reason = "the table in layout_test.go does not have it"
			}
			t.Errorf("%s imports %s: %s", name, imported, reason)
		}
	}
}

// A table that names what does not exist holds nothing: the ban lapsed when the package
// was renamed or the module replaced.
func TestNamesExist(t *testing.T) {
	all := packages(t)
	exists := func(where, name string) {
		if _, ok := all[name]; !ok {
			t.Errorf("%s has %s, which does not exist", where, name)
		}
	}
	for name, imported := range imports {
		exists("imports", name)
		for _, one := range imported {
			exists("imports of "+name, one)
		}
	}
	for name := range reasons {
		exists("reasons", name)
	}
	known := known(t)
	for _, ban := range bans {
		for _, name := range ban.packages {
			exists("bans", name)
		}
		for path := range ban.links {
			if !slices.ContainsFunc(known, func(one string) bool { return one == path || strings.HasPrefix(one, path+"/") }) {
				t.Errorf("bans has %s, which neither a program nor a test links", path)
			}
		}
	}
	required := directModules(t)
	for path := range modules {
		if !slices.Contains(required, path) {
			t.Errorf("modules has %s, which go.mod does not require", path)
		}
	}
}

// known returns the import paths of all that programs and tests link.
func known(t *testing.T) []string {
	t.Helper()
	return strings.Fields(run(t, root(t), "go", "list", "-deps", "-test", "./..."))
}

func TestLinks(t *testing.T) {
	all := packages(t)
	for _, ban := range bans {
		for _, name := range ban.packages {
			for _, path := range all[name].Deps {
				if banned, reason := ban.match(path); banned {
					t.Errorf("%s links %s (through %s): %s", name, path, through(all, name, path), reason)
				}
			}
		}
	}
}

func (b ban) match(path string) (bool, string) {
	for prefix, reason := range b.links {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return true, reason
		}
	}
	return false, ""
}

// through returns the packages of ours that import path themselves and that
// name links.
func through(all map[string]goPackage, name, path string) string {
	var importers []string
	for other, p := range all {
		if slices.Contains(p.Imports, path) && (other == name || slices.Contains(all[name].Deps, p.ImportPath)) {
			importers = append(importers, other)
		}
	}
	if len(importers) == 0 {
		return "another module"
	}
	slices.Sort(importers)
	return strings.Join(importers, ", ")
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !slices.Contains(topLevel, name) && !slices.Contains(leftovers, name) && !strings.HasSuffix(name, ".test") {
			t.Errorf("%s at the top of the tree: what stands there is the architecture; the list is in layout_test.go", name)
		}
	}
}

func TestModules(t *testing.T) {
	for _, path := range directModules(t) {
		if modules[path] == "" {
			t.Errorf("direct dependency %s: say in layout_test.go what it is for, or do without", path)
		}
	}
}

// directModules returns what go.mod requires for our own sake.
func directModules(t *testing.T) (paths []string) {
	t.Helper()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal([]byte(run(t, root(t), "go", "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	for _, require := range mod.Require {
		if !require.Indirect {
			paths = append(paths, require.Path)
		}
	}
	return paths
}
