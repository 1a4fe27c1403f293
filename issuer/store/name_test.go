package store

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func FuzzBaseName(f *testing.F) {
	for _, s := range []string{"alice@example.test", ".x/y@z", "\x00%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		if name := BaseName(addr); strings.ContainsAny(name, "/\\\x00") || name != "" && name[0] == '.' || len(name) > 250 {
			t.Errorf("%q has the file name %q", addr, name)
		}
	})
}

func TestBaseName(t *testing.T) {
	for addr, want := range map[string]string{
		"alice@example.test":                       "alice@example.test",
		"Alice@Example.test":                       "alice@example.test",
		"a/b@example.test":                         "a%2Fb@example.test",
		"a%2Fb@example.test":                       "a%252fb@example.test",
		".hidden@example.test":                     "%2Ehidden@example.test",
		"o'brien@example.test":                     "o'brien@example.test",
		"jörg@example.test":                        "jörg@example.test",
		strings.Repeat("/", 100) + "@example.test": "",
		strings.Repeat("x", 187) + "@example.test": strings.Repeat("x", 187) + "@example.test",
		strings.Repeat("x", 188) + "@example.test": "",
	} {
		got := BaseName(addr)
		if want == "" {
			if !strings.HasPrefix(got, "sha256-") {
				t.Errorf("%q: %q", addr, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}

// No two owners share a name, whatever their addresses and kinds, and a name shows its kind.
func TestNamesOfKinds(t *testing.T) {
	d := newDisk(t)
	names := map[string]string{}
	for _, addr := range []string{
		"alice@example.test", "alice@example.test-2", `"a,b"@example.test`, `"x@y,sign"@example.test`, "alice,sign@example.test",
		strings.Repeat("x", 250) + "@example.test",
	} {
		for _, kind := range []string{"", "sign", "sign-2", "2"} {
			for _, emails := range [][]string{{addr}, {addr, "bob@example.test"}} {
				name, err := d.PickName(emails, kind)
				if err != nil {
					t.Fatal(err)
				}
				if owner := names[name]; owner != "" {
					t.Errorf("%s and %s %s have the name %q", owner, emails, kind, name)
				}
				if KindOf(name) != kind || len(name) > 240 {
					t.Errorf("%q is of the kind %q, not %q", name, KindOf(name), kind)
				}
				names[name] = strings.Join(emails, " ") + " " + kind
				o := &Order{Version: Version, Settings: Settings{Emails: emails, Kind: kind}}
				if err := Write(d.OrderPath(name, len(names)%2 == 0), o); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// A file without a name of its own is nobody's record, and does no harm.
func TestNames(t *testing.T) {
	d := newDisk(t)
	for _, file := range []string{".json", ".x.json1", "..json", "x.json", "y.dry-run.json", "z", ".lock-x"} {
		if err := os.WriteFile(d.Path("orders", file), []byte(`{"version":1,"emails":["x@x.test"]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	orders, err := d.Orders(func(name string, err error) { t.Errorf("%s: %v", name, err) })
	for _, o := range orders {
		names = append(names, o.Name)
	}
	if err != nil || !slices.Equal(names, []string{"x", "y.dry-run"}) {
		t.Errorf("%q, %v", names, err)
	}
}
