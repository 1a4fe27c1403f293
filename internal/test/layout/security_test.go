package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// These pages say what was tried, and by which tests: all of them exist, and each row of
// a table names one.
func TestSecurityNamesTests(t *testing.T) {
	tests := testSources(t)
	named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`)
	for _, page := range []string{"SECURITY.md", "contrib/monitoring/faults.md"} {
		text, err := os.ReadFile(filepath.Join(root(t), page))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			if !strings.Contains(tests, "\nfunc "+name+"(") {
				t.Errorf("%s names %s, which there is not", page, name)
			}
		}
		rows := 0
		for line := range strings.Lines(string(text)) {
			heading := strings.HasPrefix(line, "|---") || strings.Contains(line, "| tests |")
			if !strings.HasPrefix(line, "|") || heading {
				continue
			}
			if rows++; !named.MatchString(line) {
				t.Errorf("%s: no test in %s", page, line)
			}
		}
		if rows < 10 {
			t.Errorf("%s has %d rows", page, rows)
		}
	}
}

// The Makefile picks tests by name, and go test is content with a name that no test has.
func TestMakefileNamesTests(t *testing.T) {
	tests := testSources(t)
	text, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(text), -1)
	for _, name := range names {
		if !strings.Contains(tests, "\nfunc "+name) {
			t.Errorf("the Makefile names %s, which no test is called", name)
		}
	}
	if len(names) < 3 {
		t.Errorf("the Makefile names %q", names)
	}
}

// testSources returns the text of all tests.
func testSources(t *testing.T) string {
	t.Helper()
	var tests strings.Builder
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		tests.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests.String()
}
