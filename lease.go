package esm

import (
	"context"
	"strconv"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// A lease is one invocation: a poller that has the lanes of a work. A delivery
// to a destination is one too, of one lane and without a poller.
type lease struct {
	poller  *poller // nil for a delivery
	work    *work
	id      string
	attempt int
	records int
	bytes   int64
	lanes   int // how many the function got, whatever became of them since
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timeout time.Duration // of the call, 0 for none
	call    callContext   // what the function gets
	started time.Time
	ended   time.Time     // of its context, if that was noticed
	told    time.Duration // after how long it was mentioned last
	stuck   bool          // that it goes on after its context ended

	batch Batch      // the function's, once it is prepared: it may write into it, and keep it
	tried [1]portion // room for what end looks at
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
	e.startDeliveries(now)
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
			l.call.release()
			e.end(l, failed(l, &guard.Failure{Goexit: true, Stack: guard.Stack()}))
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
		if !e.prepare(l, now) {
			l = nil
			continue
		}
		fire(e.watch, func(h *Hooks) func(InvokeStartedInfo) { return h.InvokeStarted }, InvokeStartedInfo{Batch: &l.batch})
		v := e.invoke(l)
		ended := l
		l = nil
		ended.call.release()
		e.end(ended, v)
	}
}

// invoke calls the function, and judges what it returned. It is the only place
// that recovers from the function itself. Whatever does not return is a
// failure, even a panic whose value is nil.
//
// The verdict is made before the call counts as returned: see verdict.
func (e *engine) invoke(l *lease) (v verdict) {
	returned := false
	defer func() {
		if !returned {
			r := recover()
			v = failed(l, &guard.Failure{Value: r, Goexit: r == nil, Stack: guard.Stack()})
		}
	}()
	if cause := l.takenAway(); cause != nil {
		// Since it was leased: hooks ran in between, or the whole process stood
		// still.
		returned = true
		return verdict{outcome: OutcomeAbandoned, err: cause}
	}
	l.call.begin(l, l.timeout)
	err := e.invoker.Invoke(&l.call, &l.batch)
	v = l.judge(err)
	returned = true
	return v
}

// takenAway is why a lease counts for nothing any more, nil if it does.
func (l *lease) takenAway() error {
	if cause := context.Cause(l.ctx); cause == ErrStopping || cause == ErrRevoked {
		return cause
	}
	return nil
}

// judge makes the verdict of a call that returned err.
func (l *lease) judge(err error) verdict {
	v := judge(err, context.Cause(l.ctx))
	v.resolve(l.work.parts)
	v.keep()
	return v
}

// failed is the verdict of a call that did not return. After a Goexit nothing of
// the user's may run on this goroutine, and nothing does: such an error holds
// none.
func failed(l *lease, f *guard.Failure) verdict {
	p := panicked(f)
	v := l.judge(p)
	v.panicked = p
	return v
}

// lease takes the work whose turn it is, for the poller whose turn it is, or
// returns nil.
func (e *engine) lease(now time.Time) *lease {
	if !e.runnable(now) {
		return nil
	}
	w, fresh := e.nextWork(now)
	if w == nil {
		return nil
	}
	l := e.newLease(w, now)
	l.poller = e.pool.pick(now)
	for _, p := range w.parts {
		l.records += len(p.left[0].records)
		l.attempt = max(l.attempt, p.left[0].attempts+1)
	}
	for _, p := range w.parts {
		if len(p.left[0].records) == len(p.records) {
			l.bytes += p.bytes
		} else {
			l.bytes += weight(p.left[0].records)
		}
	}
	l.timeout = e.cfg.invokeTimeout
	charged := l.bytes
	if !fresh {
		charged = 0
	}
	e.pool.start(l.poller, charged, now)
	e.function.began(now)
	e.counts.invocations++
	e.counts.invoked += int64(l.records)
	return l
}

// nextWork takes the work whose turn it is, and whether it is a first attempt.
// Records that are too old by now are taken out of it.
func (e *engine) nextWork(now time.Time) (w *work, fresh bool) {
	for {
		next, ok := e.queue.pop()
		switch {
		case !ok:
			return nil, false
		case next.work != nil:
			w = next.work
			w.queued = false
		case next.lane.work != nil:
			w = next.lane.work
		default:
			w = e.assemble(next.lane)
			fresh = true
		}
		if e.cfg.maxRecordAge <= 0 || e.expire(w, now) {
			return w, fresh
		}
	}
}

// expire takes out of a work what is too old to be tried, and reports whether
// anything is left.
func (e *engine) expire(w *work, now time.Time) bool {
	policy := e.cfg.policy(0)
	var kept []*part
	for _, p := range w.parts {
		left := policy.expire(p.left[0], now)
		if left[0].reason == ReasonTooOld && p.left[0].reason == reasonNone {
			e.givenUp(p.lane, &left[0])
		}
		p.left = remaining(p.left, sequel{left: left})
		if p.left[0].reason == reasonNone {
			kept = append(kept, p)
			continue
		}
		l := p.lane
		l.ticket, l.state, l.work = 0, laneIdle, p.alone()
		e.schedule(l, now)
	}
	w.parts = kept
	e.startDeliveries(now)
	return len(kept) > 0
}

// newLease makes a lease of a work, whose lanes it takes.
func (e *engine) newLease(w *work, now time.Time) *lease {
	e.ids++
	l := &lease{work: w, started: now, lanes: len(w.parts), id: e.run + strconv.FormatUint(e.ids, 36)}
	for _, p := range w.parts {
		p.lane.ticket = 0
		p.lane.state = laneLeased
		p.lane.work = w
		p.again, p.exposed = p.exposed, true
		e.busy[p.lane.ID] = l
	}
	l.ctx, l.cancel = context.WithCancelCause(e.base)
	e.leases[l] = struct{}{}
	return l
}

// end notes what became of an invocation.
func (e *engine) end(l *lease, v verdict) {
	v, w := e.consult(l, v)

	e.mu.Lock()
	now := time.Now()
	took, _ := l.ran(now)
	e.pool.end(l.poller, now)
	e.tally(l, v, took, now)
	tried := l.tried[:0]
	for _, p := range l.work.parts {
		r := p.left[0]
		if v.err != nil {
			r.account.batchID, r.account.batchRecords = l.id, l.records
		}
		tried = append(tried, r)
	}
	d := plan(v, tried, e.cfg.policy(w.backoff), now)
	all := e.unlease(l)
	switch d.step {
	case stepSettle:
		for i, p := range all {
			if !p.lane.dead {
				e.follow(p, d.sequels[i], now)
			}
		}
	case stepSplit:
		e.split(l.work, v, now)
	case stepAgain:
		e.requeue(l.work, now)
	}
	e.unblock(all, now)
	switch v.outcome {
	case OutcomeThrottled:
		e.counts.throttles++
		if v.apart {
			e.counts.apart++
		} else {
			e.throttled(w.throttle, w.round, v.err, now)
		}
	case OutcomeHalt:
		e.holds |= holdHalt
		e.later(func() { e.halted(v.err) })
	case OutcomeSuccess:
		e.throttles = 0
	}
	if e.memory.Drained(now) {
		e.later(e.resize)
	}
	e.report(l, v, all, took)
	e.explain(l, v)
	e.changed.fire()
	e.gateBell.ring()
	e.kick(now)
	e.unlock()
}

// unlease takes the lanes back, of which those that died meanwhile leave the
// work, and returns the parts of all.
func (e *engine) unlease(l *lease) (all []*part) {
	l.cancel(nil)
	delete(e.leases, l)
	w := l.work
	all = w.parts
	w.parts = nil
	for _, p := range all {
		p.renewed = nil
		delete(e.busy, p.lane.ID)
		if p.lane.dead {
			// What it did does not count; its memory is free now. Whoever
			// drains the lane waits until its call is over.
			e.free(p)
			p.lane.work, p.lane.state = nil, laneIdle
			continue
		}
		w.parts = append(w.parts, p)
	}
	return all
}

// unblock lets lanes go on that were made while a call for an earlier one ran.
func (e *engine) unblock(parts []*part, now time.Time) {
	for _, p := range parts {
		if n := e.lanes[p.lane.ID]; n != nil && n.state == laneBlocked {
			e.schedule(n, now)
		}
	}
}

// A wait is how long what comes after an outcome has to wait.
type wait struct {
	backoff  time.Duration // the records that are charged with an attempt
	throttle time.Duration // the Mapping
	round    int           // which throttle in a row this is, from 1
}

// consult compares what a call was told with what others are told, and asks the
// user's back-off function about an outcome that needs it, before the lock is
// taken for good. Throttles that come back while nothing is invoked belong to one
// round.
func (e *engine) consult(l *lease, v verdict) (_ verdict, w wait) {
	if v.outcome == OutcomeSuccess {
		return v, wait{} // nothing waits
	}
	e.mu.Lock()
	backoff, now := e.cfg.backoff, time.Now()
	v = e.weigh(l, v, now)
	w.round = max(1, e.throttles)
	if !e.throttledUntil.After(now) {
		w.round = e.throttles + 1
	}
	e.mu.Unlock()
	charges := v.failures != nil
	switch v.outcome {
	case OutcomeFailure:
		charges = l.lanes == 1
	case OutcomeTooLarge, OutcomePermanent:
		charges = true // where there is no destination
	case OutcomeThrottled:
		round := w.round
		if v.apart {
			round = v.suspected - 1
		}
		w.throttle = min(v.after, maxBackoff)
		if w.throttle <= 0 {
			w.throttle = e.backoffs.after(backoff, round)
		}
		if v.refused { // or whether it lasts would show late
			w.throttle = min(w.throttle, refusalLasts/4)
		}
	}
	if charges {
		w.backoff = e.backoffs.after(backoff, l.attempt)
	}
	switch {
	case v.blamed:
		w.backoff = max(w.backoff, min(v.after, maxBackoff))
	case v.apart:
		w.backoff = max(w.backoff, w.throttle)
	}
	return v, w
}

// report tells the hooks that an invocation ended.
func (e *engine) report(l *lease, v verdict, parts []*part, took time.Duration) {
	debugging := e.watch.debugging()
	if !debugging && !wanted(e.watch, func(h *Hooks) func(InvokeEndedInfo) { return h.InvokeEnded }) {
		return
	}
	info := InvokeEndedInfo{
		Mapping: e.watch.name, BatchID: l.id, Attempt: l.attempt, Records: l.records, Bytes: l.bytes,
		Duration: took, Outcome: v.outcome, Err: v.err,
	}
	for _, p := range parts {
		info.Partitions = append(info.Partitions, TopicPartition(p.lane.ID))
	}
	e.later(func() {
		if debugging {
			e.watch.write(func() { e.watch.logInvocation(info) })
		}
		fire(e.watch, func(h *Hooks) func(InvokeEndedInfo) { return h.InvokeEnded }, info)
	})
}

// explain writes what is not seen in what becomes of the records: where the
// function panicked, and that it gives records up that nobody takes.
func (e *engine) explain(l *lease, v verdict) {
	id := l.id
	if v.err == nil || v.outcome == OutcomeAbandoned {
		return
	}
	if p := v.panicked; p != nil {
		e.later(func() { e.watch.write(func() { e.watch.logPanic(id, p) }) })
	}
	if e.cfg.destination != nil {
		return
	}
	outcome := v.outcome
	for _, f := range v.failures {
		if f.outcome == OutcomePermanent || f.outcome == OutcomeTooLarge {
			outcome = f.outcome
		}
	}
	if outcome == OutcomePermanent || outcome == OutcomeTooLarge && (l.records == 1 || v.failures != nil) {
		err := v.err
		e.later(func() { e.watch.write(func() { e.watch.logKept(id, outcome, err) }) })
	}
}

// watchCalls reports calls that are slow or that ignore their context, again and
// again while they last.
func (e *engine) watchCalls(now time.Time) {
	for l := range e.leases {
		running, _ := l.ran(now)
		cause := context.Cause(l.ctx)
		if cause != nil && l.ended.IsZero() {
			l.ended, l.told = now, 0
		}
		due, since := slowCall, running
		if cause != nil {
			due, since = time.Second, now.Sub(l.ended)
		}
		if l.told > 0 {
			due = nextTold(l.told)
		}
		if since < due {
			continue
		}
		l.told, l.stuck = due, cause != nil
		info := InvokeStuckInfo{Mapping: e.watch.name, BatchID: l.id, Running: running, Delivery: l.poller == nil, Partitions: topicPartitions(l.partitions()), Cause: cause}
		e.later(func() { fire(e.watch, func(h *Hooks) func(InvokeStuckInfo) { return h.InvokeStuck }, info) })
	}
}

// partitions lists those of a lease.
func (l *lease) partitions() (tps []partition.ID) {
	for _, p := range l.work.parts {
		tps = append(tps, p.lane.ID)
	}
	return tps
}

// slowCall is how long a call may take before it is mentioned.
const slowCall = time.Minute

// nextTold is when what was told after a time is told again: after ten minutes,
// and then each hour.
func nextTold(told time.Duration) time.Duration {
	switch {
	case told < 10*time.Minute:
		return 10 * time.Minute
	case told < time.Hour:
		return time.Hour
	}
	return told + time.Hour
}
