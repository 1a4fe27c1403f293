package pages

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// With the settings that contrib/cas.md gives for acme2certifier, an order ends well at a
// CA with the same habits: those of before 0.45.1, and those since.
func TestSettingsForAcme2certifier(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	var settings []string
	for _, b := range readPage(t, filepath.Join(root, "contrib", "cas.md")).blocks {
		if b.heading == "acme2certifier" && strings.Contains(b.text, exampleDirectory) {
			settings = append(settings, b.text)
		}
	}
	if len(settings) != 2 {
		t.Fatalf("the page has %d settings for it, want 2", len(settings))
	}
	for n, certbot := range []bool{true, false} {
		orderWith(t, settings[n], testca.Config{Sign: testca.SignNone, MinimalHeaders: true, Certbot: certbot, Serial: true})
	}
}

const exampleDirectory = "https://acme.example.org/directory"

// orderWith orders at a CA with these settings.
func orderWith(t *testing.T, settings string, config testca.Config) {
	t.Helper()
	bin := mta.Build(t, "postseal", "postseal-pipe")
	dir := t.TempDir()
	file := filepath.Join(dir, "postseal.toml")
	run := func(stdin []byte, program string, args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(bin, program), append(args, "--config", file)...)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	config.Dir = dir
	config.Deliver = func(_ context.Context, _, _ string, msg []byte) error {
		_, err := run(msg, "postseal-pipe")
		return err
	}
	ca, err := testca.Start(context.Background(), config)
	must(t, err)
	defer ca.Close()
	text := strings.ReplaceAll(settings, exampleDirectory, ca.DirectoryURL)
	text = "smtp = \"smtp://" + ca.SMTPAddr + "\"\nca-bundle = \"" + ca.RootFile + "\"\nstate = \"" + dir + "/state\"\n" + text
	must(t, os.WriteFile(file, []byte(text), 0o600))
	out, err := run(nil, "postseal", "cert", "-n", "--agree-tos", "-e", "alice@example.test", "--key-type", "p256", "--timeout", "30s")
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, settings, out)
	}
}
