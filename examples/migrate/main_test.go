package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestAllWaysDoTheSame(t *testing.T) {
	var out bytes.Buffer
	code := run(t.Context(), []string{"-json", "-records", "3000", "-bad", "2"}, &out, t.Output())
	var s summary
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("stdout %q: %v", out.String(), err)
	}
	if code != 0 || !s.Good || len(s.Ways) != 3 {
		t.Fatalf("exit code %d: %s", code, out.String())
	}
	for _, w := range s.Ways {
		if w.Skipped == "" && (w.Records != 2998 || w.GivenUp != 2 || w.Calls < 30) {
			t.Errorf("%+v", w)
		}
	}
}

func TestSummaryForPeople(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-records", "500", "-bad", "0"}, &out, t.Output()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"writing 500 records", "handler ", "process ", "all is well"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
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
		if tt.w.good(s) != tt.want {
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
	for args, want := range map[string]string{
		"-what":      "flag provided but not defined",
		"here":       `"here" is not a flag`,
		"-records 0": "must be 1 to 1,000,000",
		"-bad -1":    "must be 0 to -records",
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &out, &errs); code != 2 || !strings.Contains(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", args, code, errs.String(), out.String())
		}
	}
}
