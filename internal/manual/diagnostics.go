package manual

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Diagnostics checks that the messages in the page's DIAGNOSTICS are in the source
// of the programs, below root. Words in angle brackets stand for what varies.
func Diagnostics(t *testing.T, path, root string) {
	section := Read(t, path).Section("DIAGNOSTICS", "")
	if section == nil || len(section.Items) == 0 {
		t.Fatalf("%s tells of no diagnostics", path)
	}
	source := goSource(t, root)
	for _, item := range section.Items {
		for _, part := range strings.FieldsFunc(strings.ReplaceAll(item.Head, `\&`, ""), func(r rune) bool { return r == '<' || r == '>' }) {
			part = strings.TrimSpace(part)
			if verdict := strings.HasPrefix(part, "challenge ") && strings.Count(part, " ") == 1; verdict {
				continue // put together from two words
			}
			if len(part) > 12 && !strings.Contains(source, part) {
				t.Errorf("%s: no program says %q", path, part)
			}
		}
	}
}

// goSource returns all Go source below root but that of tests.
func goSource(t *testing.T, root string) string {
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
