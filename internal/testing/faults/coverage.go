package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed429fd032/esm"
)

// coverage counts what happened in a run, by what it is called: kinds of
// faults, what functions and destinations said, and what came of it. A check
// that had nothing to look at says nothing.
type coverage map[string]int64

func (c coverage) add(what string) { c[what]++ }

// What is counted under a name of its own.
const (
	calmEnd           = "graceful end with nothing broken near"
	takenByCompaction = "taken by compaction"
	takenByRetention  = "taken by retention, and called lost"
	evictions         = "evicted"
)

// wholeRun is how long a run has to be to have everything: its plan has each
// kind of fault then, and of what follows from records there are dozens.
const wholeRun = 3 * time.Minute

// wanted is what a whole run has.
func wanted() []string {
	want := []string{
		saysHandled, saysFailed, saysPanic, saysGoexit, saysThrottled, saysHalt, saysPermanent, saysTooLarge, saysPartial, saysTaken, saysRefused,
		"partial, " + saysFailed, "partial, " + saysUntried, "partial, " + saysPermanent, "partial, " + saysThrottled,
		linePaused, lineHalted, lineResumed, lineUpdated, committed, aborted, calmEnd, takenByCompaction, takenByRetention, evictions,
	}
	for _, kinds := range kindsOf {
		for _, k := range kinds {
			want = append(want, string(k))
		}
	}
	for _, r := range []esm.Reason{esm.ReasonRetriesExhausted, esm.ReasonTooOld, esm.ReasonTooLarge, esm.ReasonPermanent} {
		want = append(want, "given up, "+r.String())
	}
	return want
}

// missing is what a whole run should have had.
func (c coverage) missing() (names []string) {
	for _, what := range wanted() {
		if c[what] == 0 {
			names = append(names, what)
		}
	}
	return names
}

func (c coverage) String() string {
	var b strings.Builder
	for i, what := range slices.Sorted(maps.Keys(c)) {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s %d", what, c[what])
	}
	return b.String()
}
