package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
)

func TestEveryRecordReachesTheFunction(t *testing.T) {
	var s summary
	code := demotest.JSON(t, t.Context(), "lambda", new(settings), t.Output(), &s, "-records", "8000")
	if code != 0 || !s.Good || s.Records != 8000 || s.Calls < 80 || s.ColdStarts < 1 || s.Committed != 8000 {
		t.Errorf("exit code %d: %+v", code, s)
	}
}

// TestCheckSeesWhatIsWrong: a check that cannot fail is none.
func TestCheckSeesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]summary{
		"0 0\n0 1\n1 0\n":      {Records: 3},
		"0 0\n1 0\n":           {Records: 2, Missing: 1},
		"0 0\n0 1\n0 0\n1 0\n": {Records: 3, Duplicates: 1},
		"0 1\n0 0\n1 0\n":      {Records: 3, OutOfOrder: 1},
	} {
		file := filepath.Join(t.TempDir(), "seen")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var s summary
		if err := s.judge(file, 3); err != nil || s != want {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestBadFlags(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	demotest.Refuses(t, "lambda", func() demo.Program { return new(settings) }, map[string]string{
		"-what":                          "flag provided but not defined",
		"here":                           `"here" is not a flag`,
		"-records 0":                     "must be 1 to 1,000,000",
		"-endpoint http://localhost":     "-endpoint needs -function",
		"-function f":                    "-function needs -region",
		"-function f -region eu-north-1": "-function needs credentials",
	})
}
