package esm

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"

	"github.com/seed429fd032/esm/internal/plan"
)

// TestPlanSpeaksOfTheSame: the engine turns a plan.Outcome and a plan.Reason into
// the public ones as the numbers that they are, so the constants are the same, in
// the same order.
func TestPlanSpeaksOfTheSame(t *testing.T) {
	outcomes := constants(t, "retry.go", "Outcome")
	if OutcomeRunning != Outcome(plan.OutcomeRunning) || OutcomeRunning >= 0 || OutcomeRunning.String() != "running" {
		t.Errorf("a call that runs is %d, %q", OutcomeRunning, OutcomeRunning)
	}
	if of := constants(t, "internal/plan/outcome.go", "Outcome"); !slices.Equal(of, outcomes) || len(of) < 8 {
		t.Errorf("the outcomes of the plan are %v, and the public ones %v", of, outcomes)
	}
	reasons := constants(t, "destination.go", "Reason")
	if of := constants(t, "internal/plan/outcome.go", "Reason"); of[0] != "ReasonNone" || reasons[0] != "_" || !slices.Equal(of[1:], reasons[1:]) || len(of) < 6 {
		t.Errorf("the reasons of the plan are %v, and the public ones %v", of, reasons)
	}
	for n := range len(outcomes) + 1 {
		unknown := fmt.Sprintf("Outcome(%d)", n)
		if got := plan.Outcome(n).String(); (got == unknown) != (n == len(outcomes)) {
			t.Errorf("outcome %d of %d is %q", n, len(outcomes), got)
		}
	}
	for n := range len(reasons) + 1 {
		unknown := fmt.Sprintf("Reason(%d)", n)
		if got := plan.Reason(n).String(); (got == unknown) != (n == len(reasons)) {
			t.Errorf("reason %d of %d is %q", n, len(reasons), got)
		}
	}
}

// constants lists those of a type that counts with iota, in their order.
func constants(t *testing.T, file, of string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		first, ok := group.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident)
		if !ok || first.Name != of {
			continue
		}
		for _, s := range group.Specs {
			if name := s.(*ast.ValueSpec).Names[0].Name; name != "OutcomeRunning" { // which stands alone
				names = append(names, name)
			}
		}
	}
	return names
}
