package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// A line is what a host says of one thing that happened, as JSON on its
// standard output. The clock is the machine's, so lines of all hosts can be
// put in order.
type line struct {
	At   int64  `json:"t"` // Unix nanoseconds
	Kind string `json:"k"`
	Host string `json:"-"`

	Parts []part `json:"p,omitempty"`
	Call  string `json:"c,omitempty"` // the batch's ID and the number of the call
	Lost  bool   `json:"lost,omitempty"`
	Err   string `json:"err,omitempty"`
	// Cancelled is how many invocations the engine cut short.
	Cancelled int `json:"cancelled,omitempty"`

	Goroutines int   `json:"goroutines,omitempty"`
	Heap       int64 `json:"heap,omitempty"`
	Held       int64 `json:"held,omitempty"`
	// Fetches is how many fetch requests were sent in the last second.
	Fetches int64 `json:"fetches,omitempty"`
}

// A part is what a line says of one partition.
type part struct {
	Partition int32 `json:"n"`
	// Spans are offsets: first and last, both included.
	Spans [][2]int64 `json:"s,omitempty"`
	// Offset is one that was committed, or where a position moved to.
	Offset int64 `json:"o,omitempty"`
}

// The kinds of lines.
const (
	lineStarted   = "started"   // the host is in its group
	lineAssigned  = "assigned"  // partitions came
	lineRevoked   = "revoked"   // partitions went, or were lost
	lineCall      = "call"      // the function is called
	lineEnd       = "end"       // it returns, and has handled these records of its call
	lineCommitted = "committed" // the broker has taken these offsets
	lineReset     = "reset"     // a position moved backward
	lineGone      = "gone"      // retention took records
	lineStats     = "stats"     // once a second
	lineProblem   = "problem"
	lineStopped   = "stopped" // the host has stopped by itself
	// The parent says these, of a process that has ended, and of what it said.
	lineKilled  = "killed"
	lineEnded   = "ended"   // by itself
	lineGarbled = "garbled" // it was not understood
	// And this of the brokers: one is about to be taken from the group.
	lineFault = "fault"
)

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
