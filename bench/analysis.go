package main

import (
	"math"
	"slices"
	"time"

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
	// Parts are those of that pause, if the contender told of what moved, and
	// StayedSeconds is the longest pause of a partition that did not move then, from its
	// first call on.
	Parts         *parts  `json:"parts,omitempty"`
	StayedSeconds float64 `json:"longest_pause_of_what_stayed_seconds,omitempty"`
	// Members is how many processes there were, one after the other beside
	// the first.
	Members int `json:"members"`
}

// parts are what a pause consists of, if the partition moved in it: the last call of the
// one process until that has let it go, until the other has it, and until its first call
// has ended.
type parts struct {
	LetGo  float64 `json:"let_go_seconds"`
	Handed float64 `json:"handed_over_seconds"`
	Begun  float64 `json:"begun_seconds"`
}

// partsOf takes a pause apart by what moved in it.
func partsOf(pause job.Span, moves []job.Move) *parts {
	slices.SortFunc(moves, func(a, b job.Move) int { return int(a.At - b.At) })
	went, came := pause.From, int64(0)
	for _, m := range moves {
		switch {
		case m.At < pause.From || m.At > pause.To:
		case !m.Came:
			went, came = m.At, 0
		case came == 0:
			came = m.At
		}
	}
	if came == 0 {
		return nil
	}
	seconds := func(from, to int64) float64 { return float64(to-from) / 1000 }
	return &parts{seconds(pause.From, went), seconds(went, came), seconds(came, pause.To)}
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
		var moves []job.Move
		for _, m := range members {
			if i < len(m.Partitions) {
				moves = append(moves, m.Partitions[i].Moves...)
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
		pause := longestPause(spans, began, end)
		seconds, split := float64(pause.To-pause.From)/1000, partsOf(pause, moves)
		if seconds > c.PauseSeconds {
			c.PauseSeconds, c.Parts = seconds, split
		}
		if len(moves) > 0 && len(spans) > 0 {
			stood := longestPause(spans, spans[0].From, end) // they are in order now
			if partsOf(stood, moves) == nil {
				c.StayedSeconds = max(c.StayedSeconds, float64(stood.To-stood.From)/1000)
			}
		}
	}
	total.Seconds = float64(until-began) / 1000
	return c, total
}

// longestWait is the longest time in seconds in which a partition had records left and
// no call, from the beginning of the first call on. Each call takes as long as the
// function, and all was handled.
func longestWait(ps []job.Partition, function time.Duration) float64 {
	began, longest := int64(math.MaxInt64), int64(0)
	for _, p := range ps {
		if len(p.Spans) > 0 {
			began = min(began, p.Spans[0].From-function.Milliseconds())
		}
	}
	for _, p := range ps {
		pause := longestPause(p.Spans, began, 0)
		longest = max(longest, pause.To-pause.From)
	}
	return max(0, float64(longest-function.Milliseconds())/1000)
}

// longestPause is the longest time between from and until that no span covers.
// With until 0 the last span is the end.
func longestPause(spans []job.Span, from, until int64) (longest job.Span) {
	slices.SortFunc(spans, func(a, b job.Span) int { return int(a.From - b.From) })
	at := from
	quiet := func(to int64) {
		if to-at > longest.To-longest.From {
			longest = job.Span{From: at, To: to}
		}
	}
	for _, s := range spans {
		quiet(s.From)
		at = max(at, s.To)
	}
	if until > 0 {
		quiet(until)
	}
	return longest
}
