package esm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/scaling"
)

// A watch calls the hooks of a Mapping, and the log, which is one of them.
//
// # The invariant
//
// Nothing of the Mapping waits for a hook or a log handler for longer than
// leaveAfter, so none of them can keep a poll, a rebalance or a stop from its
// end. A call that takes longer is left behind: its goroutine goes on, whoever
// waited for it does too, and while as many as mostBehind calls of one listener
// are, it is not called, or each call would leave a goroutine more. Calls that are
// under way by then are left behind too: at most one of each goroutine that tells,
// which are the slots, for hooks of invocations.
//
// The rejected design is a goroutine of hooks with a queue: then what is told
// may be over long ago, a hook could not rely on a partition being its own when
// it is told so, and the queue of a slow one grows.
//
// # Goroutines
//
// Each call of a hook has one of its own, because a runtime.Goexit in a hook (a
// t.Fatal does that) would otherwise end the poll loop or a goroutine of the
// client. Who calls the hook waits for it, as said above.
type watch struct {
	name      string
	listeners []*listener // the log comes first
	logger    *slog.Logger
	// What is written by itself, and not as a hook.
	panics, changed, kept *sparse

	// level is the lowest level that the logger writes. It is asked once a
	// second: to ask the handler each time is to run code of the user's under
	// the engine's lock, and on goroutines of the client.
	level atomic.Int64

	// pressed is how many callers wait for the Mapping to stop or to pause,
	// which hooks may hold up.
	pressed atomic.Int32

	mu   sync.Mutex // a leaf
	late map[*hookCall]struct{}
}

// A listener is the Hooks that one caller of WithHooks gave, or the log.
type listener struct {
	Hooks
	log    bool
	behind atomic.Int32 // calls that were left behind and have not returned
}

// A hookCall is one call of a hook that was left behind.
type hookCall struct {
	of    *listener
	what  string
	since time.Time
}

const (
	// leaveAfter is how long is waited for a hook, and leaveSoon how long if
	// somebody waits for the Mapping, or if the listener is known to hang.
	leaveAfter = 5 * time.Second
	leaveSoon  = time.Second
	// mostBehind is how many calls of one listener may be left behind.
	mostBehind = 4
)

// newWatch makes the watch of a Mapping. It fails if the log handler cannot be
// used.
func newWatch(c *config) (*watch, error) {
	w := &watch{name: c.name, late: map[*hookCall]struct{}{}}
	failure, ended := guard.Within(leaveAfter, func() { w.logger = c.logger.With("mapping", c.name) })
	switch {
	case !ended:
		return nil, &OptionError{"WithLogger", "a handler", fmt.Sprintf("must return from WithAttrs, and did not within %s", leaveAfter)}
	case failure != nil:
		return nil, &OptionError{"WithLogger", "a handler", "must return from WithAttrs, and " + failure.String()}
	}
	w.panics, w.changed, w.kept = newSparse(w.logger), newSparse(w.logger), newSparse(w.logger)
	w.listeners = append(w.listeners, &listener{Hooks: logHooks(w.logger), log: true})
	for _, h := range c.hooks {
		w.listeners = append(w.listeners, &listener{Hooks: h})
	}
	w.AskLevel()
	return w, nil
}

// fire calls one of the hooks, of every listener.
func fire[T any](w *watch, hook func(*Hooks) func(T), info T) {
	for _, l := range w.listeners {
		if f := hook(&l.Hooks); f != nil {
			w.call(l, func() string { return hookName(hook) }, func() { f(info) })
		}
	}
}

// wanted reports whether anybody listens to a hook: what is expensive to put
// together is only put together then.
func wanted[T any](w *watch, hook func(*Hooks) func(T)) bool {
	return slices.ContainsFunc(w.listeners, func(l *listener) bool { return hook(&l.Hooks) != nil })
}

// write calls the log handler for what is no hook.
func (w *watch) write(f func()) { w.call(w.listeners[0], func() string { return "log" }, f) }

// call calls a function of the user's that belongs to a listener, and waits for
// it, but not for longer than the invariant allows.
func (w *watch) call(l *listener, what func() string, f func()) {
	if l.behind.Load() >= mostBehind {
		return
	}
	const (
		running int32 = iota
		returned
		leftBehind
	)
	var state atomic.Int32
	var call *hookCall // set before it is left behind
	done := make(chan struct{})
	guard.Go(f, func(failure *guard.Failure) {
		defer close(done)
		if failure != nil && !l.log {
			w.write(func() {
				w.panics.log(slog.LevelError, "a hook did not return", "hook", what(), "how", failure.String(), "stack", string(failure.Stack))
			})
		}
		if !state.CompareAndSwap(running, returned) {
			w.caughtUp(call)
		}
	})
	since := time.Now()
	timer := time.NewTimer(leaveSoon)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-timer.C:
		}
		if now := time.Now(); now.Sub(since) < leaveAfter && w.pressed.Load() == 0 && l.behind.Load() == 0 {
			timer.Reset(leaveSoon)
			continue
		}
		call = &hookCall{l, what(), since}
		if !state.CompareAndSwap(running, leftBehind) {
			<-done // it returned just now
			return
		}
		w.leave(call)
		return
	}
}

// hookName is the name of the field that a func gives.
func hookName[T any](hook func(*Hooks) func(T)) string {
	for f := range reflect.TypeFor[Hooks]().Fields() {
		var one Hooks
		reflect.ValueOf(&one).Elem().FieldByIndex(f.Index).Set(reflect.MakeFunc(f.Type, func([]reflect.Value) []reflect.Value { return nil }))
		if hook(&one) != nil {
			return f.Name
		}
	}
	return "of a " + reflect.TypeFor[T]().Name()
}

// leave books a call that is left behind, and says so, but not to the one that
// hangs.
func (w *watch) leave(c *hookCall) {
	w.mu.Lock()
	w.late[c] = struct{}{}
	first := c.of.behind.Add(1) == 1
	w.mu.Unlock()
	if first {
		w.tellOthers(c, func(h *Hooks) func(Problem) { return h.ProblemRaised })
	}
}

// caughtUp books that a call that was left behind has returned.
func (w *watch) caughtUp(c *hookCall) {
	w.mu.Lock()
	delete(w.late, c)
	last := c.of.behind.Add(-1) == 0
	w.mu.Unlock()
	if last {
		w.tellOthers(c, func(h *Hooks) func(Problem) { return h.ProblemCleared })
	}
}

func (w *watch) tellOthers(c *hookCall, hook func(*Hooks) func(Problem)) {
	info := c.problem(w.name, 1)
	for _, l := range w.listeners {
		if f := hook(&l.Hooks); f != nil && l != c.of {
			w.call(l, func() string { return hookName(hook) }, func() { f(info) })
		}
	}
}

// String names what hangs.
func (c *hookCall) String() string {
	if c.of.log {
		return "the log handler (WithLogger)"
	}
	return "the hook " + c.what + " (WithHooks)"
}

// problem is what is said of a call that was left behind, the oldest of so many.
func (c *hookCall) problem(mapping string, calls int) Problem {
	with := "hooks"
	if c.of.log {
		with = "log"
	}
	text := fmt.Sprintf("%s has not returned since %s", c, c.since.Format(time.TimeOnly))
	if calls > 1 {
		text += fmt.Sprintf(", nor have %d more calls", calls-1)
	}
	return Problem{Mapping: mapping, With: with, Err: guard.Keep(errors.New(text)), Since: c.since, Last: time.Now()}
}

// problems lists what hangs, one for the log and one for each listener.
func (w *watch) problems() (ps []Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest, calls := map[*listener]*hookCall{}, map[*listener]int{}
	for c := range w.late {
		calls[c.of]++
		if o := oldest[c.of]; o == nil || c.since.Before(o.since) {
			oldest[c.of] = c
		}
	}
	for l, c := range oldest {
		ps = append(ps, c.problem(w.name, calls[l]))
	}
	return ps
}

// hanging names what hangs.
func (w *watch) hanging() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.late {
		names = append(names, c.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// AskLevel finds out which levels the logger writes.
func (w *watch) AskLevel() {
	w.write(func() {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			if w.logger.Enabled(context.Background(), level) {
				w.level.Store(int64(level))
				return
			}
		}
		w.level.Store(int64(slog.LevelError) + 1)
	})
}

// writes reports whether the logger writes a level, as far as was asked.
func (w *watch) writes(level slog.Level) bool { return int64(level) >= w.level.Load() }

// press lets hooks hold nothing up for long, until release is called.
func (w *watch) press() (release func()) {
	w.pressed.Add(1)
	return func() { w.pressed.Add(-1) }
}

// A teller is the watcher of one run: it makes of what it is told what users
// read, and calls hooks and the log. The watch is that of the Mapping; the
// problems are those of the run.
type teller struct {
	*watch
	registry
	source *Source
}

var _ engine.Watcher = (*teller)(nil)

func newTeller(w *watch, s *Source) *teller {
	return &teller{watch: w, registry: registry{known: map[string]*engine.Trouble{}}, source: s}
}

func (t *teller) Note(with string, err error, now time.Time) (tell func()) {
	return t.news(t.registry.note(with, err, now))
}

func (t *teller) Over(p engine.Trouble) (tell func()) { return t.news(t.registry.over(p), true) }

// news tells that a problem is there, or over, if that is so.
func (t *teller) news(news *engine.Trouble, over bool) (tell func()) {
	if news == nil {
		return nil
	}
	p, hook := t.problem(*news), (*Hooks).raised
	if over {
		hook = (*Hooks).cleared
	}
	return func() { fire(t.watch, hook, p) }
}

func (h *Hooks) raised() func(Problem)  { return h.ProblemRaised }
func (h *Hooks) cleared() func(Problem) { return h.ProblemCleared }

func (t *teller) problem(p engine.Trouble) Problem {
	return Problem{Mapping: t.name, With: p.With, Err: guard.Keep(p.Err), Since: p.Since, Last: p.Last}
}

// list lists the problems, the oldest first.
func (t *teller) list() (ps []Problem) {
	for _, p := range t.Troubles() {
		ps = append(ps, t.problem(p))
	}
	return ps
}

func (t *teller) Assigned(added []partition.ID, total int) {
	fire(t.watch, func(h *Hooks) func(Rebalance) { return h.Assigned }, Rebalance{Mapping: t.name, Partitions: topicPartitions(added), Total: total})
}

func (t *teller) Revoked(r engine.RevokeEvent) {
	fire(t.watch, func(h *Hooks) func(Rebalance) { return h.Revoked }, Rebalance{Mapping: t.name, Partitions: topicPartitions(r.Partitions), Total: r.Total, Lost: r.Lost,
		Waited: r.Waited, Cancelled: r.Cancelled, CommitErr: guard.Keep(r.CommitErr), Again: r.Again})
}

func (t *teller) RecordsLost(tp partition.ID, from, to int64) {
	fire(t.watch, func(h *Hooks) func(Gap) { return h.RecordsLost }, Gap{Mapping: t.name, TopicPartition: TopicPartition(tp), From: from, To: to})
}

func (t *teller) PositionReset(tp partition.ID, from, to int64, err error) {
	fire(t.watch, func(h *Hooks) func(Gap) { return h.PositionReset }, Gap{Mapping: t.name, TopicPartition: TopicPartition(tp), From: from, To: to, Err: guard.Keep(err)})
}

func (t *teller) StartsLate(tp partition.ID, why string, err error) {
	t.write(func() { t.logLate(tp, why, err) })
}

func (t *teller) SetBack(tp partition.ID, position int64, stood time.Duration) {
	t.write(func() { t.logSetBack(tp, position, stood) })
}

func (t *teller) WantsPolls() bool {
	return t.debugging() || wanted(t.watch, func(h *Hooks) func(Poll) { return h.Polled })
}

func (t *teller) Polled(p engine.PollEvent) {
	poll := t.poll(p)
	if t.debugging() {
		t.write(func() { t.logPoll(poll) })
	}
	fire(t.watch, func(h *Hooks) func(Poll) { return h.Polled }, poll)
}

func (t *teller) MemoryLimited(p engine.PollEvent) {
	fire(t.watch, func(h *Hooks) func(Poll) { return h.MemoryLimited }, t.poll(p))
}

func (t *teller) poll(p engine.PollEvent) Poll {
	return Poll{Mapping: t.name, Partitions: p.Partitions, Records: p.Records, Bytes: p.Bytes, Held: p.Held, Budget: p.Budget, Reserve: p.Reserve}
}

func (t *teller) WantsCalls() bool {
	return t.debugging() || wanted(t.watch, func(h *Hooks) func(Invocation) { return h.InvokeEnded })
}

func (t *teller) Ended(c engine.CallEvent) {
	call := t.invocation(c)
	if t.debugging() {
		t.write(func() { t.logInvocation(call) })
	}
	fire(t.watch, func(h *Hooks) func(Invocation) { return h.InvokeEnded }, call)
}

func (t *teller) Stuck(c engine.CallEvent) {
	fire(t.watch, func(h *Hooks) func(Invocation) { return h.InvokeStuck }, t.invocation(c))
}

func (t *teller) Throttled(c engine.CallEvent) {
	fire(t.watch, func(h *Hooks) func(Invocation) { return h.Throttled }, t.invocation(c))
}

func (t *teller) invocation(c engine.CallEvent) Invocation {
	return Invocation{Mapping: t.name, BatchID: c.ID, Attempt: c.Attempt, Partitions: topicPartitions(c.Partitions), Records: c.Records, Bytes: c.Bytes,
		Took: c.Took, Outcome: Outcome(c.Outcome), Err: guard.Keep(c.Err), Pause: c.Pause, Delivery: c.Delivery}
}

func (t *teller) Reread(tp partition.ID, first int64, records int) {
	t.write(func() { t.logReread(tp, first, records) })
}

func (t *teller) Thin(e engine.ThinEvent) { t.write(func() { t.logThin(e) }) }

func (t *teller) RetryScheduled(b engine.BlockEvent) {
	fire(t.watch, func(h *Hooks) func(Blocker) { return h.RetryScheduled }, *blockerOf(t.name, b))
}

func (t *teller) HeldUp(b engine.BlockEvent) {
	fire(t.watch, func(h *Hooks) func(Blocker) { return h.HeldUp }, *blockerOf(t.name, b))
}

func (t *teller) GivenUp(b engine.BlockEvent) { t.write(func() { t.logGivenUp(b) }) }

func (t *teller) Kept(batchID string, outcome plan.Outcome, err error) {
	t.write(func() { t.logKept(batchID, Outcome(outcome), err) })
}

func (t *teller) Discarded(d engine.DiscardEvent) {
	fire(t.watch, func(h *Hooks) func(*Discard) { return h.Discarded }, t.discard(d))
}

func (t *teller) DeliveryFailed(d engine.DiscardEvent) {
	fire(t.watch, func(h *Hooks) func(*Discard) { return h.DeliveryFailed }, t.discard(d))
}

func (t *teller) discard(d engine.DiscardEvent) *Discard {
	return &Discard{
		Record: d.Record, Reason: Reason(d.Reason), Attempts: d.Attempts, FirstErr: guard.Keep(d.FirstErr), Err: guard.Keep(d.Err), FirstFailed: d.FirstFailed, LastFailed: d.LastFailed,
		Mapping: t.name, Group: t.source.Group, Brokers: slices.Clone(t.source.Brokers), SourceARN: t.source.ARN, BatchID: d.BatchID, BatchRecords: d.BatchRecords,
		Delivery: d.Delivery, Took: d.Took, Dropped: d.Dropped, DeliveryErr: guard.Keep(d.DeliveryErr), Next: d.Next,
	}
}

func (t *teller) Committed(offsets, failed map[partition.ID]int64, took time.Duration, err error) {
	fire(t.watch, func(h *Hooks) func(Commit) { return h.Committed }, Commit{Mapping: t.name, Offsets: offsetsByPartition(offsets), Failed: offsetsByPartition(failed), Took: took, Err: guard.Keep(err)})
}

func offsetsByPartition(of map[partition.ID]int64) map[TopicPartition]int64 {
	offsets := make(map[TopicPartition]int64, len(of))
	for tp, at := range of {
		offsets[TopicPartition(tp)] = at
	}
	return offsets
}

func (t *teller) Scaled(d scaling.Decision) {
	d.Mapping = t.name
	fire(t.watch, func(h *Hooks) func(scaling.Decision) { return h.Scaled }, d)
}

func (t *teller) Logs(level slog.Level) bool { return t.writes(level) }

func (t *teller) Log(level slog.Level, msg string, attrs ...any) {
	t.write(func() { t.logger.Log(context.Background(), level, msg, attrs...) })
}
