// Package offset tracks which offsets of one partition are settled, and from
// that the frontier: the offset below which everything is.
package offset

import (
	"iter"
	"slices"
	"sort"
)

// A Tracker holds the frontier of one partition and what is settled above it.
//
// # The invariant
//
// Every offset below Frontier is settled, and Frontier moves only forward.
// A commit of Frontier therefore never passes a record that still has work to
// do, whatever the order in which work ends. What holds the frontier is that
// nobody said that something is settled, never a list of what is not: a record
// that a bug forgets stops its partition, and is not lost.
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
// # Three ways to be settled
//
// Almost all batches settle whole and in order: then there is nothing above the
// frontier, and Settle moves one integer.
//
// Records that end in another order are noted first, as arrivals, with a number
// each. From then on each is a bit: see arrivals.
//
// What comes settled, such as the marker of a transaction, or what retention
// took, is a range that nobody has to note before. Ranges come in order, one
// behind the other, so they are a sorted slice. A range that lies in the gap in
// front of a record is settled whatever becomes of the record.
//
// # The rejected designs
//
// A bit per offset costs work for offsets that do not exist, and a map costs
// work for each record. One sorted slice for everything, which this was, costs
// nothing as long as the records of a batch end in order, and moves a lot where
// the ends are scattered: up to 1,450 ns a record. To derive the frontier from
// what is not settled would cost nothing, but see the invariant.
//
// The zero value tracks from offset 0. A Tracker is not safe for concurrent
// use.
type Tracker struct {
	frontier int64
	above    []settled // disjoint, not touching, sorted, all above frontier
	noted    arrivals  // none of which is wholly below the frontier, but for some of the first block
}

// A Run is a half-open range of offsets.
type Run struct{ Lo, Hi int64 }

// settled is a run with the number of records in it. Records are counted apart
// from offsets, because the range has gaps.
type settled struct {
	Run
	records int
}

// New returns a tracker whose frontier is at start.
func New(start int64) Tracker { return Tracker{frontier: start} }

// Frontier is the offset below which everything is settled. It is the value to
// commit: the next offset that somebody else would have to read.
func (t *Tracker) Frontier() int64 { return t.frontier }

// Settle marks the offsets of [lo, hi), which hold this many records, as
// settled, and reports whether the frontier moved. Offsets that are settled
// already stay so. An empty range does nothing. Records that were noted are
// counted by SettleArrival only.
func (t *Tracker) Settle(lo, hi int64, records int) bool {
	if hi <= lo || hi <= t.frontier {
		return false
	}
	if lo <= t.frontier {
		if t.frontier = hi; len(t.above) > 0 || !t.noted.none() {
			t.absorb()
		}
		return true
	}
	t.insert(settled{Run{lo, hi}, records})
	return false
}

// Note notes records that end at offsets, in order, with the gap in front of
// each: the first one begins at from, unless records before it are noted. It
// returns the number of the first; the others have the numbers after it. They
// come after all that was noted before and is not settled.
func (t *Tracker) Note(from int64, ends iter.Seq[int64]) (first int) {
	return t.noted.note(from, ends)
}

// SettleArrival marks a record that was noted as settled, by its number, and
// reports whether the frontier moved.
func (t *Tracker) SettleArrival(n int) bool {
	if t.noted.settle(n) {
		was := t.frontier
		t.absorb()
		return t.frontier > was
	}
	return false
}

// Whole reports whether nothing is settled above the frontier.
func (t *Tracker) Whole() bool { return len(t.above) == 0 && t.noted.count(t.frontier) == 0 }

// Above returns the number of records that are settled above the frontier: a
// commit of the frontier alone does not cover them.
func (t *Tracker) Above() int { return t.AboveFrom(t.frontier) }

// AboveFrom returns the number of records that are settled above the frontier,
// from an offset on. A range counts whole if it ends after it.
func (t *Tracker) AboveFrom(at int64) int {
	n := 0
	for i := range t.above {
		if t.above[i].Hi > at {
			n += t.above[i].records
		}
	}
	return n + t.noted.count(max(at, t.frontier))
}

// Runs yields what is settled above the frontier, as runs that do not touch, in
// order, and whether there are records in each.
func (t *Tracker) Runs() iter.Seq2[Run, bool] {
	return func(yield func(Run, bool) bool) {
		i, c := 0, t.noted.cursor()
		noted, more := c.next()
		last, records := Run{Lo: t.frontier, Hi: t.frontier}, false
		for {
			var r Run
			has := true
			switch {
			case i < len(t.above) && (!more || t.above[i].Lo <= noted.Lo):
				r, has = t.above[i].Run, t.above[i].records > 0
				i++
			case more:
				r = noted
				noted, more = c.next()
			default:
				if last.Lo < last.Hi {
					yield(last, records)
				}
				return
			}
			if r.Lo > last.Hi {
				if last.Lo < last.Hi && !yield(last, records) {
					return
				}
				last, records = r, false
			}
			last.Hi, records = max(last.Hi, r.Hi), records || has
		}
	}
}

// Has reports whether an offset is settled.
func (t *Tracker) Has(at int64) bool {
	i := sort.Search(len(t.above), func(i int) bool { return t.above[i].Hi > at })
	return at < t.frontier || i < len(t.above) && t.above[i].Lo <= at || t.noted.has(at)
}

// Holes calls f with each range of [lo, hi) that is not settled, in order.
func (t *Tracker) Holes(lo, hi int64, f func(lo, hi int64)) {
	lo = max(lo, t.frontier)
	for r := range t.Runs() {
		if r.Lo >= hi {
			break
		}
		if lo < r.Lo {
			f(lo, r.Lo)
		}
		lo = max(lo, r.Hi)
	}
	if lo < hi {
		f(lo, hi)
	}
}

// End is the offset from which on nothing is settled.
func (t *Tracker) End() int64 {
	end := t.noted.end(t.frontier)
	if n := len(t.above); n > 0 {
		end = max(end, t.above[n-1].Hi)
	}
	return end
}

// Below returns a tracker of what is settled below an offset: what was settled
// from there on is forgotten, and what was noted is not noted any more. Of a
// range that is cut, at most as many records count as it has offsets left.
func (t *Tracker) Below(at int64) Tracker {
	b := Tracker{frontier: min(t.frontier, at)}
	for r := range t.Runs() {
		if r.Lo >= at {
			break
		}
		records := t.AboveFrom(r.Lo) - t.AboveFrom(r.Hi)
		if r.Hi > at {
			r.Hi = at
			records = min(records, int(r.Hi-r.Lo))
		}
		b.above = append(b.above, settled{r, records})
	}
	return b
}

// absorb moves the frontier over all that it has reached.
func (t *Tracker) absorb() {
	for {
		n := 0
		for n < len(t.above) && t.above[n].Lo <= t.frontier {
			t.frontier = max(t.frontier, t.above[n].Hi)
			n++
		}
		if n > 0 {
			t.above = slices.Delete(t.above, 0, n)
		}
		was := t.frontier
		t.frontier = t.noted.pass(was)
		if len(t.above) == 0 || t.frontier == was {
			return
		}
	}
}

// insert adds a range above the frontier and merges it with all that it
// overlaps or touches.
func (t *Tracker) insert(s settled) {
	// Between from and to are those that become one with s.
	from := sort.Search(len(t.above), func(i int) bool { return t.above[i].Hi >= s.Lo })
	to := from
	for to < len(t.above) && t.above[to].Lo <= s.Hi {
		r := t.above[to]
		switch {
		case r.Lo <= s.Lo && s.Hi <= r.Hi:
			return // known already
		case s.Lo <= r.Lo && r.Hi <= s.Hi:
			s.records = max(s.records, r.records)
		default:
			s.records += r.records
		}
		s.Lo, s.Hi = min(s.Lo, r.Lo), max(s.Hi, r.Hi)
		to++
	}
	t.above = slices.Replace(t.above, from, to, s)
}
