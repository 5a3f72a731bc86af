package esmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
)

// An Exemption is something that [TestInvoker] does not ask of an Invoker.
type Exemption int

const (
	// NoThrottle is for an Invoker that has no way to say that the function
	// is throttled. A throttle may then arrive as a plain failure.
	NoThrottle Exemption = iota
	// NoHalt is for an Invoker that has no way to say that going on makes no
	// sense. A halt may then arrive as a plain failure, or as a throttle.
	NoHalt
	// NoBatchInfo is for an Invoker that does not carry the Attempt, the ID,
	// the Mapping and the Group of a batch, as AWS's event does not. They may then
	// be zero, but not wrong.
	NoBatchInfo
	// NoPermanent is for an Invoker that has no way to say that trying again
	// makes no sense. A permanent failure may then arrive as a plain one.
	NoPermanent
	// NoTooLarge is for an Invoker that has no way to say that a batch is too
	// large. That may then arrive as a plain failure.
	NoTooLarge
	// NoFailures is for an Invoker that has no way to say that some records
	// failed and others did not. That may then arrive as a plain failure, of
	// the whole batch.
	NoFailures
	// NoStopAt is for an Invoker that can name records that failed, but not say
	// that the later ones were not tried ([esm.Failures.StopAt]), as a Lambda
	// function cannot. Those may then arrive as records that failed.
	NoStopAt
	// Drops is for an Invoker that keeps records from the target on purpose, as a
	// filter does, or a wrapper that knows repeats. What it drops counts as
	// handled: Invoke returns nil for it, or names others. What it does not drop
	// must arrive as it is, and nothing else; and what failed must not be dropped
	// when it comes again, unless it always is.
	//
	// The suite proves little of an Invoker that drops all of its records, so that
	// one fails. They have the keys "key 0" to "key 6" in turns, values such as
	// "value of orders/0 at 17", a header "trace", and offsets in a row, 10 and more of
	// each partition. Have newInvoker make an Invoker that drops some of any three in
	// a row, but not all.
	Drops

	never Exemption = -1 // for what is asked of every Invoker
)

// String returns the name of the constant.
func (e Exemption) String() string {
	names := [...]string{"NoThrottle", "NoHalt", "NoBatchInfo", "NoPermanent", "NoTooLarge", "NoFailures", "NoStopAt", "Drops"}
	if e < 0 || int(e) >= len(names) {
		return fmt.Sprintf("Exemption(%d)", int(e))
	}
	return names[e]
}

// TestInvoker proves that an Invoker does what a Mapping expects of one. It is
// for those that wrap another Invoker and for those that reach a function
// somewhere else: by HTTP, in another process, in a cloud. Each check is a
// subtest that is named for what it asks.
//
// newInvoker makes an Invoker whose calls end up in target. A wrapper wraps
// it. For a transport newInvoker starts a server, with t.Cleanup to stop it,
// that calls target and answers as the real one would in that case: an HTTP
// server with 429 when target says [esm.Throttled], a cloud with its error for
// a function that does not exist when target says [esm.Halt]; [esm.Classify]
// and [esm.FailuresOf] tell the server what target says. target may panic.
// newInvoker is called for each check anew, with the t of its subtest.
//
// The checks ask that
//
//   - Invoke returns nil only when target has returned nil for all records of
//     the batch, and an error when target returned one or panicked. A plain
//     error stays plain. esm.Throttled, esm.Halt, [esm.Permanent],
//     [esm.TooLarge] and [esm.Failures] stay what they are, alone, wrapped and
//     said of a record, as esm.Classify sees them; an esm.Failures names
//     the same records, as [esm.FailuresOf] sees it. The text of an error is
//     not looked at, nor how long a throttle is.
//   - Invoke returns within 5 seconds, with an error, when its context ends,
//     even if it had ended before. target need not notice.
//   - each record arrives once, with its topic, partition, offset, timestamp
//     (to the millisecond), key, value and headers. nil keys and values stay
//     apart from empty ones; nil and empty header values are the same. The
//     records of a partition come together and in order; the partitions of a
//     batch may come in any order, and in several calls of target.
//   - the Attempt, ID, Mapping and Group of the batch arrive.
//   - calls at once get each its own answer. That they run at once is not
//     asked.
//   - the batch stays as it is while Invoke runs, with the keys, values and headers
//     of its records, and is not used afterwards. Where a record stands may
//     change, as it does when a client produces it.
//   - after a failure, a panic or a call cut short, the next call works.
//
// An Invoker that cannot carry all of that says so with exemptions. What it
// cannot carry must still arrive as a failure, and never as a success. The
// largest batches have 10,000 records, and 3 MiB.
//
// The suite works in real time and takes a second or so. It cannot run inside
// a testing/synctest bubble, because it makes subtests. Run it with -race too.
func TestInvoker(t *testing.T, newInvoker func(t testing.TB, target esm.InvokerFunc) esm.Invoker, exemptions ...Exemption) {
	t.Helper()
	c := &conformance{newInvoker: newInvoker, exempt: exemptions, soon: 5 * time.Second, patience: 30 * time.Second, moment: 100 * time.Millisecond}
	for _, check := range c.checks() {
		t.Run(check.name, func(t *testing.T) { check.run(t) })
	}
}

// conformance is the suite. Its checks take a testing.TB, so that a test can
// watch them fail.
type conformance struct {
	newInvoker func(t testing.TB, target esm.InvokerFunc) esm.Invoker
	exempt     []Exemption
	soon       time.Duration // for a call whose context ended
	patience   time.Duration // for any other call
	// moment is how long something is watched that must not happen, and how
	// long calls wait for others that need not come.
	moment time.Duration
}

type check struct {
	name string
	run  func(t testing.TB)
}

func (c *conformance) checks() []check {
	return slices.Concat(c.outcomeChecks(), c.dropChecks(), []check{
		{"a call does not return before the target does", c.waits},
		{"a call that is cancelled returns an error soon", c.cancelled},
		{"a call whose deadline passes returns an error soon", c.timedOut},
		{"a call with a context that has ended returns an error soon", c.endedBefore},
		{"a panic of the target is no success and the next call works", c.panics},
		{"calls at once get their own records", c.ownRecords},
		{"calls at once get their own answers", c.ownAnswers},
		{"the batch is not changed", c.unchanged},
		{"the batch is not used after the call", c.unused},
		{"attempt and id and mapping of the batch arrive", c.info},
	}, c.arrivalChecks())
}

func (c *conformance) waits(t testing.TB) {
	s := newStall()
	defer s.release()
	answers := begin(t.Context(), c.invoker(t, s.target), plainBatch(0))
	moment, done := context.WithTimeout(t.Context(), c.patience)
	defer done()
	select {
	case <-s.entered:
	case a := <-answers:
		t.Fatalf("Invoke %s, and the target was not called", a)
	case <-moment.Done():
		t.Fatalf("the target was not called within %s", c.patience)
	}
	moment, done = context.WithTimeout(t.Context(), c.moment)
	defer done()
	select {
	case a := <-answers:
		t.Fatalf("Invoke %s while the target was still running", a)
	case <-moment.Done():
	}
	s.release()
	report(t, notSuccess(c.wait(t, answers, c.patience, "after the target did")))
}

func (c *conformance) cancelled(t testing.TB) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	c.cutShort(ctx, t, func(s *stall, answers <-chan answer) {
		moment, done := context.WithTimeout(t.Context(), c.patience)
		defer done()
		select {
		case <-s.entered:
		case a := <-answers:
			t.Fatalf("Invoke %s before its context ended, and before the target returned", a)
		case <-moment.Done():
			t.Fatalf("the target was not called within %s", c.patience)
		}
		cancel(esm.ErrStopping)
	})
}

func (c *conformance) timedOut(t testing.TB) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), c.moment, esm.ErrInvokeTimeout)
	defer cancel()
	c.cutShort(ctx, t, func(*stall, <-chan answer) { <-ctx.Done() })
}

func (c *conformance) endedBefore(t testing.TB) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(esm.ErrRevoked)
	c.cutShort(ctx, t, func(*stall, <-chan answer) {})
}

// cutShort makes a call of a target that returns only when its context ends,
// and judges the answer. end returns when ctx has ended.
func (c *conformance) cutShort(ctx context.Context, t testing.TB, end func(*stall, <-chan answer)) {
	s := newStall()
	// Before the cleanups of newInvoker, which may wait for the target.
	defer s.release()
	inv := c.invoker(t, s.target)
	answers := begin(ctx, inv, plainBatch(0))
	end(s, answers)
	a := c.wait(t, answers, c.soon, "after its context ended")
	if a.odd != "" {
		t.Errorf("Invoke %s when its context ended", a)
	} else if a.err == nil {
		t.Error("Invoke returned nil for a call that was cut short: its records would count as handled")
	}
	s.release()
	c.succeeds(t, inv, plainBatch(1))
}

func (c *conformance) panics(t testing.TB) {
	inv := c.invoker(t, func(_ context.Context, b *esm.Batch) error {
		if isFirst(b) {
			panic("the target panics, as this test wants it to")
		}
		return nil
	})
	for range 2 {
		spoken := inv.spoken()
		a := c.wait(t, begin(t.Context(), inv, plainBatch(0)), c.patience, "after the target panicked")
		if a.odd == "" { // the Mapping makes a failure of a panic itself
			report(t, c.judge(panicked, a, inv.spoken() > spoken))
		}
		c.succeeds(t, inv, plainBatch(1))
	}
}

// calls is how many calls there are at once, and rounds how often.
const (
	calls  = 50
	rounds = 3
)

func (c *conformance) ownRecords(t testing.TB) {
	got := c.arrivals()
	c.together(t, got, func(*esm.Batch) error { return nil }, func(_ int32, _ int, a answer) string { return notSuccess(a) })
	var sent []*esm.Batch
	for p := range int32(calls) {
		for round := range rounds {
			sent = append(sent, ownBatch(p, round))
		}
	}
	got.compare(t, sent...)
}

func (c *conformance) ownAnswers(t testing.TB) {
	said := utterances()
	// Every other call succeeds.
	of := func(p int32) (u utterance, ok bool) { return said[int(p)/2%len(said)], p%2 == 1 }
	type call struct {
		partition int32
		round     int
	}
	var mu sync.Mutex
	spoke := map[call]bool{}
	c.together(t, c.arrivals(), func(b *esm.Batch) error {
		r := b.Records[0]
		u, ok := of(r.Partition)
		if !ok {
			return nil
		}
		err := u.opinion(b)
		mu.Lock()
		defer mu.Unlock()
		spoke[call{r.Partition, int(r.Offset / 10)}] = err != nil
		return err
	}, func(p int32, round int, a answer) string {
		mu.Lock()
		defer mu.Unlock()
		if u, ok := of(p); ok {
			return c.judge(u.claim, a, spoke[call{p, round}])
		}
		return notSuccess(a)
	})
}

// together makes many calls at once, each of a partition of its own, and does
// so a few times. judge says what is wrong with what became of the target's
// opinion for a partition.
func (c *conformance) together(t testing.TB, got *arrivals, of opinion, judge func(p int32, round int, a answer) string) {
	// The first calls wait in the target until all are there, so that they
	// really run at once, but not for long: an Invoker need not allow it.
	all, open := context.WithCancel(t.Context())
	defer open()
	var here atomic.Int64
	inv := c.invoker(t, got.target(func(_ context.Context, b *esm.Batch) error {
		switch here.Add(1) {
		case 1:
			time.AfterFunc(c.moment, open)
		case calls:
			open()
		}
		<-all.Done()
		return of(b)
	}))
	type result struct {
		partition int32
		answers   []answer
	}
	results := make(chan result, calls)
	for p := range int32(calls) {
		go func() {
			r := result{partition: p}
			for round := range rounds {
				r.answers = append(r.answers, <-begin(t.Context(), inv, ownBatch(p, round)))
			}
			results <- r
		}()
	}
	limit, done := context.WithTimeout(t.Context(), c.patience)
	defer done()
	var wrong []string
	for n := range calls {
		select {
		case r := <-results:
			for round, a := range r.answers {
				if w := judge(r.partition, round, a); w != "" {
					wrong = append(wrong, fmt.Sprintf("partition %d of %d at once: %s", r.partition, calls, w))
				}
			}
		case <-limit.Done():
			t.Fatalf("of %d calls at once, %d did not return within %s", calls, calls-n, c.patience)
		}
	}
	report(t, wrong...)
}

// someOpinions are those after which an Invoker may do something with the batch
// yet: try it again, or a part of it.
func someOpinions() []opinion {
	return []opinion{
		func(*esm.Batch) error { return nil },
		func(*esm.Batch) error { return errTarget },
		func(*esm.Batch) error { return esm.TooLarge(nil) },
		ofOffset(99, errTarget),
	}
}

func (c *conformance) unchanged(t testing.TB) {
	for _, o := range someOpinions() {
		inv := c.invoker(t, o.target)
		b := mixedBatch()
		was, records, held := *b, slices.Clone(b.Records), look(b.Records)
		c.invoke(t, inv, b)
		if !slices.Equal(records, b.Records) {
			t.Error("Invoke changed the slice of the records: it is the caller's")
		}
		if _, exempt := inv.Invoker.(mayWrite); !exempt {
			report(t, whatChanged(held, whileInvoke))
			report(t, whatWasReplaced(held, records))
		}
		if b.Attempt != was.Attempt || b.ID != was.ID || b.Mapping != was.Mapping || b.Group != was.Group {
			t.Error("Invoke changed the Attempt, ID, Mapping or Group of the batch")
		}
	}
}

func (c *conformance) unused(t testing.TB) {
	for _, o := range someOpinions() {
		got := c.arrivals()
		var failing atomic.Bool
		inv := c.invoker(t, got.target(func(_ context.Context, b *esm.Batch) error {
			if failing.Load() {
				return o(b)
			}
			return nil
		}))
		failing.Store(true)
		b := mixedBatch()
		c.invoke(t, inv, b)
		failing.Store(false)
		got.take()
		// What the Mapping would do with the slice now is its own business.
		for i := range b.Records {
			b.Records[i] = record("stranger", 0, int64(i))
		}
		b.Attempt, b.ID, b.Mapping = 99, "stranger", "stranger"
		for n := range 2 {
			c.succeeds(t, inv, plainBatch(n))
			got.compare(t, plainBatch(n))
		}
	}
}

func (c *conformance) info(t testing.TB) {
	got := c.arrivals()
	inv := c.invoker(t, got.target(nil))
	for n := range 3 {
		b := plainBatch(n)
		b.Attempt = 1 + n
		c.succeeds(t, inv, copyBatch(b))
		for _, g := range got.compare(t, b) { // which sees what is wrong, but not what is missing
			if missing := g.Attempt == 0 || g.ID == "" || g.Mapping == "" || g.Group == ""; missing && !c.exempts(NoBatchInfo) {
				t.Errorf("the target got %s. A wrapper passes them on with Batch.With; an Invoker that cannot carry them is tested with esmtest.NoBatchInfo", infoOf(g))
			}
		}
	}
}

// wait waits for an answer, and fails the test if none comes.
func (c *conformance) wait(t testing.TB, answers <-chan answer, most time.Duration, when string) answer {
	t.Helper()
	limit, done := context.WithTimeout(context.Background(), most)
	defer done()
	select {
	case a := <-answers:
		return a
	case <-limit.Done():
		t.Fatalf("Invoke did not return within %s %s", most, when)
		return answer{}
	}
}

// invoke calls Invoke and waits for it.
func (c *conformance) invoke(t testing.TB, inv esm.Invoker, b *esm.Batch) answer {
	t.Helper()
	return c.wait(t, begin(t.Context(), inv, b), c.patience, "of being called")
}

// succeeds calls Invoke of a target that succeeds.
func (c *conformance) succeeds(t testing.TB, inv esm.Invoker, b *esm.Batch) {
	t.Helper()
	report(t, notSuccess(c.invoke(t, inv, b)))
}

// report fails the test with the first of many things that are wrong, if any
// is.
func report(t testing.TB, wrong ...string) {
	t.Helper()
	wrong = slices.DeleteFunc(wrong, func(w string) bool { return w == "" })
	const most = 5
	if n := len(wrong); n > most {
		wrong = append(wrong[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
}

// A stall is a target that returns when its context ends. After release it
// succeeds at once.
type stall struct {
	entered  chan struct{} // closed by the first call
	enter    func()
	released chan struct{}
	release  func()
}

func newStall() *stall {
	s := &stall{entered: make(chan struct{}), released: make(chan struct{})}
	s.enter = sync.OnceFunc(func() { close(s.entered) })
	s.release = sync.OnceFunc(func() { close(s.released) })
	return s
}

func (s *stall) target(ctx context.Context, _ *esm.Batch) error {
	s.enter()
	select {
	case <-s.released:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
