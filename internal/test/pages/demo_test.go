package pages

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

// accident matches what differs from one run of the demo to the next.
var accident = regexp.MustCompile(`(?m)^ *\d+\.\d{3} s|https://127\.0\.0\.1:\d+\S+|127\.0\.0\.1:\d+|unix:\S+|acme-challenge\+\w+|ACME: [\w-]+|<\w+@|\d{4}-\d\d-\d\d|SHA-256 \w+`)

// shape is what stays, line by line; parts of the demo run side by side, so the order
// of the lines is not part of it.
func shape(text string) []string {
	lines := strings.Split(accident.ReplaceAllString(strings.TrimSpace(text), "*"), "\n")
	slices.Sort(lines)
	return lines
}

// The output that the README shows is what the demo prints.
func TestDemoOutput(t *testing.T) {
	t.Parallel()
	var shown string
	for _, b := range readPage(t, filepath.Join(root, "README.md")).blocks {
		if b.heading == "postseal" && b.kind == "text" {
			shown = b.text
		}
	}
	cmd := exec.Command(filepath.Join(mta.Build(t, "postseal-demo"), "postseal-demo"))
	cmd.Dir = t.TempDir()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want, got := shape(string(out)), shape(shown)
	if !slices.Equal(want, got) {
		t.Errorf("the README shows\n%s\nand the demo prints\n%s", shown, out)
	}
}
