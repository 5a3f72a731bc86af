package engine

import (
	"context"
	"time"
)

// WatchAll looks at what may not get on: calls, partitions, the function. It is for
// once a second.
func (e *Engine) WatchAll(now time.Time) {
	e.mu.Lock()
	e.measure(now)
	e.watchCalls(now)
	e.watchBlockers(now)
	e.reviewFunction(now)
	e.reviewCargo(now)
	e.unlock()
	e.watchLanes(now)
}

// watchCalls reports calls that are slow or that ignore their context, again and
// again while they last.
func (e *Engine) watchCalls(now time.Time) {
	for l := range e.leases {
		running, _ := l.ran(now)
		cause := context.Cause(l.Ctx)
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
		e.later(func() { e.watch.Stuck(call) })
	}
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
