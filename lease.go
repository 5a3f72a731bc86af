package esm

import (
	"context"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A lease is one invocation: a poller that has the lanes of a work.
type lease struct {
	poller  *poller
	work    *work
	batch   *Batch // the function's: it may have changed it
	id      string
	attempt int
	records int
	bytes   int64
	lanes   int // how many the function got, whatever became of them since
	ctx     context.Context
	cancel  context.CancelCauseFunc
	release context.CancelFunc
	started time.Time
	ended   time.Time // of its context, if that was noticed
	warned  bool      // that it is slow
	stuck   bool      // that it goes on after its context ended
}

// runnable reports whether an invocation could start now.
func (e *engine) runnable(now time.Time) bool {
	return e.holds == 0 && e.queue.any() && !e.throttledUntil.After(now) &&
		!e.saturated() && e.pool.pick(now) != nil
}

// saturated reports whether as many invocations run as may.
func (e *engine) saturated() bool {
	return e.cfg.maxConcurrency != Unlimited && e.pool.busy >= e.cfg.maxConcurrency
}

// kick starts a worker if there is something for it to do. Only one is started
// at a time: it starts the next one when it has its lease. So as many run as
// find work, and a function that returns at once is called in a loop by as
// many goroutines as there are processors, instead of by a crowd of them that
// wake up for nothing.
func (e *engine) kick(now time.Time) {
	if e.spawning || !e.runnable(now) {
		if e.holds == 0 && e.queue.any() {
			if next := e.nextDue(now); !next.IsZero() {
				e.alarm(next)
			}
		}
		return
	}
	e.spawning = true
	e.workers++
	go e.worker(true)
}

// worker leases and invokes until there is nothing to lease. first is whether
// it was started by kick.
func (e *engine) worker(first bool) {
	var l *lease
	clean := false
	// A runtime.Goexit in user code ends this goroutine, whatever it wants;
	// another one goes on in its place.
	defer func() {
		if !clean {
			go e.worker(false)
		}
	}()
	defer func() {
		if !clean && l != nil {
			e.end(l, judge(&PanicError{Goexit: true, Stack: debug.Stack()}, context.Cause(l.ctx)))
		}
	}()
	for {
		e.mu.Lock()
		now := time.Now()
		if first {
			e.spawning, first = false, false
		}
		l = e.lease(now)
		if l == nil {
			e.workers--
			e.changed.fire()
			e.unlock()
			clean = true
			return
		}
		e.kick(now)
		e.unlock()
		fire(e.watch, func(h *Hooks) func(InvokeStartedInfo) { return h.InvokeStarted }, InvokeStartedInfo{Batch: l.batch})
		v := e.invoke(l)
		ended := l
		l = nil
		e.end(ended, v)
	}
}

// invoke calls the function. It is the only place that recovers, around the
// only call of it. Whatever does not return is a failure, also a panic whose
// value is nil.
func (e *engine) invoke(l *lease) (v verdict) {
	returned := false
	defer func() {
		if !returned {
			r := recover()
			v = judge(&PanicError{Value: r, Stack: debug.Stack()}, context.Cause(l.ctx))
		}
	}()
	err := e.invoker.Invoke(l.ctx, l.batch)
	v = judge(err, context.Cause(l.ctx))
	returned = true
	return v
}

// lease takes the work whose turn it is, for the poller whose turn it is, or
// returns nil.
func (e *engine) lease(now time.Time) *lease {
	if !e.runnable(now) {
		return nil
	}
	next, ok := e.queue.pop()
	if !ok {
		return nil
	}
	w := next.work
	fresh := false
	switch {
	case w != nil:
		w.queued = false
	case next.lane.work != nil:
		w = next.lane.work
	default:
		w = e.assemble(next.lane)
		fresh = true
	}
	e.ids++
	l := &lease{
		work: w, started: now, lanes: len(w.parts), attempt: w.history.attempts + 1, poller: e.pool.pick(now),
		id: e.run + strconv.FormatUint(e.ids, 36),
	}
	for i := range w.parts {
		l.records += len(w.parts[i].records)
		l.bytes += w.parts[i].bytes
	}
	// The function gets a slice of its own: it may sort it, or keep it.
	l.batch = &Batch{Records: make([]*kgo.Record, 0, l.records), Attempt: l.attempt, ID: l.id, Mapping: e.watch.name}
	for i := range w.parts {
		p := &w.parts[i]
		l.batch.Records = append(l.batch.Records, p.records...)
		p.lane.ticket = 0
		p.lane.state = laneLeased
		p.lane.work = w
		e.busy[p.lane.TopicPartition] = l
	}
	l.ctx, l.cancel = context.WithCancelCause(e.base)
	if d := e.cfg.invokeTimeout; d > 0 {
		l.ctx, l.release = context.WithTimeoutCause(l.ctx, d, ErrInvokeTimeout)
	}
	charged := l.bytes
	if !fresh {
		charged = 0
	}
	e.pool.start(l.poller, charged, now)
	e.leases[l] = struct{}{}
	e.counts.invocations++
	e.counts.invoked += int64(l.records)
	return l
}

// end takes note of what became of an invocation.
func (e *engine) end(l *lease, v verdict) {
	delay, round := e.consult(l, v)

	e.mu.Lock()
	now := time.Now()
	took := now.Sub(l.started)
	l.cancel(nil)
	if l.release != nil {
		l.release()
	}
	delete(e.leases, l)
	e.pool.end(l.poller, now)
	e.tally(l, v, took)

	w := l.work
	live := w.parts[:0:0]
	for i := range w.parts {
		p := &w.parts[i]
		delete(e.busy, p.lane.TopicPartition)
		if p.lane.dead {
			e.free(p) // what it did does not count; its memory is free now
			continue
		}
		live = append(live, *p)
	}
	gone := w.parts
	w.parts = live
	var next step
	next, w.history = plan(v.outcome, l.lanes, w.history)
	switch next {
	case stepSettle:
		for i := range w.parts {
			e.settled(&w.parts[i], now)
		}
	case stepRetry:
		for i := range w.parts {
			e.retry(w, &w.parts[i], v.err, delay, now)
		}
	case stepSplit:
		e.split(w, v.err, now)
	case stepAgain:
		e.requeue(w, now)
	}
	// A lane that was made while an earlier one's call ran can go on now.
	for i := range gone {
		if n := e.lanes[gone[i].lane.TopicPartition]; n != nil && n.state == laneBlocked {
			e.schedule(n, now)
		}
	}
	switch v.outcome {
	case OutcomeThrottled:
		e.throttled(delay, round, v.err, now)
	case OutcomeHalt:
		e.holds |= holdHalt
		e.later(func() { e.halted(v.err) })
	case OutcomeSuccess:
		e.throttles = 0
	}
	if e.memory.fetch.drained(e.memory.held, e.memory.budget, now) {
		e.later(e.resize)
	}
	e.report(l, v, gone, took)
	e.changed.fire()
	e.gateBell.ring()
	e.kick(now)
	e.unlock()
}

// consult asks the user's back-off function how long to wait after an outcome
// that needs it, before the lock is taken. For a throttle it also says the how
// manyth in a row it is: those that come back while nothing is invoked belong
// to one round.
func (e *engine) consult(l *lease, v verdict) (delay time.Duration, round int) {
	e.mu.Lock()
	backoff, now := e.cfg.backoff, time.Now()
	round = max(1, e.throttles)
	if !e.throttledUntil.After(now) {
		round = e.throttles + 1
	}
	e.mu.Unlock()
	switch {
	case v.outcome == OutcomeFailure && l.lanes == 1:
		return safeBackoff(backoff, l.attempt), round
	case v.outcome == OutcomeThrottled && v.after > 0:
		return min(v.after, maxBackoff), round
	case v.outcome == OutcomeThrottled:
		return safeBackoff(backoff, round), round
	}
	return 0, round
}

// report tells the hooks that an invocation ended.
func (e *engine) report(l *lease, v verdict, parts []part, took time.Duration) {
	debugging := e.watch.debugging()
	if !debugging && !wanted(e.watch, func(h *Hooks) func(InvokeEndedInfo) { return h.InvokeEnded }) {
		return
	}
	info := InvokeEndedInfo{
		Mapping: e.watch.name, BatchID: l.id, Attempt: l.attempt, Records: l.records, Bytes: l.bytes,
		Duration: took, Outcome: v.outcome, Err: v.err,
	}
	for i := range parts {
		info.Partitions = append(info.Partitions, parts[i].lane.TopicPartition)
	}
	e.later(func() {
		if debugging {
			e.watch.guard(func() { e.watch.logInvocation(info) })
		}
		fire(e.watch, func(h *Hooks) func(InvokeEndedInfo) { return h.InvokeEnded }, info)
	})
}

// watchCalls reports calls that are slow or that ignore their context.
func (e *engine) watchCalls(now time.Time) {
	for l := range e.leases {
		running := now.Sub(l.started)
		cause := context.Cause(l.ctx)
		if cause != nil && l.ended.IsZero() {
			l.ended = now
		}
		stuck := cause != nil && !l.stuck && now.Sub(l.ended) >= time.Second
		slow := cause == nil && !l.warned && running >= slowCall
		if !stuck && !slow {
			continue
		}
		l.warned, l.stuck = l.warned || slow, l.stuck || stuck
		info := InvokeStuckInfo{Mapping: e.watch.name, BatchID: l.batch.ID, Running: running}
		for i := range l.work.parts {
			info.Partitions = append(info.Partitions, l.work.parts[i].lane.TopicPartition)
		}
		if stuck {
			info.Cause = cause
		}
		e.later(func() { fire(e.watch, func(h *Hooks) func(InvokeStuckInfo) { return h.InvokeStuck }, info) })
	}
}

// slowCall is how long a call may take before it is mentioned once.
const slowCall = time.Minute
