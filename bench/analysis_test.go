package main

import (
	"testing"
	"time"

	"github.com/seed429fd032/esm/bench/job"
)

// upTo is the set of the offsets below n.
func upTo(n int64) job.Set {
	s := make(job.Set, n/64+1)
	for o := range n {
		s[o>>6] |= 1 << (o & 63)
	}
	return s
}

func without(s job.Set, offset int64) job.Set {
	s[offset>>6] &^= 1 << (offset & 63)
	return s
}

func TestPoisonTellsStandingStillFromPassedOver(t *testing.T) {
	ps := []job.Partition{
		{Handled: without(upTo(100), 50), LastSeconds: 3},                // all but the poison
		{Handled: upTo(50), LastSeconds: 1},                              // waits in front of it
		{Handled: without(without(upTo(100), 50), 51), LastSeconds: 2},   // passed one good one over
		{Handled: without(without(upTo(100), 50), 52), LastSeconds: 14},  // still works
		{Handled: without(without(upTo(100), 50), 53), LastSeconds: 0.5}, // has not committed it
	}
	got := poisonOf(ps, []int64{100, 50, 100, 50, 51}, 100, 50, 15)
	want := poison{Good: 99 + 50 + 98 + 98 + 98, Of: 5 * 99, LastSeconds: 14, Still: 3, Passed: 1}
	if *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

func TestOthersLeavesTheHotPartitionOut(t *testing.T) {
	ps := []job.Partition{{Handled: upTo(500), LastSeconds: 9}, {Handled: upTo(10), LastSeconds: 1}, {Handled: upTo(9), LastSeconds: 2}}
	if got := othersOf(ps, 20); *got != (others{Seconds: 2, Records: 19}) {
		t.Errorf("%+v", *got)
	}
	if got := othersOf(ps, 19); !got.Done {
		t.Errorf("%+v", *got)
	}
}

func TestChurnPutsMembersTogether(t *testing.T) {
	members := []job.Report{
		{Calls: 3, Duplicates: 1, Partitions: []job.Partition{
			{Handled: upTo(10), Spans: []job.Span{{From: 1000, To: 2000}, {From: 9000, To: 10000}}},
			{Handled: upTo(20), Spans: []job.Span{{From: 1500, To: 3000}}},
		}},
		{Calls: 2, OutOfOrder: 4, Partitions: []job.Partition{
			{Handled: upTo(15), Spans: []job.Span{{From: 1900, To: 5000}}},
			{},
		}},
	}
	ch, total := churnOf(members, 20, 10500)
	// Partition 0 has nobody from 5.0 to 9.0; partition 1 is done after 3.0.
	if ch.PauseSeconds != 4 || ch.Members != 2 {
		t.Errorf("%+v", ch)
	}
	if total.Records != 35 || total.Duplicates != 1+10 || total.OutOfOrder != 4 || total.Calls != 5 || total.Seconds != 9.5 {
		t.Errorf("%+v", total)
	}
	// Not done, it had nobody until the end.
	if ch, _ := churnOf(members, 21, 10500); ch.PauseSeconds != 7.5 {
		t.Errorf("%+v", ch)
	}
}

// TestAPauseIsTakenApart by what moved in it, and what did not move is judged from its own
// first call on.
func TestAPauseIsTakenApart(t *testing.T) {
	went, came := func(at int64) job.Move { return job.Move{At: at} }, func(at int64) job.Move { return job.Move{At: at, Came: true} }
	members := []job.Report{
		{Partitions: []job.Partition{
			{Handled: upTo(10), Spans: []job.Span{{From: 1000, To: 2000}}, Moves: []job.Move{came(900), went(2100)}},
			// It waits for its first call, and stands still for a moment, without moving.
			{Handled: upTo(20), Spans: []job.Span{{From: 2200, To: 3000}, {From: 3300, To: 9000}}, Moves: []job.Move{came(900), went(9100)}},
			// It waits for its first call, and moves later, which takes less time.
			{Handled: upTo(10), Spans: []job.Span{{From: 2500, To: 3000}}, Moves: []job.Move{came(900), went(3000)}},
		}},
		{Partitions: []job.Partition{
			{Handled: upTo(20), Spans: []job.Span{{From: 4000, To: 9000}}, Moves: []job.Move{came(2600)}},
			{},
			{Handled: upTo(20), Spans: []job.Span{{From: 4000, To: 9000}}, Moves: []job.Move{came(3500)}},
		}},
	}
	ch, _ := churnOf(members, 20, 9000)
	if ch.PauseSeconds != 2 || ch.Parts == nil || *ch.Parts != (parts{LetGo: 0.1, Handed: 0.5, Begun: 1.4}) {
		t.Errorf("%+v, %+v", ch, ch.Parts)
	}
	if ch.StayedSeconds != 0.3 {
		t.Errorf("of what stayed %.2f", ch.StayedSeconds)
	}
}

func TestChosenNamesWhatIsNotThere(t *testing.T) {
	runs, cs, err := chosen("C,idle,A", "sarama,bare")
	if err != nil || runs != "CIA" || len(cs) != 2 || cs[0].name != "sarama" {
		t.Errorf("%q, %v, %v", runs, cs, err)
	}
	if runs, cs, err := chosen("", ""); err != nil || runs != usualRuns || len(cs) != len(contenders) {
		t.Errorf("%q, %v, %v", runs, cs, err)
	}
	for _, wrong := range [][2]string{{"L", ""}, {"", "nobody"}, {"ABC", ""}} {
		if _, _, err := chosen(wrong[0], wrong[1]); err == nil {
			t.Errorf("%v is no mistake", wrong)
		}
	}
}

// TestLongestWait: a call that ends when the one before did and a function has taken its
// time did not wait, and a partition whose first call came late did.
func TestLongestWait(t *testing.T) {
	const function = 100 * time.Millisecond
	busy := job.Partition{Spans: []job.Span{{From: 1100, To: 1100}, {From: 1200, To: 1200}, {From: 1300, To: 1300}}}
	for _, c := range []struct {
		what string
		ps   []job.Partition
		want float64
	}{
		{"never", []job.Partition{busy}, 0},
		{"between two calls", []job.Partition{busy, {Spans: []job.Span{{From: 1100, To: 1100}, {From: 1250, To: 1250}}}}, 0.05},
		{"before the first one", []job.Partition{busy, {Spans: []job.Span{{From: 1400, To: 1400}}}}, 0.3},
		{"a partition without records", []job.Partition{{}, busy}, 0},
		{"a call of less than a function", []job.Partition{{Spans: []job.Span{{From: 1100, To: 1130}}}}, 0},
	} {
		if got := longestWait(c.ps, function); got != c.want {
			t.Errorf("%s: %.3f s, want %.3f", c.what, got, c.want)
		}
	}
}

// TestPartsOfAPause: what moved before or after it has no part in it, and a partition
// that comes back to the same process was let go last.
func TestPartsOfAPause(t *testing.T) {
	went, came := func(at int64) job.Move { return job.Move{At: at} }, func(at int64) job.Move { return job.Move{At: at, Came: true} }
	pause := job.Span{From: 10_000, To: 12_000}
	for _, c := range []struct {
		moves []job.Move
		want  *parts
	}{
		{nil, nil},
		{[]job.Move{came(1000)}, nil},
		{[]job.Move{went(13_000), came(13_100)}, nil},
		{[]job.Move{came(11_500), came(1000), went(10_500)}, &parts{0.5, 1, 0.5}},
		{[]job.Move{went(10_100), came(10_200), went(11_000), came(11_200)}, &parts{1, 0.2, 0.8}},
		{[]job.Move{came(11_000)}, &parts{0, 1, 1}}, // nobody had it, or died
	} {
		switch got := partsOf(pause, c.moves); {
		case (got == nil) != (c.want == nil), got != nil && *got != *c.want:
			t.Errorf("%v: %+v, want %+v", c.moves, got, c.want)
		}
	}
}
