package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A summary is the last line with -json.
type summary struct {
	Ways []*way `json:"ways"`
	Good bool   `json:"good"`
}

// OK reports whether all is well.
func (s *summary) OK() bool { return s.Good }

// A way is one way to run the function, and what came of it.
type way struct {
	Name       string  `json:"name"`
	Seconds    float64 `json:"seconds"`
	Records    int     `json:"records"` // lines of its ledger
	Missing    int     `json:"missing"`
	Wrong      int     `json:"wrong"` // lines that no order makes
	Duplicates int     `json:"duplicates"`
	OutOfOrder int     `json:"out_of_order"`
	GivenUp    int64   `json:"given_up"`
	Calls      int64   `json:"calls"`
	Skipped    string  `json:"skipped,omitempty"` // why it was left out
}

func (w *way) good(s *settings) bool {
	return w.Skipped != "" || w.Missing == 0 && w.Wrong == 0 && w.Duplicates == 0 && w.OutOfOrder == 0 && w.GivenUp == int64(s.bad)
}

// judge reads a ledger.
func (s *settings) judge(w *way, ledger string) error {
	text, err := os.ReadFile(ledger)
	if err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	want := s.ledger()
	last := map[int]int64{}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var partition, cents int
		var offset int64
		if _, err := fmt.Sscan(line, &partition, &offset, &cents); err != nil {
			return fmt.Errorf("%s: its ledger has the line %q: %w", w.Name, line, err)
		}
		w.Records++
		if !want[line] {
			w.Wrong++
		}
		if seen[line] {
			w.Duplicates++
		}
		seen[line] = true
		if at, ok := last[partition]; ok && offset < at {
			w.OutOfOrder++
		}
		last[partition] = max(last[partition], offset)
	}
	for line := range want {
		if !seen[line] {
			w.Missing++
		}
	}
	return nil
}

// ledger is what each way must write.
func (s *settings) ledger() map[string]bool {
	lines := map[string]bool{}
	for i := range s.records {
		if !s.isBad(i) {
			lines[fmt.Sprintf("%d %d %d\n", i%partitions, i/partitions, cents(i))] = true
		}
	}
	return lines
}

// Print writes the summary for people.
func (s *summary) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%-8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "way", "orders", "missing", "wrong", "twice", "disorder", "given up", "calls", "seconds")
	for _, y := range s.Ways {
		if y.Skipped != "" {
			fmt.Fprintf(w, "%-8s left out: %s\n", y.Name, y.Skipped)
			continue
		}
		fmt.Fprintf(w, "%-8s %8d %8d %8d %8d %8d %8d %8d %8.1f\n", y.Name, y.Records, y.Missing, y.Wrong, y.Duplicates, y.OutOfOrder, y.GivenUp, y.Calls, y.Seconds)
	}
	if s.Good {
		fmt.Fprintln(w, "all is well")
	} else {
		fmt.Fprintln(w, "THE CHECK FAILED")
	}
}
