package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A summary is the last line with -json.
type summary struct {
	Records    int     `json:"records"` // handled
	Missing    int     `json:"missing"`
	Duplicates int     `json:"duplicates"` // some, where a process is killed
	OutOfOrder int     `json:"out_of_order"`
	Seconds    float64 `json:"seconds"`
	Calls      int64   `json:"calls"`
	Failed     int64   `json:"failed_calls"`
	ColdStarts uint64  `json:"cold_starts,omitempty"`
	Committed  int64   `json:"committed"`
	Good       bool    `json:"good"`
}

// OK reports whether all is well.
func (s *summary) OK() bool { return s.Good }

// judge compares what the function got with what was written. Processes write
// to one file, a batch at a time, and a partition has one batch at a time.
func (s *summary) judge(file string, records int) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	highest := map[int]int64{}
	for line := range strings.Lines(string(text)) {
		var partition int
		var offset int64
		if _, err := fmt.Sscan(line, &partition, &offset); err != nil {
			return fmt.Errorf("the function wrote the line %q: %w", line, err)
		}
		if seen[line] {
			s.Duplicates++
			continue
		}
		seen[line] = true
		if at, ok := highest[partition]; ok && offset < at {
			s.OutOfOrder++
		}
		highest[partition] = max(highest[partition], offset)
	}
	s.Records, s.Missing = len(seen), records-len(seen)
	return nil
}

// Print writes the summary for people.
func (s *summary) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%d records in %.1f s: %d calls, of which %d failed", s.Records, s.Seconds, s.Calls, s.Failed)
	if s.ColdStarts > 0 {
		fmt.Fprintf(w, ", %d processes", s.ColdStarts)
	}
	fmt.Fprintf(w, "\nmissing %d, duplicates %d, out of order %d, committed %d: ", s.Missing, s.Duplicates, s.OutOfOrder, s.Committed)
	if s.Good {
		fmt.Fprintln(w, "all is well")
	} else {
		fmt.Fprintln(w, "THE CHECK FAILED")
	}
}
