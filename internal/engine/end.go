package engine

import (
	"time"

	"github.com/seed429fd032/esm/internal/pace"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/scaling"
)

// end books what became of an invocation. User code is asked first, without the
// lock: what it returned became a verdict before the call counted as returned, and
// consult asks for the back-off. The rest happens under one hold of the lock, so
// that nobody sees a lane between its call and what follows it:
//
//   - account: the poller is free, and the outcome is counted;
//   - decide: plan says what follows, from what was tried;
//   - release: the lanes come back from the call, and those that died meanwhile
//     leave the work, so that nothing of theirs is settled;
//   - apply: what follows happens to the lanes that are left;
//   - react: a throttle or a halt concerns the whole Mapping;
//   - report: whoever listens is told once the lock is given up.
func (e *Engine) end(l *lease, v plan.Verdict) {
	v, w := e.consult(l, v)

	e.mu.Lock()
	now := e.world.Now()
	took, _ := l.ran(now)
	e.pool.End(l.poller, now)
	e.tally(l, v, took, now)
	tried := l.tried[:0]
	for _, p := range l.work.parts {
		r := p.left[0]
		if v.Err != nil {
			r.Account.BatchID, r.Account.BatchRecords = l.ID, l.count
		}
		tried = append(tried, r)
	}
	policy := e.cfg.policy(w.backoff)
	policy.Room = l.sequels[:]
	d := plan.After(v, tried, policy, now)
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
		e.counts.Throttles++
		if v.Apart {
			e.counts.apart++
		} else {
			e.throttled(w.throttle, w.round, l.event(v, all, took), now)
		}
	case plan.OutcomeHalt:
		e.holds |= HoldHalt
		e.later(func() { e.world.Halted(v.Err) })
	case plan.OutcomeSuccess:
		e.throttles = 0
	}
	if e.memory.Drained(now) {
		e.later(e.resize)
	}
	e.report(l, v, all, took)
	e.explain(l, v)
	e.changed.fire()
	e.GateBell.Ring()
	e.kick(now)
	e.unlock()
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
func (e *Engine) consult(l *lease, v plan.Verdict) (_ plan.Verdict, w wait) {
	if v.Outcome == plan.OutcomeSuccess {
		return v, wait{} // nothing waits
	}
	e.mu.Lock()
	backoff, now := e.cfg.Backoff, e.world.Now()
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
		w.throttle = min(v.After, MaxBackoff)
		if w.throttle <= 0 {
			w.throttle = backoff(round)
		}
		if v.Refused { // or whether it lasts would show late
			w.throttle = min(w.throttle, plan.RefusalLasts/4)
		}
	}
	if charges {
		w.backoff = backoff(l.Attempt)
	}
	switch {
	case v.Blamed:
		w.backoff = max(w.backoff, min(v.After, MaxBackoff))
	case v.Apart:
		w.backoff = max(w.backoff, w.throttle)
	}
	return v, w
}

// weigh compares what a call was told with what others are told. It notes in what
// the call carried what is suspected of it.
func (e *Engine) weigh(l *lease, v plan.Verdict, now time.Time) plan.Verdict {
	tried := make([]plan.Portion, 0, 1)
	for _, p := range l.work.parts {
		tried = append(tried, p.left[0])
	}
	v = e.evidence.Weigh(v, tried, max(plan.RefusalLasts, 2*e.pace.Service()), now)
	for i, p := range l.work.parts {
		p.left[0].Suspicion = tried[i].Suspicion
	}
	return v
}

// tally counts what became of an invocation.
func (e *Engine) tally(l *lease, v plan.Verdict, took time.Duration, now time.Time) {
	e.progress = now
	e.function.ended = now
	if v.Outcome != plan.OutcomeAbandoned {
		e.function.last, e.function.lastErr, e.function.lastAt = v.Outcome, "", now
		if v.Err != nil {
			e.function.lastErr = v.Err.Error() // which keep made
		}
	}
	if v.Outcome != plan.OutcomeThrottled && v.Outcome != plan.OutcomeHalt && v.Outcome != plan.OutcomeAbandoned && !v.Blamed {
		e.evidence.Answered()
	}
	if v.Outcome == plan.OutcomeSuccess || v.Outcome == plan.OutcomePartial && len(v.Failures) < l.count {
		e.function.succeeded(now, e.pool.Busy() > 0)
	}
	switch v.Outcome {
	case plan.OutcomeFailure:
		e.counts.Errors++
		e.counts.Failed += int64(l.count)
	case plan.OutcomeAbandoned:
		e.counts.Abandoned++
		return
	case plan.OutcomePartial:
		e.counts.Errors++
		e.counts.Failed += int64(len(v.Failures))
	case plan.OutcomePermanent, plan.OutcomeTooLarge:
		e.counts.Errors++
		e.counts.Failed += int64(l.count)
	case plan.OutcomeThrottled, plan.OutcomeHalt:
		return
	}
	e.pace.Note(pace.Call{
		Began: l.started, Ended: now, Took: took, Records: l.count, Bytes: l.Bytes,
		Full:      l.full,
		Leaving:   e.pool.Busy() > e.pool.Slots(),
		Failed:    v.Outcome == plan.OutcomeFailure,
		Succeeded: v.Outcome == plan.OutcomeSuccess || v.Outcome == plan.OutcomePartial,
	})
	if r, round := &e.pace.Round, scaling.Round(e.pool.Slots(), len(e.lanes)); r.Ended == round || r.Full == round {
		e.ScaleBell.Ring()
	}
}

// unlease takes the lanes back, of which those that died meanwhile leave the
// work, and returns the parts of all.
func (e *Engine) unlease(l *lease) (all []*part) {
	l.Cancel(nil)
	delete(e.leases, l)
	w := l.work
	all = append(l.all[:0], w.parts...)
	w.parts = w.parts[:0]
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

// follow does what a decision says of one partition.
func (e *Engine) follow(p *part, s plan.Sequel, now time.Time) {
	l := p.lane
	e.settle(p, s.Settled)
	p.left = plan.Remaining(p.left, s)
	if len(p.left) == 0 {
		e.finish(p, now)
		return
	}
	if l.since.IsZero() {
		l.since = now
	}
	for i := range s.Left {
		r := &s.Left[i]
		if r.Reason != plan.ReasonNone && r.Deliveries == 0 && r.Account.LastAt.Equal(now) {
			e.givenUp(l, r)
		}
		if r.Due.After(time.Time{}) && r.Account.LastAt.Equal(now) {
			e.counts.Retries++
			b := l.heldBy(r)
			b.Next = r.Due
			e.later(func() { e.watch.RetryScheduled(b) })
		}
	}
	l.state, l.work = laneIdle, p.alone()
	if !l.ending { // one that ends keeps its work, which nobody starts again
		e.schedule(l, now)
	}
}

// settle marks records of a part as done with.
func (e *Engine) settle(p *part, records []plan.Record) {
	if len(records) == 0 {
		return
	}
	p.lane.settle(p, records)
	p.lane.settles++
	e.markDirty(p.lane) // the commit says what is settled above the frontier, too
	e.counts.Settled += int64(len(records))
}

// finish gives up a part of which all is settled, and lets the lane go on.
func (e *Engine) finish(p *part, now time.Time) {
	l := p.lane
	e.free(p)
	l.state, l.work, l.since, l.told = laneIdle, nil, time.Time{}, false
	if l.paused {
		e.reviewPause(l)
	}
	e.schedule(l, now)
}

// split queues the halves of a work of several lanes. Those that the Mapping waits
// for are not held up by what they hold.
func (e *Engine) split(w *work, v plan.Verdict, now time.Time) {
	half := (len(w.parts) + 1) / 2
	for _, parts := range [][]*part{w.parts[:half:half], w.parts[half:]} {
		if len(parts) == 0 {
			continue
		}
		h := &work{parts: parts}
		for _, p := range parts {
			p.lane.work = h
			p.left[0].Suspicion = p.left[0].Suspicion.Part()
			if v.Outcome == plan.OutcomeThrottled && !v.Apart {
				continue
			}
			p.left[0].Account = p.left[0].Account.Failed(v.Err, now)
			if p.lane.since.IsZero() {
				p.lane.since = now
			}
		}
		e.requeue(h, now)
	}
}

// requeue queues a work to be tried at once.
func (e *Engine) requeue(w *work, now time.Time) {
	var kept []*part
	for _, p := range w.parts {
		if p.lane.ending {
			p.lane.state, p.lane.work = laneIdle, p.alone()
			continue
		}
		kept = append(kept, p)
	}
	w.parts = kept
	switch {
	case len(kept) == 0:
	case len(kept) == 1:
		kept[0].lane.state = laneIdle
		e.schedule(kept[0].lane, now)
	default:
		e.queue.addGroup(w)
	}
}

// throttled keeps the Mapping from invoking for a while.
func (e *Engine) throttled(d time.Duration, round int, call CallEvent, now time.Time) {
	e.throttles = round
	until := now.Add(d)
	if !until.After(e.throttledUntil) {
		return
	}
	e.throttledUntil = until
	e.alarm(until)
	call.Pause = d
	e.later(func() { e.watch.Throttled(call) })
}

// free gives back the memory of a part.
func (e *Engine) free(p *part) {
	for _, m := range p.pieces {
		e.memory.Release(m.chunk, m.records)
	}
	p.pieces = nil
}

// givenUp says that records will not be tried again.
func (e *Engine) givenUp(l *lane, r *plan.Portion) {
	b := l.heldBy(r)
	e.later(func() { e.watch.GivenUp(b) })
}

// unblock lets lanes go on that were made while a call for an earlier one ran.
func (e *Engine) unblock(parts []*part, now time.Time) {
	for _, p := range parts {
		if n := e.lanes[p.lane.ID]; n != nil && n.state == laneBlocked {
			e.schedule(n, now)
		}
	}
}

// report tells the hooks that an invocation ended.
func (e *Engine) report(l *lease, v plan.Verdict, parts []*part, took time.Duration) {
	if e.watch.WantsCalls() {
		call := l.event(v, parts, took)
		e.later(func() { e.watch.Ended(call) })
	}
}

// explain writes what is not seen in what becomes of the records: what the face
// has to add, and that the function gives records up that nobody takes.
func (e *Engine) explain(l *lease, v plan.Verdict) {
	if l.After != nil {
		e.later(l.After)
	}
	id := l.ID
	if v.Err == nil || v.Outcome == plan.OutcomeAbandoned {
		return
	}
	if e.cfg.Discards {
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
		e.later(func() { e.watch.Kept(id, outcome, err) })
	}
}
