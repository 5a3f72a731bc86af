package engine

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
	Call
	poller  *pollers.Poller // nil for a delivery
	full    bool            // a first attempt with as much as a batch can have
	lanes   int             // how many the function got, whatever became of them since
	started time.Time
	ended   time.Time     // of its context, if that was noticed
	told    time.Duration // after how long it was mentioned last
	stuck   bool          // that it goes on after its context ended
	left    bool          // a revoke has waited for it in vain

	// Room for what end looks at, where there is one lane.
	tried   [1]plan.Portion
	sequels [1]plan.Sequel
	all     [1]*part
}

// runnable reports whether an invocation could start now.
func (e *Engine) runnable(now time.Time) bool {
	return e.holds == 0 && e.queue.any() && !e.throttledUntil.After(now) &&
		!e.saturated() && e.pool.Pick(now) != nil
}

// saturated reports whether as many invocations run as may.
func (e *Engine) saturated() bool {
	most := e.bounds().calls
	return most >= 0 && e.pool.Busy() >= most
}

// kick starts a worker if there is something for it to do. Only one is started
// at a time: it starts the next one when it has its lease. So as many run as
// find work, and a function that returns at once is called in a loop by as
// many goroutines as there are processors, instead of by a crowd of them that
// wake up for nothing.
func (e *Engine) kick(now time.Time) {
	e.startDeliveries(now)
	if e.spawning || !e.runnable(now) {
		e.ask(now)
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
func (e *Engine) worker(first bool) {
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
			e.end(l, l.Verdict)
		}
	}()
	for {
		e.mu.Lock()
		now := e.world.Now()
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
		e.world.Invoke(&l.Call)
		ended := l
		l = nil
		e.end(ended, ended.Verdict)
	}
}

// lease takes the work whose turn it is, for the poller whose turn it is, or
// returns nil.
func (e *Engine) lease(now time.Time) *lease {
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
		l.Attempt = max(l.Attempt, p.left[0].Attempts+1)
	}
	for _, p := range w.parts {
		if len(p.left[0].Records) == len(p.records) {
			l.Bytes += p.bytes
		} else {
			l.Bytes += weight(p.left[0].Records)
		}
	}
	l.Timeout = e.cfg.InvokeTimeout
	l.full = fresh && w.full
	charged := l.Bytes
	if fresh {
		e.cargo.add(l.count, l.Bytes)
	} else {
		charged = 0
	}
	e.pool.Start(l.poller, charged, now)
	e.function.began(now)
	e.counts.Invocations++
	e.counts.Invoked += int64(l.count)
	return l
}

// nextWork takes the work whose turn it is, and whether it is a first attempt.
// Records that are too old by now are taken out of it.
func (e *Engine) nextWork(now time.Time) (w *work, fresh bool) {
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
		if e.cfg.MaxRecordAge <= 0 || e.expire(w, now) {
			return w, fresh
		}
	}
}

// expire takes out of a work what is too old to be tried, and reports whether
// anything is left.
func (e *Engine) expire(w *work, now time.Time) bool {
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
func (e *Engine) newLease(w *work, now time.Time) *lease {
	e.ids++
	id := append(make([]byte, 0, 32), e.idPrefix...)
	l := &lease{Call: Call{work: w, ID: string(strconv.AppendUint(id, e.ids, 36))}, started: now, lanes: len(w.parts)}
	for _, p := range w.parts {
		p.lane.ticket = 0
		p.lane.state = laneLeased
		p.lane.work = w
		p.again, p.exposed = p.exposed, true
		e.busy[p.lane.ID] = l
	}
	l.Ctx, l.Cancel = context.WithCancelCause(e.base)
	e.leases[l] = struct{}{}
	return l
}

// partitions lists those of a lease.
func (l *lease) partitions() (tps []partition.ID) {
	for _, p := range l.work.parts {
		tps = append(tps, p.lane.ID)
	}
	return tps
}
