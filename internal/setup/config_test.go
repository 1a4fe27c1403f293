package setup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/internal/cli"
	"postseal/issuer"
)

var full = Config{
	State: "/srv/postseal", Server: "https://ca.example/dir", CABundle: "/etc/ca.pem", Contact: []string{"a@x.test", "b@x.test"},
	AgreeTOS: true, SMTP: "smtp://mail.example.test:2525", Resolver: "127.0.0.1:53", Listen: "unix:/run/postseal/milter.sock",
	DKIM: []DKIMKey{{"x.test", "s1", `/etc/"odd"\key.pem`}, {"y.test", "s1", "/k"}},
}

// The written file is readable, contains what was asked for, and differs from nothing.
func TestConfigText(t *testing.T) {
	for name, c := range map[string]Config{"full": full, "nothing": {}, "one contact": {Contact: []string{"a@x.test"}}} {
		path := filepath.Join(t.TempDir(), "postseal.toml")
		must(t, os.WriteFile(path, []byte(c.Text()), 0o644))
		file, err := cli.ReadFile(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(file.DKIM) != len(c.DKIM) || len(c.DKIM) > 0 && file.DKIM[0].Key != c.DKIM[0].Key {
			t.Errorf("%s: %+v", name, file.DKIM)
		}
		if keys := c.differs(path); len(keys) > 0 {
			t.Errorf("%s: differs in %q", name, keys)
		}
	}
}

// Each commented-out line is valid, so that people can use it unchanged.
func TestConfigExamples(t *testing.T) {
	text := strings.ReplaceAll(Config{DefaultServer: issuer.DefaultServer}.Text(), "\n#", "\n")
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, " = ") || strings.HasPrefix(line, "[[") {
			lines = append(lines, line)
		}
	}
	path := filepath.Join(t.TempDir(), "postseal.toml")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644))
	if _, err := cli.ReadFile(path); err != nil {
		t.Error(err)
	}
	if !strings.Contains(text, issuer.DefaultServer) {
		t.Error("the default CA is another")
	}
}

func TestDiffers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postseal.toml")
	must(t, os.WriteFile(path, []byte("contact = [\"c@x.test\"]\nsmtp = \"smtp://b\"\nlisten = \"inet:8891@127.0.0.1\"\njobs = 3\n"), 0o644))
	keys := full.differs(path)
	want := []string{"agree-tos", "ca-bundle", "contact", "dkim", "resolver", "server", "smtp", "state"}
	if !slices.Equal(keys, want) {
		t.Errorf("%q", keys)
	}
	if keys := (Config{Listen: "unix:/x"}).differs(path); len(keys) > 0 {
		t.Errorf("what is not asked for differs: %q", keys)
	}
	if keys := full.differs(path + ".missing"); len(keys) > 0 {
		t.Errorf("a missing file differs in %q", keys)
	}
}
