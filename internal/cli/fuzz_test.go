package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// FuzzConfig reads any file that an admin may write: nothing panics, and an error in the file
// has the right exit status.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"state = \"/var/lib/postseal\"\nsmtp = \"smtp://localhost:25\"\nsettle = \"2s\"\n",
		"[smime]\nroots = \"/etc/postseal/roots.pem\"\n[[dkim]]\ndomain = \"example.org\"\nselector = \"s1\"\nkey = \"k.pem\"\n",
		"[ca.\"https://acme.example/directory\"]\ndkim = \"relaxed-parent\"\ncompat = [\"serial\"]\nsettle = \"1s\"\n[ca.\"*\"]\nunsigned = \"allow\"\n",
		"email = [\"a@b\", \"c@d\"]\njobs = 3\nsmtp-password = \"secret\"\n",
		"a = 1\n", "[ca]\n", "[ca.x]\ntrigger = \"never\"\n", "state = {}\n", "dkim = 1\n", "\xff", "smtp = \"smtp://u:p@[::1\"\n",
	} {
		f.Add(text)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, fmt.Sprint(os.Getpid()))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := ReadFile(path)
		if err != nil {
			if ExitCode(err) != ExitConfig {
				t.Errorf("exit status %d: %v", ExitCode(err), err)
			}
			return
		}
		file.CAFor("https://acme.example/directory")
		for _, value := range file.top {
			asFlag(value)
		}
	})
}
