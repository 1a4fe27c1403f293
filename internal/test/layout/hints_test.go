package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hinted are the functions that make errors for users, with the number of the argument
// that is the hint.
var hinted = map[string]int{
	"failure.Usage": 0, "failure.Config": 0, "failure.Later": 0, "failure.Failed": 0, "failure.Unreadable": 1, "failure.WithHint": 1,
}

// withoutHint are calls that may have none, by file and the text of the error.
var withoutHint = map[string]string{
	`cmd/postseal-pipe/main.go "%w"`: "its caller is a mail server, which needs the status alone",
}

// Whoever is told what is wrong is also told what to do.
func TestHints(t *testing.T) {
	used := map[string]bool{}
	calls := 0
	for name, p := range packages(t) {
		for _, file := range p.GoFiles {
			fset, parsed := parse(t, filepath.Join(p.Dir, file))
			ast.Inspect(parsed, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				hint, ours := hinted[calledName(call)]
				if !ours || len(call.Args) <= hint {
					return true
				}
				calls++
				key := name + "/" + file + " " + textOf(call.Args[hint+1:])
				if text, ok := call.Args[hint].(*ast.BasicLit); ok && text.Value == `""` {
					if used[key] = true; withoutHint[key] == "" {
						t.Errorf("%s: %s has no hint; say what the user can do", fset.Position(call.Pos()), key)
					}
				}
				return true
			})
		}
	}
	if calls < 100 {
		t.Errorf("only %d errors were found", calls)
	}
	for key := range withoutHint {
		if !used[key] {
			t.Errorf("%s has a hint, or is no more: remove it from the list", key)
		}
	}
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// textOf returns the first literal among the arguments.
func textOf(args []ast.Expr) string {
	n := slices.IndexFunc(args, func(a ast.Expr) bool { _, ok := a.(*ast.BasicLit); return ok })
	if n < 0 {
		return ""
	}
	return args[n].(*ast.BasicLit).Value
}

// The issuing half is a library, too: it names settings as data, and the program has the
// flags and commands for them.
func TestIssuerKnowsNoFlags(t *testing.T) {
	commandLine := regexp.MustCompile(`--[a-z]|\bpostseal (cert|renew|export|cancel|revoke|status|account|init|check)\b`)
	for name, p := range packages(t) {
		if name != "issuer" && !strings.HasPrefix(name, "issuer/") {
			continue
		}
		for _, file := range p.GoFiles {
			fset, parsed := parse(t, filepath.Join(p.Dir, file))
			ast.Inspect(parsed, func(n ast.Node) bool {
				if text, ok := n.(*ast.BasicLit); ok && commandLine.MatchString(text.Value) {
					t.Errorf("%s: %s names a flag or a command: use failure.In or an advice", fset.Position(text.Pos()), text.Value)
				}
				return true
			})
		}
	}
}

// Each advice is said in the words of the flags.
func TestAdvice(t *testing.T) {
	typed := map[string]bool{}
	_, hints := parse(t, filepath.Join(root(t), "cmd/postseal/hints.go"))
	ast.Inspect(hints, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			typed[s.Sel.Name] = true
		}
		return true
	})
	_, advice := parse(t, filepath.Join(root(t), "internal/failure/advice.go"))
	for name := range advice.Scope.Objects {
		if !typed[name] {
			t.Errorf("failure.%s is not in cmd/postseal/hints.go", name)
		}
	}
	if len(advice.Scope.Objects) < 30 {
		t.Errorf("only %d advices were found", len(advice.Scope.Objects))
	}
}

func parse(t *testing.T, path string) (*token.FileSet, *ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fset, parsed
}
