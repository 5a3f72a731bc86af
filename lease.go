package esm

import (
	"context"
	"strconv"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/internal/pollers"
)

// A lease is one invocation: a poller that has the lanes of a work. A delivery
// to a destination is one too, of one lane and without a poller.
type lease struct {
	call
	poller  *pollers.Poller // nil for a delivery
	lanes   int             // how many the function got, whatever became of them since
	started time.Time
	ended   time.Time     // of its context, if that was noticed
	told    time.Duration // after how long it was mentioned last
	stuck   bool          // that it goes on after its context ended

	tried [1]plan.Portion // room for what end looks at
}

// runnable reports whether an invocation could start now.
func (e *engine) runnable(now time.Time) bool {
	return e.holds == 0 && e.queue.any() && !e.throttledUntil.After(now) &&
		!e.saturated() && e.pool.Pick(now) != nil
}

// saturated reports whether as many invocations run as may.
func (e *engine) saturated() bool {
	return e.cfg.maxConcurrency >= 0 && e.pool.Busy() >= e.cfg.maxConcurrency
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
			e.end(l, l.verdict)
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
		e.world.invoke(&l.call)
		ended := l
		l = nil
		e.end(ended, ended.verdict)
	}
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
	l.poller = e.pool.Pick(now)
	for _, p := range w.parts {
		l.count += len(p.left[0].Records)
		l.attempt = max(l.attempt, p.left[0].Attempts+1)
	}
	for _, p := range w.parts {
		if len(p.left[0].Records) == len(p.records) {
			l.bytes += p.bytes
		} else {
			l.bytes += weight(p.left[0].Records)
		}
	}
	l.timeout = e.cfg.invokeTimeout
	charged := l.bytes
	if !fresh {
		charged = 0
	}
	e.pool.Start(l.poller, charged, now)
	e.function.began(now)
	e.counts.invocations++
	e.counts.invoked += int64(l.count)
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
		left := policy.Expire(p.left[0], now)
		if left[0].Reason == plan.ReasonTooOld && p.left[0].Reason == plan.ReasonNone {
			e.givenUp(p.lane, &left[0])
		}
		p.left = plan.Remaining(p.left, plan.Sequel{Left: left})
		if p.left[0].Reason == plan.ReasonNone {
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
	l := &lease{call: call{work: w, id: e.run + strconv.FormatUint(e.ids, 36)}, started: now, lanes: len(w.parts)}
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
func (e *engine) end(l *lease, v plan.Verdict) {
	v, w := e.consult(l, v)

	e.mu.Lock()
	now := time.Now()
	took, _ := l.ran(now)
	e.pool.End(l.poller, now)
	e.tally(l, v, took, now)
	tried := l.tried[:0]
	for _, p := range l.work.parts {
		r := p.left[0]
		if v.Err != nil {
			r.Account.BatchID, r.Account.BatchRecords = l.id, l.count
		}
		tried = append(tried, r)
	}
	d := plan.After(v, tried, e.cfg.policy(w.backoff), now)
	all := e.unlease(l)
	switch d.Step {
	case plan.Settle:
		for i, p := range all {
			if !p.lane.dead {
				e.follow(p, d.Sequels[i], now)
			}
		}
	case plan.Split:
		e.split(l.work, v, now)
	case plan.Again:
		e.requeue(l.work, now)
	}
	e.unblock(all, now)
	switch v.Outcome {
	case plan.OutcomeThrottled:
		e.counts.throttles++
		if v.Apart {
			e.counts.apart++
		} else {
			e.throttled(w.throttle, w.round, l.event(v, all, took), now)
		}
	case plan.OutcomeHalt:
		e.holds |= holdHalt
		e.later(func() { e.world.halted(v.Err) })
	case plan.OutcomeSuccess:
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
func (e *engine) consult(l *lease, v plan.Verdict) (_ plan.Verdict, w wait) {
	if v.Outcome == plan.OutcomeSuccess {
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
	charges := v.Failures != nil
	switch v.Outcome {
	case plan.OutcomeFailure:
		charges = l.lanes == 1
	case plan.OutcomeTooLarge, plan.OutcomePermanent:
		charges = true // where there is no destination
	case plan.OutcomeThrottled:
		round := w.round
		if v.Apart {
			round = v.Suspected - 1
		}
		w.throttle = min(v.After, maxBackoff)
		if w.throttle <= 0 {
			w.throttle = backoff(round)
		}
		if v.Refused { // or whether it lasts would show late
			w.throttle = min(w.throttle, plan.RefusalLasts/4)
		}
	}
	if charges {
		w.backoff = backoff(l.attempt)
	}
	switch {
	case v.Blamed:
		w.backoff = max(w.backoff, min(v.After, maxBackoff))
	case v.Apart:
		w.backoff = max(w.backoff, w.throttle)
	}
	return v, w
}

// weigh compares what a call was told with what others are told. It notes in what
// the call carried what is suspected of it.
func (e *engine) weigh(l *lease, v plan.Verdict, now time.Time) plan.Verdict {
	tried := make([]plan.Portion, 0, 1)
	for _, p := range l.work.parts {
		tried = append(tried, p.left[0])
	}
	v = e.evidence.Weigh(v, tried, max(plan.RefusalLasts, 2*e.pace.service()), now)
	for i, p := range l.work.parts {
		p.left[0].Suspicion = tried[i].Suspicion
	}
	return v
}

// report tells the hooks that an invocation ended.
func (e *engine) report(l *lease, v plan.Verdict, parts []*part, took time.Duration) {
	if e.watch.wantsCalls() {
		call := l.event(v, parts, took)
		e.later(func() { e.watch.ended(call) })
	}
}

// explain writes what is not seen in what becomes of the records: what the face
// has to add, and that the function gives records up that nobody takes.
func (e *engine) explain(l *lease, v plan.Verdict) {
	if l.after != nil {
		e.later(l.after)
	}
	id := l.id
	if v.Err == nil || v.Outcome == plan.OutcomeAbandoned {
		return
	}
	if e.cfg.discards {
		return
	}
	outcome := v.Outcome
	for _, f := range v.Failures {
		if f.Outcome == plan.OutcomePermanent || f.Outcome == plan.OutcomeTooLarge {
			outcome = f.Outcome
		}
	}
	if outcome == plan.OutcomePermanent || outcome == plan.OutcomeTooLarge && (l.count == 1 || v.Failures != nil) {
		err := v.Err
		e.later(func() { e.watch.kept(id, int(outcome), err) })
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
		call := l.running(running, cause)
		e.later(func() { e.watch.stuck(call) })
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
