package engine

import (
	"maps"
	"time"

	"github.com/seed429fd032/esm/internal/share"
	"github.com/seed429fd032/esm/scaling"
)

// Bounds are how much a process may do at once.
//
// # Of the group
//
// With GroupBounds the settings bound all processes of the consumer group together,
// and a process has of them what the partitions have that it owns: see share.Table. The
// invariant is that no more calls run in the whole group than the settings say. The
// shares of all partitions add up to that, so it is left to show that a share never
// counts in two processes, and that no process has more calls than its shares.
//
// A share counts from the assigned callback on, as long as the lane is there and does
// not end. It ends to count when the revoke callback begins: from then on no call
// begins that would be one too many without it. That callback returns only when the
// calls that run fit the bounds without it, those of the partitions that stay too.
// Only then does the client tell the group that the partition is free: an eager member
// by joining again without any, a cooperative one by joining again without what it was
// asked for, and one of KIP-848 in its next heartbeat. Until then nobody else is
// assigned it. So when a share begins to count elsewhere, no call runs here any more
// that needed it. In between it counts nowhere.
//
// What is not covered, and is documented at the option:
//
//   - Processes do not agree on how many partitions there are. While some are being
//     added, a process learns of it up to kafka.countEvery later than another one.
//   - A call goes on although nobody waits for it any more: it ignored for the time
//     of a revoke that its partition goes, or the session was lost, and nobody asked.
//     It takes a place of its own process until it ends, and so do the calls of staying
//     partitions that did not fit in time.
//   - A process whose share is none has one slot all the same, or its partitions would
//     stand still: one poller with one call at once.
//
// Unknown is no share: while a process does not know how many partitions there are, it
// has one slot. That is so before the brokers said it, and if it owns a partition that
// they did not speak of.
//
// We rejected to lend the places of partitions that have nothing to do: whoever lends
// would have to ask for them back before it calls, which is a coordinator.
type bounds struct {
	least, most int // pollers
	slots       int // of a poller
	concurrency int // what MaxConcurrency is here, or none
	calls       int // that run at once, or none: what all of that comes to

	// shared is what the group's bounds leave to this process, without the one slot.
	shared share.Share
}

// ofPartitions are those of a process that stands for itself, with so many partitions.
func (s *Settings) ofPartitions(n int) bounds {
	n = max(1, n)
	b := bounds{least: min(s.MinPollers, n), most: min(s.MaxPollers, n), slots: s.PollerConcurrency, concurrency: s.MaxConcurrency, calls: s.MaxConcurrency}
	if s.OnDemand {
		b.least, b.most = 1, n
	}
	b.shared = share.Share{Least: b.least, Most: b.most, Calls: b.concurrency}
	return b
}

// ofGroup are those of a process that has so many partitions and these shares of a
// group, of which nothing else is known if known is false.
func (s *Settings) ofGroup(partitions int, of share.Share, known bool) bounds {
	if partitions == 0 || !known {
		of = share.Share{}
	}
	if s.OnDemand { // it has no bounds of pollers to share
		if of.Least, of.Most = 0, 0; known {
			of.Least, of.Most = min(1, partitions), partitions
		}
	}
	of.Least, of.Most = min(of.Least, partitions), min(of.Most, partitions)
	b := bounds{least: max(1, of.Least), most: max(1, of.Most), slots: s.PollerConcurrency, concurrency: s.MaxConcurrency}
	if of.Most == 0 {
		b.slots = 1
	}
	b.calls = b.most * b.slots
	if s.MaxConcurrency >= 0 {
		b.concurrency = max(1, of.Calls)
		b.calls = min(b.calls, b.concurrency)
	} else {
		of.Calls = s.MaxConcurrency
	}
	if partitions == 0 {
		b.calls = 0 // whatever runs is of somebody else's
	}
	b.shared = of
	return b
}

// bounds are those that hold now. They are made anew after something changed that
// they depend on, which says so by stale.
func (e *Engine) bounds() bounds {
	if !e.stale {
		return e.bound
	}
	e.stale = false
	if !e.cfg.GroupBounds {
		e.bound = e.cfg.ofPartitions(len(e.lanes))
		return e.bound
	}
	var of share.Share
	owned, known := 0, true
	for id, l := range e.lanes {
		if l.ending {
			continue
		}
		owned++
		known = of.Add(e.shares, id, e.cfg.MinPollers, e.cfg.MaxPollers, e.cfg.MaxConcurrency) && known
	}
	e.bound = e.cfg.ofGroup(owned, of, known)
	return e.bound
}

// fits reports whether no more calls run than may. Calls do not count for which nobody
// waits any more. When the process stops, it waits for those of its lanes only, and none
// may be left: a share that goes meanwhile must not count elsewhere while they run.
func (e *Engine) fits(now time.Time) bool {
	if !e.cfg.GroupBounds {
		return true
	}
	var drained map[*lease]bool
	if e.holds&HoldStop != 0 {
		drained = map[*lease]bool{}
		for id, l := range e.lanes {
			if l.state == laneLeased && !l.dead {
				drained[e.busy[id]] = true
			}
		}
	}
	n := 0
	for l := range e.leases {
		if l.poller != nil && !l.left && !l.ignores(now) && (drained == nil || drained[l]) {
			n++
		}
	}
	return n <= e.bounds().calls
}

// SharesBounds reports whether the bounds are those of the group, and whether what
// this process has of them is known.
func (e *Engine) SharesBounds() (shares, known bool) {
	e.mu.Lock()
	defer e.unlock()
	if !e.cfg.GroupBounds {
		return false, true
	}
	for id, l := range e.lanes {
		if !l.ending && !e.shares.Has(id) {
			return true, false
		}
	}
	return true, e.shares != nil
}

// Counted tells how many partitions each of the subscribed topics has.
func (e *Engine) Counted(partitions map[string]int, now time.Time) {
	e.mu.Lock()
	same := !e.cfg.GroupBounds || e.shares != nil && maps.Equal(partitions, e.sizes)
	e.mu.Unlock()
	if same {
		return
	}
	table := share.Of(partitions) // not with the lock: there may be many
	e.mu.Lock()
	defer e.unlock()
	e.sizes, e.shares, e.stale = maps.Clone(partitions), table, true
	e.changed.fire()
	if e.counts.Rebalances > 0 { // until then there is nothing to scale
		e.fit(scaling.Assignment, now)
	}
}
