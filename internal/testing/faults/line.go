package main

import (
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A line is what a host says of one thing that happened, as JSON on its
// standard output, or what the parent says of what it did or read. The clock is
// the machine's, so all lines can be put in order.
type line struct {
	At   int64  `json:"t"` // Unix nanoseconds
	Kind string `json:"k"`
	Host string `json:"-"`

	Parts []part `json:"p,omitempty"`
	Call  string `json:"c,omitempty"` // of the function: the batch's ID

	// Of the end of a call.
	Outcome string `json:"o,omitempty"` // what the function said
	Ended   bool   `json:"x,omitempty"` // its context had ended by then
	Some    []some `json:"f,omitempty"` // what it said of single records

	// Of a record that is given up.
	Reason   string `json:"r,omitempty"`
	Attempts int    `json:"a,omitempty"`

	// Of partitions that went.
	Lost bool   `json:"lost,omitempty"`
	Err  string `json:"err,omitempty"`
	// Cancelled is how many invocations the engine cut short, and Again how
	// many records it says will come again.
	Cancelled int `json:"cancelled,omitempty"`
	Again     int `json:"again,omitempty"`

	// Share is what the host has of the calls of its group, of a call that begins, of
	// partitions that came or went, and of statistics. Where bounds are each host's, it
	// means nothing.
	Share int `json:"share,omitempty"`

	// Of options that were changed.
	BatchSize   int `json:"batch,omitempty"`
	Concurrency int `json:"concurrency,omitempty"` // of all calls; 0 is no limit

	// Of a problem that is raised or solved: what it is about. Problems are all
	// that the host's state names, and Unwell is why it is not healthy.
	With     string   `json:"with,omitempty"`
	Problems []string `json:"problems,omitempty"`
	Unwell   string   `json:"unwell,omitempty"`

	// Of the host's statistics. Fetches is how many fetch requests were sent in
	// the last second.
	Goroutines int   `json:"goroutines,omitempty"`
	Heap       int64 `json:"heap,omitempty"`
	Held       int64 `json:"held,omitempty"`
	Fetches    int64 `json:"fetches,omitempty"`
	Evicted    int64 `json:"evicted,omitempty"`

	// Of a fault: which it is, and whether it is of the broker that has the group.
	Fault       kind `json:"-"`
	Coordinator bool `json:"-"`
}

// A part is what a line says of one partition.
type part struct {
	Partition int32  `json:"n"`
	Spans     []span `json:"s,omitempty"`
	// Offset is one that was committed, or where a position moved to, or where
	// the partition ends, or up to where retention takes it.
	Offset int64 `json:"o,omitempty"`
	// Leader is the address of the broker that leads it.
	Leader string `json:"l,omitempty"`
}

// A span is of records that lie one beside the other: the first and the last
// offset, both included, and the number of the first record (see recordOf).
type span [3]int64

// some is what the function said of some records of its call.
type some struct {
	Says  string `json:"y"`
	Parts []part `json:"p"`
}

// The kinds of lines.
const (
	lineStarted   = "started"   // the host is in its group
	lineAssigned  = "assigned"  // partitions came
	lineRevoked   = "revoked"   // partitions went, or were lost
	lineLeased    = "leased"    // a call is about to begin
	lineHeldUp    = "held up"   // and a hook has held it up until now
	lineCall      = "call"      // the function is called
	lineDeliver   = "deliver"   // the destination is called
	lineEnd       = "end"       // the function or the destination returns, and is done with these records
	lineDiscarded = "discarded" // the Mapping says that it gave a record up
	lineCommitted = "committed" // the broker has taken these offsets
	lineReset     = "reset"     // a position moved backward
	lineGone      = "gone"      // retention took records
	lineStats     = "stats"     // once a second
	lineProblem   = "problem"   // one is raised
	lineSolved    = "solved"    // and cleared
	lineCorrupt   = "corrupt"   // a record is not what was written
	linePaused    = "paused"    // Pause returned
	lineHalted    = "halted"    // the Mapping is in this phase
	lineResumed   = "resumed"   // Resume is about to be called
	lineUpdated   = "updated"   // Update returned
	lineRefused   = "refused"   // Pause, Resume or Update returned an error
	lineStopped   = "stopped"   // the host has stopped by itself
	lineLeaked    = "leaked"    // and left goroutines behind
	// The parent says these, of a process that has ended, and of what it said.
	lineKilled  = "killed"
	lineEnded   = "ended"   // by itself
	lineGarbled = "garbled" // it was not understood
	// These of what it does to a host.
	lineLeaving = "leaving" // it is about to be told to stop
	lineFrozen  = "frozen"  // it is about to stand still
	lineThawed  = "thawed"  // it goes on
	// These of the brokers.
	lineFault  = "fault"  // one is about to be broken
	lineHealed = "healed" // and is as it was
	lineLogged = "logged" // they wrote down a commit
	lineEnds   = "ends"   // where partitions end, and who leads them
	lineTaken  = "taken"  // retention is about to take all below an offset
	// And this of its transactions.
	lineTransaction = "transaction" // one has ended
)

// add adds a record to a line.
func (l *line) add(n int32, offset, seq int64) { l.Parts = withRecord(l.Parts, n, offset, seq) }

func withRecord(parts []part, n int32, offset, seq int64) []part {
	i := slices.IndexFunc(parts, func(p part) bool { return p.Partition == n })
	if i < 0 {
		i = len(parts)
		parts = append(parts, part{Partition: n})
	}
	p := &parts[i]
	if k := len(p.Spans) - 1; k >= 0 && offset >= 0 && p.Spans[k][1]+1 == offset && p.Spans[k].seq(offset) == seq {
		p.Spans[k][1] = offset
	} else {
		p.Spans = append(p.Spans, span{offset, offset, seq})
	}
	return parts
}

// seq is the number of the record at an offset of the span, or after it.
func (s span) seq(offset int64) int64 { return s[2] + offset - s[0] }

// partsOf are records, by partition. What they are must have been looked at.
func partsOf(records []*kgo.Record) (parts []part) {
	for _, r := range records {
		seq, err := seqOf(r)
		if err != nil {
			seq = -1
		}
		parts = withRecord(parts, numberOf(r), r.Offset, seq)
	}
	return parts
}

// offsets ranges over those of a part, with the numbers of the records.
func (p part) offsets(yield func(offset, seq int64) bool) {
	for _, s := range p.Spans {
		for o := s[0]; o <= s[1]; o++ {
			if !yield(o, s.seq(o)) {
				return
			}
		}
	}
}

// A teller writes lines, each in one piece.
type teller struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *teller) tell(l line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.At = time.Now().UnixNano() // under the lock: the order of times is that of lines
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // a line holds nothing that JSON cannot
	}
	_, _ = t.w.Write(append(b, '\n')) // if nobody reads, nobody judges
}
