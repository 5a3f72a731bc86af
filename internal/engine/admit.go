package engine

import (
	"container/heap"
	"slices"
	"time"
)

// An admission is what the poll loop may do.
type admission struct {
	poll bool
	// evict are lanes to set back before it asks again: they give back what they
	// cannot use, or read again what user code changed.
	evict []*lane
	// again is after how long to ask again even if nothing rings, if it is not 0.
	again time.Duration
}

// admit says whether the poll loop may poll now. buffered is what the client
// has ready.
//
// The last of the budget is for lanes that are starved. When the rest is in use,
// the poll loop polls for them, and every lane that has far more than its share is
// paused. When the last is in use too, lanes in back-off are paused and give back
// what they queued, which is read again later. Nothing else is paused for want of
// memory. If all that is held then waits for its retry, which may be in an hour, the
// poll loop polls for starved lanes although that may bring more than there is room
// for: the budget and one poll is what may be held. When no call runs or is ready that
// would free memory, because all that is held waits for its windows to end, the oldest
// window ends now. And as long as memory is short, windows end early that make whole
// batches.
func (e *Engine) admit(buffered int64, now time.Time) (a admission) {
	if e.holds != 0 {
		return admission{}
	}
	if lanes := e.rewound(); len(lanes) > 0 {
		return admission{evict: lanes}
	}
	m := e.memory
	reserve := m.Reserve(buffered, now)
	defer func() { m.Allow(a.poll) }()
	m.MakeRoom(reserve)
	if m.Admits(reserve, false) {
		e.limitedAt = time.Time{}
		if m.Crowded() && buffered > 0 {
			// Soon some lanes will have nothing because others have much.
			e.review(false, true, now)
		}
		return admission{poll: true}
	}
	if e.limitedAt.IsZero() {
		e.limitedAt = now
		limit := PollEvent{Held: m.Held() + m.Spare(), Budget: m.Budget(), Reserve: reserve}
		e.later(func() { e.watch.MemoryLimited(limit) })
	}
	// Looking through all lanes after each invocation would be a lot of work.
	if wait := reviewEvery - now.Sub(e.reviewedAt); wait > 0 && e.reviewPolls == e.counts.polls {
		return admission{again: wait}
	}
	e.reviewedAt, e.reviewPolls = now, e.counts.polls
	e.endWindows(now)
	urgent := m.Admits(reserve, true) || m.Held() <= m.Budget() && e.onlyRetries()
	if e.review(urgent, buffered > 0, now) {
		if urgent {
			return admission{poll: true}
		}
		if lanes := e.evictable(m.Held() + reserve - m.Budget()); len(lanes) > 0 {
			return admission{evict: lanes}
		}
	}
	if e.stands() && len(e.filling) > 0 {
		e.queue.addLane(heap.Pop(&e.filling).(*lane), laneThin)
		e.kick(now)
	}
	return admission{}
}

// onlyRetries reports whether all that is held waits for its retry, and nothing of it
// can be given back.
func (e *Engine) onlyRetries() bool {
	return e.stands() && len(e.filling) == 0 && !slices.ContainsFunc(e.waiting, (*lane).evictable)
}

// stands reports whether no call runs or is ready, which would free memory.
func (e *Engine) stands() bool { return e.pool.Busy() == 0 && !e.queue.any() }

// rewound takes the lanes for which the client is to go back.
func (e *Engine) rewound() (lanes []*lane) {
	for _, l := range e.rewinds {
		if !l.dead && !l.ending {
			lanes = append(lanes, l)
		}
	}
	e.rewinds = nil
	return lanes
}

// rewind has the client go back, or on, to a lane's position: to where that is
// when the poll loop comes to it, so once is enough. A lane that is on the list
// twice would be evicted the second time, and an eviction goes on after what is in
// work, even if that is to be read again.
func (e *Engine) rewind(l *lane) {
	if l.rewinding {
		return
	}
	l.rewinding = true
	e.rewinds = append(e.rewinds, l)
	e.GateBell.Ring()
	e.cutPoll() // what it would bring is not wanted
}
