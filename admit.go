package esm

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// An admission is what the poll loop may do.
type admission struct {
	poll bool
	// evict: give back what lanes hold that cannot use it, or read again what
	// user code changed; then ask again.
	evict []*lane
	// again is when to ask again although nothing rings, if it is not 0.
	again time.Duration
}

// admit says whether the poll loop may poll now. buffered is what the client
// has ready.
//
// The last of the budget is for lanes that are starved: when the rest is in
// use, it polls for them, and pauses every lane that has more than its share:
// this is the only pausing there is. When that is in use too, lanes in back-off
// give back what they queued, which is read again later. When nothing that runs
// or is ready can free memory, because all that is held waits for its windows
// to end, it ends the oldest.
func (e *engine) admit(buffered int64, now time.Time) (a admission) {
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
			// Soon some lanes will have nothing for others having much.
			e.feed(false, true, now)
		}
		return admission{poll: true}
	}
	if e.limitedAt.IsZero() {
		e.limitedAt = now
		info := MemoryInfo{Mapping: e.watch.name, Held: m.Held() + m.Spare(), Budget: m.Budget(), Reserve: reserve}
		e.later(func() { fire(e.watch, func(h *Hooks) func(MemoryInfo) { return h.MemoryLimited }, info) })
	}
	// Looking through all lanes after each invocation would be a lot of work.
	if wait := feedEvery - now.Sub(e.fedAt); wait > 0 && e.fedPolls == e.counts.polls {
		return admission{again: wait}
	}
	e.fedAt, e.fedPolls = now, e.counts.polls
	urgent := m.Admits(reserve, true)
	if e.feed(urgent, buffered > 0, now) {
		if urgent {
			return admission{poll: true}
		}
		if lanes := e.evictable(m.Held() + reserve - m.Budget()); len(lanes) > 0 {
			return admission{evict: lanes}
		}
	}
	if e.pool.busy == 0 && !e.queue.any() && len(e.filling) > 0 {
		e.queue.addLane(heap.Pop(&e.filling).(*lane), laneThin)
		e.kick(now)
	}
	return admission{}
}

// rewound takes the lanes for which the client is to go back.
func (e *engine) rewound() (lanes []*lane) {
	for _, l := range e.rewinds {
		if !l.dead && !l.ending {
			lanes = append(lanes, l)
		}
	}
	e.rewinds = nil
	return lanes
}

// rewind has the client go back, or on, to a lane's position: to where that is
// when the poll loop comes to it, so once is enough. Twice would be an eviction,
// which goes on after what is in work, even if that is to be read again.
func (e *engine) rewind(l *lane) {
	if l.rewinding {
		return
	}
	l.rewinding = true
	e.rewinds = append(e.rewinds, l)
	e.gateBell.ring()
	e.cutPoll() // what it would bring is not wanted
}

// feedEvery is how often lanes are looked through while memory is short and
// nothing comes.
const feedEvery = 10 * time.Millisecond

// share is what a lane may hold while others starve: an equal part of the
// budget for each that has something, or could have.
func (e *engine) share() int64 {
	n := int64(0)
	for _, l := range e.lanes {
		if l.count > 0 || l.work != nil || l.end > l.next {
			n++
		}
	}
	return e.memory.Budget() / max(1, n)
}

// A ration is a lane's share of the memory, and how many records are enough for
// it. To count it again after each invocation would be work for as many lanes
// as there are: a tenth of all CPU with 2,000.
type ration struct {
	share  int64
	enough int
}

// feed reports whether a lane is starved; urgent says that it will be polled
// for. If a lane runs low, it pauses those that have more than their share or
// cannot use more, but only while the client waits with a fetch that is ready
// (fetched), and not those that are in it: what is ready or under way of a
// partition that is paused would be thrown away and read again.
func (e *engine) feed(urgent, fetched bool, now time.Time) bool {
	hungry, low, enough := false, false, e.enough()
	for _, l := range e.lanes {
		if e.starved(l, enough, now) {
			hungry = true
			if urgent {
				l.dry++
				l.dryEnd = l.end
			}
		}
		low = low || hungry || e.starved(l, 2*enough, now)
	}
	if !low || !fetched {
		return hungry
	}
	share, changed := e.share(), false
	e.fed = ration{share, enough}
	for _, l := range e.lanes {
		// A lane with much is not paused if that does not last: it would
		// starve before a fetch is there again.
		hog := l.held() > share && l.count > 2*enough || l.state == laneWaiting && l.count > 0
		if hog && !l.paused && !e.memory.Wire().IsAhead(l.ID) {
			l.paused, changed = true, true
		}
	}
	if changed {
		e.later(e.repause)
	}
	return hungry
}

// evictable lists lanes in back-off whose queues are as large as what is
// missing, or all of those: the largest first. They are paused.
func (e *engine) evictable(missing int64) []*lane {
	var lanes []*lane
	for _, l := range e.waiting {
		if l.count > 0 && l.skipping == nil {
			lanes = append(lanes, l)
		}
	}
	slices.SortFunc(lanes, func(a, b *lane) int { return cmp.Compare(b.cost, a.cost) })
	for i, l := range lanes {
		l.paused = true
		if missing -= l.cost; missing <= 0 {
			return lanes[:i+1]
		}
	}
	return lanes
}

// starved reports whether a lane runs out of records although there are more
// in Kafka: what it has queued is less than a batch, or is dealt with before
// another fetch could be there. A lane that is idle because its partition is
// does not starve, and neither does one in back-off.
func (e *engine) starved(l *lane, enough int, now time.Time) bool {
	switch {
	case l.ending || l.state == laneWaiting || l.count >= enough || l.bytes >= int64(e.cfg.batchBytes):
		return false
	case l.unreadable != nil || l.skipping != nil: // it is not fetched
		return false
	case l.next < 0 || l.end <= l.next || now.Sub(l.endAt) > lagMaxAge:
		return false
	}
	// What is between the position and the end may be nothing to read: the
	// remains of compaction or of aborted transactions.
	return l.dry < dryPolls+2*len(e.lanes) || l.dryEnd != l.end
}

// enough is how many records last a lane until another fetch could be there,
// with one invocation after the other; but not more than half of its share.
func (e *engine) enough() int {
	batches := 1
	if took := e.pace.service(); took > 0 {
		batches += int(min(fetchAhead/took, 8))
	}
	n := batches * e.cfg.batchSize
	if e.counts.polled > 0 {
		each := e.counts.polledBytes/e.counts.polled + recordOverhead
		n = min(n, int(e.share()/each/2))
	}
	return max(n, e.cfg.batchSize)
}

// fetchAhead is how long it takes until a fetch is there: one that is under way
// has to end before.
const fetchAhead = memory.FetchMaxWait + 100*time.Millisecond

// dryPolls is how many polls are made for the sake of a lane that they bring
// nothing to, beside those that bring the others theirs.
const dryPolls = 20

// reviewPause lets a lane be fetched again once it is at half of its share, or
// runs low.
func (e *engine) reviewPause(l *lane) {
	if l.held() <= e.fed.share/2 || l.count <= e.fed.enough {
		l.paused = false
		e.later(e.repause)
	}
}

// pauses lists the lanes that are not to be fetched.
func (e *engine) pauses() map[partition.ID]bool {
	e.mu.Lock()
	defer e.unlock()
	var tps map[partition.ID]bool
	way := e.givesWay(time.Now())
	for tp, l := range e.lanes {
		if l.paused || l.gone || l.unplaced || l.unreadable != nil || l.skipping != nil || way && l.aside < pushedAside {
			if tps == nil {
				tps = map[partition.ID]bool{}
			}
			tps[tp] = true
		}
	}
	return tps
}
