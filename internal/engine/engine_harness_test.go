package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/scaling"
)

// An outside is all that is around an engine in a test: the function, who takes
// what is given up, and who is told what happens. Each may be nil.
type outside struct {
	function    func(*Call) plan.Verdict
	destination func(context.Context, *kgo.Record, plan.Portion) error
	told        func(event string, args ...any)
}

// engine makes one that has no partition yet.
func (o outside) engine(s *Settings, base context.Context) *Engine {
	s.Discards = o.destination != nil
	return New(s, World{Invoke: o.invoke, Deliver: o.deliver, Unreadable: newCorruption, Halted: func(error) {}}, &recorder{told: o.told}, base)
}

// usual are settings as a Mapping has them with AWS's limits: its window is what
// several tests are about.
func usual() *Settings {
	return &Settings{
		MinPollers: 1, MaxPollers: 200, PollerConcurrency: 5, PollerByteRate: 5_000_000, MaxConcurrency: -1,
		BatchSize: 100, BatchWindow: 500 * time.Millisecond, BatchBytes: 4 << 20,
		Backoff: always(time.Hour), MaxRetries: -1, MaxRecordAge: -1, MemoryBudget: 128 << 20,
	}
}

// always is a back-off.
func always(d time.Duration) func(attempt int) time.Duration {
	return func(int) time.Duration { return d }
}

// invoke is as it has to be: see World. What was taken away proves nothing.
func (o outside) invoke(c *Call) {
	returned := false
	defer func() {
		if !returned {
			c.Verdict = failed(fmt.Sprint("did not return: ", recover()))
		}
	}()
	if err := c.TakenAway(); err != nil {
		c.Verdict, returned = plan.Verdict{Outcome: plan.OutcomeAbandoned, Err: err}, true
		return
	}
	v := o.function(c)
	if err := c.TakenAway(); err != nil && v.Outcome != plan.OutcomeSuccess {
		v = plan.Verdict{Outcome: plan.OutcomeAbandoned, Err: err}
	}
	c.Verdict, returned = v, true
}

// deliveryTakes is how long a delivery may take.
const deliveryTakes = 30 * time.Second

// deliver is as it has to be: see World. What cannot be read is dropped where
// nobody takes anything.
func (o outside) deliver(ctx context.Context, r *kgo.Record, of plan.Portion) (dropped bool, err error) {
	if o.destination == nil {
		if of.Reason == plan.ReasonUnreadable {
			return true, nil
		}
		return false, errors.New("nobody takes it")
	}
	failure := guard.Call(func() {
		ctx, done := context.WithTimeout(ctx, deliveryTakes)
		defer done()
		err = guard.Keep(o.destination(ctx, r, of))
	})
	if failure != nil {
		return false, fmt.Errorf("did not return: %v", failure.Value)
	}
	return false, err
}

// A corruption is an error of what cannot be read.
type corruption struct {
	partition.ID
	Unreadable
}

func newCorruption(id partition.ID, u *Unreadable) error { return &corruption{id, *u} }

func (c *corruption) Error() string {
	return fmt.Sprintf("offsets %d to %d of %v cannot be read: %v", c.From, c.To-1, c.ID, c.Err)
}

// These are verdicts.
var succeeded = plan.Verdict{}

func failed(why string) plan.Verdict {
	return plan.Verdict{Outcome: plan.OutcomeFailure, Err: errors.New(why)}
}

// partly is the verdict of a call that says something of single records.
func partly(failures ...plan.Failure) plan.Verdict {
	return plan.Verdict{Outcome: plan.OutcomePartial, Err: errors.New("some failed"), Failures: failures}
}

// failure is what a call of one partition says of one of its records.
func failure(record int) plan.Failure {
	return plan.Failure{Record: record, Err: errors.New("no"), Outcome: plan.OutcomeFailure}
}

// A recorder is a watcher that passes on what it is told, as the name of the
// event and its arguments. It has the problems.
type recorder struct {
	told  func(event string, args ...any) // nil for nobody
	calls bool                            // it wants calls and polls too

	mu    sync.Mutex // a leaf
	known map[string]Trouble
}

var _ Watcher = (*recorder)(nil)

func (r *recorder) tell(event string, args ...any) {
	if r.told != nil {
		r.told(event, args...)
	}
}

func (r *recorder) Note(with string, err error, now time.Time) (tell func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.known[with]
	switch {
	case err != nil && known:
		was.Err, was.Last = err, now
		r.known[with] = was
	case err != nil:
		if r.known == nil {
			r.known = map[string]Trouble{}
		}
		p := Trouble{with, err, now, now}
		r.known[with] = p
		return func() { r.tell("raised", p) }
	case known:
		delete(r.known, with)
		return func() { r.tell("cleared", was) }
	}
	return nil
}

func (r *recorder) Over(p Trouble) (tell func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.known[p.With]
	if !known || !was.Last.Equal(p.Last) {
		return nil
	}
	delete(r.known, p.With)
	return func() { r.tell("cleared", was) }
}

func (r *recorder) Troubles() []Trouble {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.known), func(a, b Trouble) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.With, b.With))
	})
}

func (r *recorder) Trouble(with string) *Trouble {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, known := r.known[with]; known {
		return &p
	}
	return nil
}

func (r *recorder) AnyTrouble() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.known) > 0
}

func (r *recorder) WantsPolls() bool     { return r.calls }
func (r *recorder) WantsCalls() bool     { return r.calls }
func (r *recorder) Thin(ThinEvent)       {}
func (r *recorder) Logs(slog.Level) bool { return false }
func (r *recorder) AskLevel()            {}

func (r *recorder) Log(level slog.Level, msg string, attrs ...any) {
	r.tell("log", level, msg, attrs)
}

func (r *recorder) Assigned(added []partition.ID, total int) { r.tell("assigned", added, total) }
func (r *recorder) Revoked(e RevokeEvent)                    { r.tell("revoked", e) }
func (r *recorder) RecordsLost(tp partition.ID, from, to int64) {
	r.tell("recordsLost", tp, from, to)
}
func (r *recorder) PositionReset(tp partition.ID, from, to int64, err error) {
	r.tell("positionReset", tp, from, to, err)
}
func (r *recorder) StartsLate(tp partition.ID, why string, err error) {
	r.tell("startsLate", tp, why, err)
}
func (r *recorder) SetBack(tp partition.ID, position int64, stood time.Duration) {
	r.tell("setBack", tp, position, stood)
}
func (r *recorder) Polled(e PollEvent)        { r.tell("polled", e) }
func (r *recorder) MemoryLimited(e PollEvent) { r.tell("memoryLimited", e) }
func (r *recorder) Ended(e CallEvent)         { r.tell("ended", e) }
func (r *recorder) Stuck(e CallEvent)         { r.tell("stuck", e) }
func (r *recorder) Throttled(e CallEvent)     { r.tell("throttled", e) }
func (r *recorder) Reread(tp partition.ID, first int64, records int) {
	r.tell("reread", tp, first, records)
}
func (r *recorder) RetryScheduled(e BlockEvent) { r.tell("retryScheduled", e) }
func (r *recorder) HeldUp(e BlockEvent)         { r.tell("heldUp", e) }
func (r *recorder) GivenUp(e BlockEvent)        { r.tell("givenUp", e) }
func (r *recorder) Kept(batchID string, outcome plan.Outcome, err error) {
	r.tell("kept", batchID, outcome, err)
}
func (r *recorder) Discarded(e DiscardEvent)      { r.tell("discarded", e) }
func (r *recorder) DeliveryFailed(e DiscardEvent) { r.tell("deliveryFailed", e) }
func (r *recorder) Committed(offsets, failed map[partition.ID]int64, took time.Duration, err error) {
	r.tell("committed", offsets, failed, took, err)
}
func (r *recorder) Scaled(d scaling.Decision) { r.tell("scaled", d) }

// What follows drives an engine of one partition by hand: polls bring what a
// test says, and its function does something to it.

var orders0 = partition.ID{Topic: "orders", Partition: 0}

// oneLane is an engine that has this partition, from offset 0 on.
func (o outside) oneLane(change ...func(*Settings)) *Engine {
	s := usual()
	for _, f := range change {
		f(s)
	}
	e := o.engine(s, context.Background())
	e.pool.Resize(1, time.Now())
	e.Assign([]partition.ID{orders0}, time.Now())
	e.Place([]Placement{{ID: orders0, LeaderEpoch: -1, Committed: true}}, time.Now())
	return e
}

// oneLane is an engine with this function and nothing else around it.
func oneLane(function func(*Call) plan.Verdict, change ...func(*Settings)) *Engine {
	return outside{function: function}.oneLane(change...)
}

func succeeds(*Call) plan.Verdict { return succeeded }

func batchesOf(n int) func(*Settings) { return func(s *Settings) { s.BatchSize = n } }

// atOnce is no back-off.
func atOnce(s *Settings) { s.Backoff = always(0) }

// numbered are n records from an offset on.
func numbered(from, n int64) (records []*kgo.Record) {
	for o := from; o < from+n; o++ {
		records = append(records, &kgo.Record{Topic: "orders", Value: []byte(fmt.Sprint("v", o)), Offset: o, Timestamp: time.UnixMilli(1), LeaderEpoch: -1})
	}
	return records
}

// brings is a poll of records, of a partition whose log starts there.
func brings(logStart int64, records ...*kgo.Record) kgo.Fetches {
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{{Records: records, HighWatermark: 1000, LogStartOffset: logStart}}}}}}
}

// until waits for what becomes true with the lock of the engine held.
func (e *Engine) until(is func(l *lane) bool) {
	for {
		e.mu.Lock()
		done := is(e.lanes[orders0])
		e.unlock()
		if done {
			return
		}
		runtime.Gosched()
	}
}

func (e *Engine) idle() { e.until(func(*lane) bool { return e.workers == 0 }) }
