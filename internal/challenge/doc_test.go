package challenge

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// All tests that the package's rules name exist.
func TestRulesNameTests(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../test/layout/layout_test.go")
	var tests strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	_, rules, _ := strings.Cut(string(doc), "# Threat model")
	for _, name := range regexp.MustCompile(`\b(Test|Fuzz|Benchmark)\w+`).FindAllString(rules, -1) {
		if !strings.Contains(tests.String(), "\nfunc "+name+"(") {
			t.Errorf("there is no %s", name)
		}
	}
	for _, pattern := range regexp.MustCompile(`[\w-]*\*[\w*-]*`).FindAllString(rules, -1) {
		if found, _ := filepath.Glob("testdata/golden/" + pattern + ".txtar"); len(found) == 0 {
			t.Errorf("there is no golden case %s", pattern)
		}
	}
}
