package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// A quota is a lane's fair share of the memory, in bytes, and how many records
// are enough for it. To compute it again after each invocation would take time
// in proportion to the number of lanes: a tenth of all CPU with 2,000.
type quota struct {
	bytes  int64
	enough int
}

const (
	// reviewEvery is how often lanes are looked through while memory is short
	// and nothing comes.
	reviewEvery = 10 * time.Millisecond
	// fetchAhead is how long it takes until a fetch is there: one that is under
	// way has to end before.
	fetchAhead = memory.FetchMaxWait + 100*time.Millisecond
	// fruitlessPolls is how many polls are made for the sake of a lane to which
	// they bring nothing, beside those that bring the others theirs.
	fruitlessPolls = 20
)

// share is what a lane may hold while others starve: an equal part of the
// budget for each that has something, or could have.
func (e *Engine) share() int64 {
	n := int64(0)
	for _, l := range e.lanes {
		if l.count > 0 || l.work != nil || l.end > l.next {
			n++
		}
	}
	return e.memory.Budget() / max(1, n)
}

// enough is how many records last a lane until another fetch could be there,
// with one invocation after the other; but not more than half of its share.
func (e *Engine) enough() int {
	batches := 1
	if took := e.pace.Service(); took > 0 {
		batches += int(min(fetchAhead/took, 8))
	}
	n := batches * e.cfg.BatchSize
	if e.counts.Polled > 0 {
		n = min(n, int(e.share()/(int64(e.recordBytes())+RecordOverhead)/2))
	}
	return max(n, e.cfg.BatchSize)
}

// recordBytes is what a record weighs on average, 0 if there was none.
func (e *Engine) recordBytes() float64 {
	return float64(e.counts.PolledBytes) / float64(max(1, e.counts.Polled))
}

// laneTakes is how many bytes of records a lane takes in a second, with one invocation
// after the other; 0 if that is not known.
func (e *Engine) laneTakes() float64 {
	took, _, bytes := e.pace.Batch(e.cfg.BatchSize, e.recordBytes())
	if took == 0 {
		return 0
	}
	return min(bytes, float64(e.cfg.BatchBytes)) / took.Seconds()
}

// review looks through the lanes and reports whether one is starved; urgent says
// that a poll will be made for it. If a lane runs low, review pauses those that
// have far more than their share or cannot use more. It does so only while the
// client waits with a fetch that is ready (fetched), and spares the lanes that
// are in that fetch: the client would throw away what is ready or under way of a
// paused partition, and read it again.
func (e *Engine) review(urgent, fetched bool, now time.Time) (starved bool) {
	low, enough := false, e.enough()
	for _, l := range e.lanes {
		if e.starved(l, enough, now) {
			starved = true
			if urgent {
				l.fruitless++
				l.fruitlessEnd = l.end
			}
		}
		low = low || starved || e.starved(l, 2*enough, now)
	}
	if !low || !fetched {
		return starved
	}
	changed, newcomers := false, e.newcomers(now)
	e.quota = quota{e.share(), enough}
	for _, l := range e.lanes {
		// Twice its share is much: what each has goes up and down by a piece, and
		// brokers take turns. Were all paused that have a little more than the
		// average, the few that are spared would be all that the next fetches
		// bring, over and over. And a lane that is over its quota is not paused if
		// that does not last: it would starve before a fetch is there again.
		// While there are newcomers, all that have enough are paused: that is for a moment.
		over := (newcomers || l.held() > 2*e.quota.bytes) && l.count > 2*enough
		if (over || l.state == laneWaiting && l.count > 0) && !l.paused && !e.memory.Wire().IsAhead(l.ID) {
			l.paused, changed = true, true
		}
	}
	if changed {
		e.later(e.repause)
	}
	return starved
}

// reviewPause lets a lane be fetched again once it is at its share, or runs low. While
// there are newcomers, only if it runs low.
func (e *Engine) reviewPause(l *lane) {
	if e.welcomeUntil.IsZero() && l.held() <= e.quota.bytes || l.count <= e.quota.enough {
		l.paused = false
		e.later(e.repause)
	}
}

// starved reports whether a lane runs out of records although there are more
// in Kafka: what it has queued is less than a batch, or is dealt with before
// another fetch could be there. A lane that is idle because its partition is
// does not starve, and neither does one in back-off.
func (e *Engine) starved(l *lane, enough int, now time.Time) bool {
	switch {
	case l.ending || l.state == laneWaiting || l.count >= enough || l.bytes >= int64(e.cfg.BatchBytes):
		return false
	case l.unreadable != nil || l.skipping != nil: // it is not fetched
		return false
	case l.next < 0 || l.end <= l.next || now.Sub(l.endAt) > lagMaxAge:
		return false
	}
	// There may be nothing to read between the position and the end: only the
	// remains of compaction or of aborted transactions.
	return l.fruitless < fruitlessPolls+2*len(e.lanes) || l.fruitlessEnd != l.end
}

// evictable lists lanes in back-off, the largest first, whose queues together
// are as large as what is missing, or all of those lanes. It pauses them.
func (e *Engine) evictable(missing int64) []*lane {
	var lanes []*lane
	for _, l := range e.waiting {
		if l.evictable() {
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

// evictable reports whether a lane in back-off has something to give back.
func (l *lane) evictable() bool { return l.count > 0 && l.skipping == nil }

// Pauses lists the lanes that are not to be fetched.
func (e *Engine) Pauses() map[partition.ID]bool {
	e.mu.Lock()
	defer e.unlock()
	var tps map[partition.ID]bool
	yields := e.yields(e.world.Now())
	for tp, l := range e.lanes {
		if l.paused || l.gone || l.unplaced || l.unreadable != nil || l.skipping != nil || yields && !l.pushedAside() {
			if tps == nil {
				tps = map[partition.ID]bool{}
			}
			tps[tp] = true
		}
	}
	return tps
}
