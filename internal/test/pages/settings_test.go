package pages

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/testca"
)

// With the settings that the README gives for acme2certifier, an order ends well at a
// CA with the same habits.
func TestSettingsForAcme2certifier(t *testing.T) {
	t.Parallel()
	const example = "https://acme.example.org/directory"
	var settings string
	for _, b := range readPage(t, filepath.Join(root, "README.md")).blocks {
		if b.heading == "CAs" && strings.Contains(b.text, example) {
			settings = b.text
		}
	}
	if settings == "" {
		t.Fatal("the README has no settings for it (any more)")
	}
	bin, err := kit.Path()
	must(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "postseal.toml")
	run := func(stdin []byte, program string, args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(bin, program), append(args, "--config", file)...)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	ca, err := testca.Start(context.Background(), testca.Config{
		Dir: dir, Sign: testca.SignNone, MinimalHeaders: true, Certbot: true, Serial: true,
		Deliver: func(_ context.Context, _, _ string, msg []byte) error {
			_, err := run(msg, "postseal-pipe")
			return err
		},
	})
	must(t, err)
	defer ca.Close()
	text := strings.ReplaceAll(settings, example, ca.DirectoryURL)
	text = "smtp = \"smtp://" + ca.SMTPAddr + "\"\nca-bundle = \"" + ca.RootFile + "\"\nstate = \"" + dir + "/state\"\n" + text
	must(t, os.WriteFile(file, []byte(text), 0o600))
	out, err := run(nil, "postseal", "cert", "-n", "--agree-tos", "-e", "alice@example.test", "--key-type", "p256", "--timeout", "30s")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
