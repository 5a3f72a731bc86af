package main

import (
	"slices"

	"github.com/seed429fd032/esm/bench/job"
)

// others is run C: when all partitions but the one with most records were done.
type others struct {
	Seconds float64 `json:"seconds"`
	Records int64   `json:"records"`
	Done    bool    `json:"done"`
}

// othersOf looks at all partitions but the first, which have want records
// together.
func othersOf(ps []job.Partition, want int64) *others {
	var o others
	for _, p := range ps[min(1, len(ps)):] {
		o.Records += p.Handled.Len()
		o.Seconds = max(o.Seconds, p.LastSeconds)
	}
	o.Done = o.Records >= want
	return &o
}

// poison is run D: what became of good records beside a poison one.
type poison struct {
	Good int64 `json:"good"` // handled
	Of   int64 `json:"of"`
	// LastSeconds is when the last of them was handled.
	LastSeconds float64 `json:"last_seconds"`
	// Still is how many partitions have good records left, and had none handled
	// in the last third of the run.
	Still int `json:"standing_still"`
	// Passed is how many good records are below the committed offset without
	// having been handled: nobody will read them again.
	Passed int64 `json:"passed_over"`
}

// poisonOf looks at partitions with each records, of which the one at offset
// bad is poison.
func poisonOf(ps []job.Partition, committed []int64, each, bad int64, seconds float64) *poison {
	var d poison
	for i, p := range ps {
		good := p.Handled.Len()
		d.Good += good
		d.Of += each - 1
		d.LastSeconds = max(d.LastSeconds, p.LastSeconds)
		if good < each-1 && p.LastSeconds < seconds*2/3 {
			d.Still++
		}
		for offset := range min(committed[i], each) {
			if offset != bad && !p.Handled.Has(offset) {
				d.Passed++
			}
		}
	}
	return &d
}

// churn is run E: what a member that comes and goes does to the others.
type churn struct {
	// PauseSeconds is the longest time in which nobody handled a record of
	// some partition that had some.
	PauseSeconds float64 `json:"longest_pause_seconds"`
	// Members is how many processes there were, one after the other beside
	// the first.
	Members int `json:"members"`
}

// churnOf puts the members of a group together. Until is the end of the run in
// milliseconds of the wall clock, and each how many records a partition has.
func churnOf(members []job.Report, each, until int64) (c churn, total job.Report) {
	c.Members = len(members)
	var began int64 // when the first partition was worked at
	for _, m := range members {
		total.Calls += m.Calls
		total.OutOfOrder += m.OutOfOrder
		total.Duplicates += m.Duplicates // within the process
		for _, p := range m.Partitions {
			if len(p.Spans) > 0 && (began == 0 || p.Spans[0].From < began) {
				began = p.Spans[0].From
			}
		}
	}
	for i := range members[0].Partitions {
		var handled job.Set
		var sum int64
		var spans []job.Span
		for _, m := range members {
			if i < len(m.Partitions) {
				handled = handled.Union(m.Partitions[i].Handled)
				sum += m.Partitions[i].Handled.Len()
				spans = append(spans, m.Partitions[i].Spans...)
			}
		}
		n := handled.Len()
		total.Records += n
		total.Duplicates += sum - n // of two processes
		end := until
		if n == each {
			end = 0 // it has none left: its last record is its end
		}
		c.PauseSeconds = max(c.PauseSeconds, float64(longestPause(spans, began, end))/1000)
	}
	total.Seconds = float64(until-began) / 1000
	return c, total
}

// longestPause is the longest time between from and until that no span covers.
// With until 0 the last span is the end.
func longestPause(spans []job.Span, from, until int64) (longest int64) {
	slices.SortFunc(spans, func(a, b job.Span) int { return int(a.From - b.From) })
	at := from
	for _, s := range spans {
		longest = max(longest, s.From-at)
		at = max(at, s.To)
	}
	if until > 0 {
		longest = max(longest, until-at)
	}
	return longest
}
