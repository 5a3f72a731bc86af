// Package offset tracks which offsets of one partition are settled, and from
// that the frontier: the offset below which everything is.
package offset

import (
	"cmp"
	"slices"
)

// A Tracker holds the frontier of one partition and what is settled above it.
//
// # The invariant
//
// Every offset below Frontier is settled, and Frontier moves only forward.
// A commit of Frontier therefore never passes a record that still has work to
// do, whatever the order in which work ends.
//
// # Offsets have gaps
//
// Compaction removes records, transactions leave markers, aborted records are
// never shown. A tracker that counted offsets would wait for ever for one that
// does not exist. So nobody counts: a record settles the range from the end of
// what arrived before it up to and including itself, and the gap in front of a
// record is settled with the record. The ranges of successive arrivals touch,
// which is all that the frontier needs.
//
// # The rejected design
//
// A bit per offset, or a map, costs work per record, and almost all batches
// settle whole and in order. Here that common case moves one integer. What is
// settled out of order is kept as disjoint, sorted ranges: there are as many
// as there are holes, not as many as there are records.
//
// The zero value tracks from offset 0. A Tracker is not safe for concurrent
// use.
type Tracker struct {
	frontier int64
	above    []settled // disjoint, not touching, sorted, all above frontier
}

// settled is the half-open range [lo, hi), with the number of records in it.
// Records are counted apart from offsets, because the range has gaps.
type settled struct {
	lo, hi  int64
	records int
}

// New returns a tracker whose frontier is at start.
func New(start int64) Tracker { return Tracker{frontier: start} }

// Frontier is the offset below which everything is settled. It is the value to
// commit: the next offset that somebody else would have to read.
func (t *Tracker) Frontier() int64 { return t.frontier }

// Settle marks the offsets of [lo, hi), which hold this many records, as
// settled, and reports whether the frontier moved. Offsets that are settled
// already stay so. An empty range does nothing.
func (t *Tracker) Settle(lo, hi int64, records int) bool {
	if hi <= lo || hi <= t.frontier {
		return false
	}
	if lo <= t.frontier {
		t.frontier = hi
		t.absorb()
		return true
	}
	t.insert(settled{lo, hi, records})
	return false
}

// Above returns the number of records that are settled above the frontier: a
// commit of the frontier does not cover them, and they come again if this
// process ends now.
func (t *Tracker) Above() int {
	n := 0
	for i := range t.above {
		n += t.above[i].records
	}
	return n
}

// Has reports whether an offset is settled.
func (t *Tracker) Has(at int64) bool {
	i, found := slices.BinarySearchFunc(t.above, at, func(r settled, at int64) int { return cmp.Compare(r.lo, at) })
	return at < t.frontier || found || i > 0 && at < t.above[i-1].hi
}

// Holes calls f with each range of [lo, hi) that is not settled, in order.
func (t *Tracker) Holes(lo, hi int64, f func(lo, hi int64)) {
	lo = max(lo, t.frontier)
	for _, r := range t.above {
		if r.lo >= hi {
			break
		}
		if lo < r.lo {
			f(lo, r.lo)
		}
		lo = max(lo, r.hi)
	}
	if lo < hi {
		f(lo, hi)
	}
}

// End is the offset from which on nothing is settled.
func (t *Tracker) End() int64 {
	if n := len(t.above); n > 0 {
		return t.above[n-1].hi
	}
	return t.frontier
}

// Below returns a tracker of what is settled below an offset: what was settled
// from there on is forgotten. Of a range that is cut, at most as many records
// count as it has offsets left.
func (t *Tracker) Below(at int64) Tracker {
	b := Tracker{frontier: min(t.frontier, at)}
	for _, r := range t.above {
		if r.lo >= at {
			break
		}
		if r.hi > at {
			r.hi = at
			r.records = min(r.records, int(r.hi-r.lo))
		}
		b.above = append(b.above, r)
	}
	return b
}

// absorb moves the frontier over every range that it has reached.
func (t *Tracker) absorb() {
	n := 0
	for n < len(t.above) && t.above[n].lo <= t.frontier {
		t.frontier = max(t.frontier, t.above[n].hi)
		n++
	}
	if n > 0 {
		t.above = slices.Delete(t.above, 0, n)
	}
}

// insert adds a range above the frontier and merges it with all that it
// overlaps or touches.
func (t *Tracker) insert(s settled) {
	// from is the first range that ends at or after s begins, to the first
	// that begins after s ends: those in between become one with s.
	from, _ := slices.BinarySearchFunc(t.above, s.lo, func(r settled, lo int64) int {
		if r.hi < lo {
			return -1
		}
		return 1
	})
	to := from
	for to < len(t.above) && t.above[to].lo <= s.hi {
		r := t.above[to]
		switch {
		case r.lo <= s.lo && s.hi <= r.hi:
			return // known already
		case s.lo <= r.lo && r.hi <= s.hi:
			s.records = max(s.records, r.records)
		default:
			s.records += r.records
		}
		s.lo, s.hi = min(s.lo, r.lo), max(s.hi, r.hi)
		to++
	}
	t.above = slices.Replace(t.above, from, to, s)
}
