package manual

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Diagnostics checks that the messages in the page's DIAGNOSTICS are in the source
// of the programs, below root: each in one string there, and not in a comment. Words in
// angle brackets stand for what varies.
func Diagnostics(t *testing.T, path, root string) {
	section := Read(t, path).Section("DIAGNOSTICS", "")
	if section == nil || len(section.Items) == 0 {
		t.Fatalf("%s tells of no diagnostics", path)
	}
	said := goStrings(t, root)
	for _, item := range section.Items {
		text := strings.TrimPrefix(strings.ReplaceAll(item.Head, `\&`, ""), "Dq ")
		if strings.HasPrefix(text, "Li ") || strings.HasPrefix(text, "challenge ") && strings.Count(text, " ") == 1 {
			continue // a name, which others check; or put together from two words
		}
		pattern := regexp.MustCompile(`\\?<[^>]*>`).ReplaceAllString(regexp.QuoteMeta(text), `(%\S*|$|^)`)
		if message := regexp.MustCompile(pattern); !slices.ContainsFunc(said, message.MatchString) {
			t.Errorf("%s: no program says %q", path, text)
		}
	}
}

// goStrings returns the strings in the Go source below root but that of tests.
func goStrings(t *testing.T, root string) (all []string) {
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value) // it was parsed
				all = append(all, text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
