package main

import (
	"testing"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
)

func TestAllWaysDoTheSame(t *testing.T) {
	var s summary
	code := demotest.JSON(t, t.Context(), "migrate", new(settings), t.Output(), &s, "-records", "3000", "-bad", "2")
	if code != 0 || !s.Good || len(s.Ways) != 3 {
		t.Fatalf("exit code %d: %+v", code, s)
	}
	for _, w := range s.Ways {
		if w.Skipped == "" && (w.Records != 2998 || w.GivenUp != 2 || w.Calls < 30) {
			t.Errorf("%+v", w)
		}
	}
}

func TestSummaryForPeople(t *testing.T) {
	demotest.Says(t, "migrate", new(settings), "-records 500 -bad 0",
		"writing 500 records", "handler ", "process ", "all is well")
}

// TestCheckSeesWhatIsWrong: a check that cannot fail is none.
func TestCheckSeesWhatIsWrong(t *testing.T) {
	s := settings{records: 10, bad: 1}
	for _, tt := range []struct {
		w    way
		want bool
	}{
		{way{GivenUp: 1}, true}, {way{}, false}, {way{GivenUp: 2}, false}, {way{GivenUp: 1, Missing: 1}, false}, {way{GivenUp: 1, Wrong: 1}, false},
		{way{GivenUp: 1, Duplicates: 1}, false}, {way{GivenUp: 1, OutOfOrder: 1}, false}, {way{Skipped: "no Python"}, true},
	} {
		if tt.w.good(&s) != tt.want {
			t.Errorf("%+v", tt.w)
		}
	}
}

func TestBadRecordsAreAsManyAsAsked(t *testing.T) {
	for _, s := range []settings{{records: 10}, {records: 10, bad: 1}, {records: 10, bad: 3}, {records: 7, bad: 7}, {records: 20_000, bad: 3}} {
		n := 0
		for i := range s.records {
			if s.isBad(i) {
				n++
			}
		}
		if n != s.bad || len(s.ledger()) != s.records-s.bad {
			t.Errorf("%+v: %d", s, n)
		}
	}
}

func TestBadFlags(t *testing.T) {
	demotest.Refuses(t, "migrate", func() demo.Program { return new(settings) }, map[string]string{
		"-what":      "flag provided but not defined",
		"here":       `"here" is not a flag`,
		"-records 0": "must be 1 to 1,000,000",
		"-bad -1":    "must be 0 to -records",
	})
}
