package engine

import (
	"time"

	"github.com/seed429fd032/esm/internal/memory"
)

// Newcomers are lanes that were assigned beside others, and of which nothing has come
// yet. Their partitions stood still while they moved, and stand until their first
// records are there.
//
// If memory is full, each poll waits until the others have dealt with as much as it
// brings, and brokers take the partitions in turn: newcomers would wait until all others
// have had theirs, and then for a large piece of each newcomer. With 50 of 100
// partitions, a budget of 128 MiB and 25 MB/s that was two seconds. So for as long as
// there are newcomers, a fetch asks for about a record batch of each partition, and while
// memory is short, lanes that have enough for now are not fetched.
//
// The lanes of a first assignment are no newcomers: nobody is in their way.

// newcomersFor is how long lanes are newcomers at most: the broker of one may have gone
// silent, or its partition may have nothing but the remains of compaction.
const newcomersFor = 8 * memory.FetchMaxWait

// welcome says that lanes were added to others.
func (e *Engine) welcome(lanes []*lane, now time.Time) {
	for _, l := range lanes {
		l.newcomer = true
	}
	e.welcomeUntil = now.Add(newcomersFor)
	e.alarm(e.welcomeUntil)
	if e.memory.SetNewcomers(true, now) {
		e.later(e.resize)
	}
}

// newcomers reports whether there are any. When there are none any more, fetches are as
// before, and only lanes that have far more than their share stay paused for want of
// memory.
func (e *Engine) newcomers(now time.Time) bool {
	if e.welcomeUntil.IsZero() {
		return false
	}
	if now.Before(e.welcomeUntil) {
		for _, l := range e.lanes {
			if l.awaited() {
				return true
			}
		}
	}
	e.welcomeUntil = time.Time{}
	if e.memory.SetNewcomers(false, now) {
		e.later(e.resize)
	}
	most := 2 * e.share()
	for _, l := range e.lanes {
		l.newcomer = false
		if l.paused && l.state != laneWaiting && l.held() <= most {
			l.paused = false
			e.later(e.repause)
		}
	}
	return false
}

// awaited reports whether a lane is a newcomer of which something can come. Where it
// begins, and where its partition ends, may not be known yet.
func (l *lane) awaited() bool {
	return l.newcomer && (l.next < 0 || l.end < 0 || l.end > l.next) &&
		!l.unplaced && !l.gone && !l.ending && l.unreadable == nil && l.skipping == nil
}
