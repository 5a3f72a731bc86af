package engine

import (
	"context"
	"slices"
	"time"
)

// DrainAll is drain for all lanes.
func (e *Engine) DrainAll(ctx context.Context, cause error) (cancelled int) {
	return e.drain(ctx, func() []*lane {
		lanes := make([]*lane, 0, len(e.lanes))
		for _, l := range e.lanes {
			lanes = append(lanes, l)
		}
		return lanes
	}, cause, nil)
}

// drain starts nothing more for the lanes, and waits until nothing runs for
// them, and until also is true, if it is not nil. When the time is over it cancels
// what runs for them, with this cause, and waits a moment longer. It returns how many
// calls it cancelled.
//
// A lane whose call goes on even then is dead afterwards. The others keep what
// they settled, and give up the rest.
func (e *Engine) drain(ctx context.Context, lanes func() []*lane, cause error, also func(now time.Time) bool) (cancelled int) {
	e.mu.Lock()
	ours := e.endLanes(lanes())
	e.awaitCalls(ctx, ours, also)
	if cancelled = e.cancelCalls(ours, cause); cancelled > 0 {
		// Most functions return at once when their context ends, and what
		// they say then still counts.
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
		e.awaitCalls(grace, ours, nil)
		done()
	}
	e.shelveAll(ours)
	e.unlock()
	return cancelled
}

// endLanes begins a drain: it starts nothing more for the lanes. It returns those
// that are to be waited for. Nobody waits again for a lane that was given up by an
// earlier drain: its call ignores that its context ended.
func (e *Engine) endLanes(lanes []*lane) (ours []*lane) {
	for _, l := range lanes {
		if l.dead {
			continue
		}
		ours = append(ours, l)
		l.ending, e.stale = true, true
		if l.state == laneLeased {
			e.freeQueue(l)
		} else {
			e.shelve(l)
		}
	}
	return ours
}

// cancelCalls cancels what runs for the lanes, and returns how many calls that
// are.
func (e *Engine) cancelCalls(lanes []*lane, cause error) int {
	calls := map[*lease]bool{}
	for _, l := range lanes {
		if l.state == laneLeased {
			c := e.busy[l.ID]
			calls[c] = true
			c.Cancel(cause)
		}
	}
	return len(calls)
}

// shelveAll ends a drain. A lane whose call goes on is dead.
func (e *Engine) shelveAll(lanes []*lane) {
	for _, l := range lanes {
		if l.state == laneLeased {
			l.dead = true
			e.busy[l.ID].left = true
			e.died.fire()
		} else {
			e.shelve(l)
		}
	}
}

// awaitCalls gives up the lock until no call runs for any of the lanes, and also, if
// it is not nil, is true, or until ctx ends.
func (e *Engine) awaitCalls(ctx context.Context, lanes []*lane, also func(now time.Time) bool) {
	for {
		if ctx.Err() != nil || !called(lanes) && (also == nil || also(e.world.Now())) {
			return
		}
		changed := e.changed.wait()
		e.unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		e.mu.Lock()
	}
}

// called reports whether a call runs for any of the lanes.
func called(lanes []*lane) bool {
	return slices.ContainsFunc(lanes, func(l *lane) bool { return l.state == laneLeased })
}

// cancelGrace is how long a cancelled call has to return before it counts as
// one that ignores its context.
const cancelGrace = 250 * time.Millisecond

// SettledAbove counts the records that are settled above the frontiers and of which
// no commit says that.
func (e *Engine) SettledAbove() (n int) {
	e.mu.Lock()
	defer e.unlock()
	for _, l := range e.lanes {
		n += l.again()
	}
	return n
}

// StuckCalls lists the calls that still run, after it waited a moment for the
// goroutines of those that do not.
func (e *Engine) StuckCalls() []CallEvent {
	grace, done := context.WithTimeout(context.Background(), cancelGrace)
	defer done()
	e.mu.Lock()
	defer e.unlock()
	for e.workers > len(e.leases) && grace.Err() == nil {
		changed := e.changed.wait()
		e.unlock()
		select {
		case <-changed:
		case <-grace.Done():
		}
		e.mu.Lock()
	}
	var stuck []CallEvent
	now := e.world.Now()
	for l := range e.leases {
		running, _ := l.ran(now)
		stuck = append(stuck, l.running(running, context.Cause(l.Ctx)))
	}
	return stuck
}
