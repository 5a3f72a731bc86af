package engine

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// timed are the funcs that wait for real time to pass. Nothing else has to do with
// it: what they do then is decided in funcs that are told what time it is.
var timed = map[string][]string{
	"Engine.KeepTime":   {"NewTimer"},
	"Engine.Revoke":     {"WithTimeout"},
	"Engine.drain":      {"WithTimeout"},
	"Engine.StuckCalls": {"WithTimeout"},
}

// TestTheEngineHasNoClock but World.Now, so that whoever brings one of his own can
// drive it.
func TestTheEngineHasNoClock(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	set := token.NewFileSet()
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			name := ""
			if f, ok := decl.(*ast.FuncDecl); ok {
				name = f.Name.Name
				if f.Recv != nil {
					of := f.Recv.List[0].Type
					if star, ok := of.(*ast.StarExpr); ok {
						of = star.X
					}
					name = of.(*ast.Ident).Name + "." + name
				}
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(clock, s.Sel.Name) {
					if x, ok := s.X.(*ast.Ident); ok && (x.Name == "time" || x.Name == "context") {
						found[name] = append(found[name], s.Sel.Name)
					}
				}
				return true
			})
		}
	}
	if got := found["New"]; !slices.Equal(got, []string{"Now"}) {
		t.Errorf("New uses %v: it takes the real clock where World has none", got)
	}
	delete(found, "New")
	for name, uses := range found {
		if !slices.Equal(timed[name], uses) {
			t.Errorf("%s uses %v of the real clock", name, uses)
		}
	}
	for name := range timed {
		if found[name] == nil {
			t.Errorf("%s waits no more", name)
		}
	}
}
