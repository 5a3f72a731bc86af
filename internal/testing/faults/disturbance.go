package main

import (
	"cmp"
	"slices"
	"time"
)

// A disturbance is a time in which something was broken: a broker, or a host
// that stood still. What it may excuse depends on which.
type disturbance struct {
	from, to    int64 // to is 0 while it goes on
	fault       kind  // of brokers; empty for a host
	coordinator bool  // it was of the broker that had the group then, or moved the group
}

const (
	// near is how long after a disturbance it may still be why a member loses
	// its session, or why a commit or a stop fails: sessions, retries and
	// elections are over by then.
	near = 10 * time.Second
	// aMoment is how long a host may need to say what it does: between the
	// engine's last look at a call's context and the first line of the call,
	// and between the end of a context and the function's answer. Time in which
	// it is frozen does not count.
	aMoment = 500 * time.Millisecond
	// overlap is how long two hosts may both take a partition for theirs while
	// nothing is broken: one that was cut off asks within its session, and is
	// told.
	overlap = sessionTimeout + 4*time.Second
	// heard is how long a host may stop, or give a partition up, as if it still
	// had it: it asks once a second, and may have nothing to commit.
	heard = 5 * time.Second
)

// touches reports whether a disturbance goes on at a time, or ended not longer
// before it than that.
func (d disturbance) touches(at int64, after time.Duration) bool {
	return d.from <= at && (d.to == 0 || d.to >= at-int64(after))
}

// end ends the disturbance of a kind that goes on. Those of two tracks may go on
// at once.
func end(ds []disturbance, of kind, at int64) {
	for i := len(ds) - 1; i >= 0; i-- {
		if ds[i].fault == of && ds[i].to == 0 {
			ds[i].to = at
			return
		}
	}
}

// calm reports whether nothing was broken that could excuse what becomes of a
// host.
func (c *checker) calm(h *hostView, at int64) bool {
	touches := func(d disturbance) bool { return d.touches(at, near) }
	return !slices.ContainsFunc(c.faults, touches) && !slices.ContainsFunc(h.frozen, touches)
}

// brokenSince reports whether a broker was broken between two times, or shortly
// before.
func (c *checker) brokenSince(from, to int64) bool {
	return slices.ContainsFunc(c.faults, func(d disturbance) bool {
		return d.from <= to && (d.to == 0 || d.to+int64(near) >= from)
	})
}

// without is how much of a time was in no disturbance.
func without(ds []disturbance, from, to int64) time.Duration {
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(a, b disturbance) int { return cmp.Compare(a.from, b.from) })
	left := int64(0)
	for _, d := range ds {
		if d.from >= to {
			break
		}
		left += max(0, d.from-from)
		if d.to == 0 {
			return time.Duration(left)
		}
		from = max(from, d.to)
	}
	return time.Duration(left + max(0, to-from))
}

// ran is how long a host ran between two times.
func (h *hostView) ran(from, to int64) time.Duration { return without(h.frozen, from, to) }

// undisturbed is how long it ran and no broker was broken.
func (c *checker) undisturbed(h *hostView, from, to int64) time.Duration {
	return without(slices.Concat(c.faults, h.frozen), from, to)
}

// mayBeStale reports whether a broker may have told an assignment that began
// at from an offset older than one that was acknowledged at a time: the last
// of a coordinator, which the next one may not know to be replicated for a
// second (see commitLog).
func (c *checker) mayBeStale(acknowledged, from int64) bool {
	const (
		before = int64(2 * time.Second)  // a replica learns of it with its next fetch
		after  = int64(30 * time.Second) // a broker is missed after seconds, and away for some more
	)
	return slices.ContainsFunc(c.faults, func(d disturbance) bool {
		return d.coordinator && acknowledged > d.from-before && acknowledged < d.from+before/2 && from > d.from && from < d.from+after
	})
}
