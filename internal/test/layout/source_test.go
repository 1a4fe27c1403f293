package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Functions are to be read at one glance: none over 100 lines, nine of ten under
// 40. Test files may be longer.
const (
	longest     = 100
	ninthTenth  = 40
	minMeasured = 50 // fewer functions say nothing about their distribution
)

func TestSource(t *testing.T) {
	var lengths []int
	for name, p := range packages(t) {
		documented := false
		for _, file := range p.GoFiles {
			path := filepath.Join(p.Dir, file)
			fset := token.NewFileSet()
			parsed, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			if err != nil {
				t.Error(err)
				continue
			}
			documented = documented || parsed.Doc != nil
			lengths = append(lengths, measure(t, name+"/"+file, fset, parsed)...)
		}
		if !documented && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment: say what it is for, in a paragraph a newcomer understands", name)
		}
	}
	checkDistribution(t, lengths)
}

// In -short one helper leaves tests out, and they are counted; else none may be skipped.
func TestNothingSkips(t *testing.T) {
	skip := regexp.MustCompile(`\b[tbf]\.Skip(f|Now)?\(|\.Skip(f|Now)?\(["` + "`" + `]`)
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "mta/need.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if skip.Match(text) {
			t.Errorf("%s skips a test: it runs, or fails and says what is missing; see mta.NotShort", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// measure returns the lengths of a file's functions and complains about long ones.
func measure(t *testing.T, name string, fset *token.FileSet, file *ast.File) (lengths []int) {
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1
		if lines > longest {
			t.Errorf("%s: %s has %d lines, %d is the limit: name its parts", name, f.Name.Name, lines, longest)
		}
		lengths = append(lengths, lines)
	}
	return lengths
}

func checkDistribution(t *testing.T, lengths []int) {
	if len(lengths) < minMeasured {
		return
	}
	slices.Sort(lengths)
	t.Logf("%d functions, median %d lines, longest %d", len(lengths), lengths[len(lengths)/2], lengths[len(lengths)-1])
	if nine := lengths[len(lengths)*9/10]; nine >= ninthTenth {
		t.Errorf("nine of ten functions have up to %d lines, under %d is the aim", nine, ninthTenth)
	}
}

// foreign are turns of phrase that a native speaker does not use, with what he says.
var foreign = []struct {
	phrase  *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(\w+ )?(is|are|was|were) none\b`), `"invalid", "unknown", "not one"`},
	{regexp.MustCompile(`\b(\w+ )?(is|are|was|were) no [a-z]+`), `"is not a"`},
	{regexp.MustCompile(`\btells whether\b`), `"reports whether"`},
}

// native are phrases of that form that are right.
var native = regexp.MustCompile(`^(there (is|are|was|were) no(ne)?|.*\b(is|are|was|were) no (longer|more|better|less))\b`)

// In strings, comments and pages alike.
func TestEnglish(t *testing.T) {
	text := regexp.MustCompile(`\.(go|md|[1578]|toml|txt|txtar|ya?ml)$`)
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !text.MatchString(path) || strings.HasSuffix(path, "layout/source_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for n, line := range strings.Split(string(content), "\n") {
			for _, f := range foreign {
				if found := f.phrase.FindString(line); found != "" && !native.MatchString(strings.ToLower(found)) {
					t.Errorf("%s:%d: %q; say %s", path, n+1, found, f.instead)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
