package esmtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// Storm shows whether your function bears to see a record twice, and late, and beside
// another call with the same record. It writes the records to a Kafka in memory, and has
// two or three processes of one consumer group, each with a real Mapping, handle them
// with your function. Meanwhile a plan, drawn from the seed, breaks what can break:
//
//   - A process dies when the function has succeeded and nobody knows it yet. The
//     records come again in another process, in seconds or many minutes later.
//   - A process freezes in a call, as one that is stopped or swapped out. Its session
//     ends, and another process calls the function with the same records, at once with
//     the call that goes on, or before it.
//   - Processes join and leave while calls run. Some of these are cancelled.
//   - Answers are lost. Calls are throttled, and take long before the function begins
//     and after it has ended.
//
// It returns when each record is handled, or given up, and committed. The test then
// asks what the function has done:
//
//	func TestBillingBearsAStorm(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			orders, ledger := twentyOrders(), newLedger()
//			esmtest.Storm(t, 1, orders, func() esm.Invoker { return billing(ledger) })
//			ledger.wantEachOnce(t, orders)
//		})
//	}
//
// newInvoker is called for each process that starts, on the goroutine of the test. What
// all processes share, such as a database or a service, is made before. What an Invoker
// remembers by itself is gone with its process, as in production.
//
// # The plan
//
// One seed, with the same records, is one plan. Any seed will do, and a loop over some of
// them, with t.Run around synctest.Test, finds more. Where goroutines run at once, who is
// first is not of the plan. Records are placed by their keys, as [Kafka.ProduceRecords]
// does, or by [At]; those without a topic are of the topic "storm". The records of the
// test stay as they are. If the test fails, also later on, its output has the plan and
// what happened, with the seed.
//
// opts are options of all Mappings. They come after what the plan sets: the batch, its
// window, and the timeouts. With [esm.WithMaxRetries] what the storm does uses up
// attempts too. What the Mappings log is left out, unless there is an [esm.WithLogger].
//
// # What fails the test
//
// The test fails at once if nothing gets on for ten minutes: it says which records the
// function is not done with, and how its last calls went. It also fails if the function
// halts a Mapping, ignores that its context has ended and is still there at the end, or
// writes into bytes of records ([MayWrite]); if the Mappings break a promise of this
// library, such as the order of a partition; and if the storm did not do what it is for.
// At least one record must have come again after it was handled, one more than two
// minutes later, and one in two processes at once.
//
// # Virtual time
//
// Storm needs a testing/synctest bubble and the build tag synctests. Up to an hour passes
// in it, which takes a tenth of a second or so. It does not make the bubble, because what
// the function calls must be made in the same one. What stands for a service there should
// take a while, with time.Sleep: in a function that takes no time nothing can come
// between.
func Storm(t testing.TB, seed uint64, records []*kgo.Record, newInvoker func() esm.Invoker, opts ...esm.Option) *StormReport {
	t.Helper()
	return storm(t, seed, records, newInvoker, opts, func(*forecast) {})
}

// storm is Storm with a plan that somebody has changed.
func storm(t testing.TB, seed uint64, records []*kgo.Record, newInvoker func() esm.Invoker, opts []esm.Option, change func(*forecast)) *StormReport {
	t.Helper()
	switch {
	case !inBubble():
		t.Fatal("esmtest: Storm is called outside of a testing/synctest bubble, where it would take up to an hour: call it in synctest.Test(t, func(t *testing.T) { ... })")
	case len(records) == 0:
		t.Fatal("esmtest: Storm got no records, and would prove nothing")
	case newInvoker == nil:
		t.Fatal("esmtest: Storm got no function that makes Invokers")
	}
	needOwn(t, "Storm")
	needNoListener(t)
	own := make([]*kgo.Record, len(records)) // the caller's stay as they are
	for i, r := range records {
		if r == nil {
			t.Fatalf("esmtest: Storm got record %d as nil", i)
		}
		c := *r
		if c.Topic == "" {
			c.Topic = "storm"
		}
		if p, ok := pinned(r); ok && (p < 0 || p >= 1000) {
			t.Fatalf("esmtest: Storm got record %d for partition %d", i, p)
		}
		own[i] = &c
	}
	f := newForecast(seed, own)
	change(f)
	s := newWeather(t, f, own, newInvoker, opts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("esmtest: %s", s.report())
		}
	})
	problem := s.run()
	s.calm()
	s.judge(problem)
	return s.report()
}

// Records makes n records, by their number from 0 on.
func Records(n int, record func(n int) *kgo.Record) []*kgo.Record {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = record(i)
	}
	return records
}

// A StormReport is what a [Storm] did.
type StormReport struct {
	Seed uint64
	// Plan is what was drawn from the seed, and Story what came of it.
	Plan, Story string
	// Records are what became of the records, in the order in which Storm got them.
	Records []StormRecord
}

// A StormRecord is what became of a record in a [Storm].
type StormRecord struct {
	// Record is a copy of what Storm got, with its place.
	Record *kgo.Record
	// Calls is how often the function got it, and Handled how often it was done with
	// it.
	Calls, Handled int
	// Late is whether the function got it again more than two minutes after it was
	// done with it.
	Late bool
	// Beside is whether two processes called the function with it at once.
	Beside bool
	// GivenUp is whether a [esm.Destination] took it.
	GivenUp bool
}

// String describes it in one line.
func (r StormRecord) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d calls, handled %d times", placeOf(r.Record), r.Calls, r.Handled)
	for _, what := range []struct {
		was  bool
		text string
	}{{r.Late, "late"}, {r.Beside, "beside another call"}, {r.GivenUp, "given up"}} {
		if what.was {
			b.WriteString(", " + what.text)
		}
	}
	return b.String()
}

// String describes all of it, in many lines.
func (r *StormReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the storm of %s\nwhat happened:\n%srecords that the function got several times:", r.Plan, r.Story)
	for i, one := range r.Records {
		if one.Calls > 1 {
			fmt.Fprintf(&b, "\n  record %d (%s)", i, one)
		}
	}
	fmt.Fprintf(&b, "\nthe same plan again: esmtest.Storm with the seed %d and the same records", r.Seed)
	return b.String()
}

// mostStill is for how long nothing may get on.
var mostStill = 10 * time.Minute

// judge fails the test for what went wrong.
func (s *weather) judge(problem string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var wrong []string
	if problem != "" {
		wrong = append(wrong, problem)
	}
	for _, l := range s.leaps {
		if !s.tales[s.index[l.over]].givenUp {
			wrong = append(wrong, fmt.Sprintf("the library broke its promise: the function got %s before it was done with %s", l.got, l.over))
		}
	}
	if running := s.unfinished(); len(running) > 0 {
		wrong = append(wrong, "the function ignores that its context ended, and its goroutine is left behind: "+strings.Join(running, "; "))
	}
	if problem == "" {
		if missing := s.missing(); len(missing) > 0 {
			wrong = append(wrong, fmt.Sprintf("this storm proved too little: no record came %s. Give it more records, or another seed", strings.Join(missing, ", and none ")))
		}
	}
	if len(wrong) > 0 {
		s.t.Fatalf("esmtest: the storm of seed %d: %s", s.forecast.seed, strings.Join(wrong, "\n"))
	}
}

// missing says what this storm did to no record. The lock is held.
func (s *weather) missing() (missing []string) {
	any := func(has func(*tale) bool) bool { return slices.ContainsFunc(s.tales, has) }
	if !any(func(t *tale) bool { return t.again }) {
		missing = append(missing, "again after it was handled")
	}
	if !any(func(t *tale) bool { return t.late }) {
		missing = append(missing, "more than two minutes after it was handled")
	}
	if !any(func(t *tale) bool { return t.beside }) {
		missing = append(missing, "while another process had it")
	}
	return missing
}

// report describes what there is by now.
func (s *weather) report() *StormReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &StormReport{Seed: s.forecast.seed, Plan: s.forecast.String(), Story: s.story.String()}
	for _, t := range s.tales {
		r.Records = append(r.Records, StormRecord{Record: t.record, Calls: t.calls, Handled: t.handled, Late: t.late, Beside: t.beside, GivenUp: t.givenUp})
	}
	return r
}
