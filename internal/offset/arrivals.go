package offset

import (
	"iter"
	"math/bits"
	"slices"
	"sort"
)

// arrivals are records that end in any order, each of which is a bit. They are
// numbered as they are noted, and touch: each begins where the one before it
// ends.
//
// They stand in blocks of 64. A block keeps the offsets of its records for as
// long as one of them is not settled; then it is three words, so that a long
// stretch that is settled behind one record that is not takes 3 bits a record.
type arrivals struct {
	blocks []block
	base   int        // the number of the first one of the first block
	head   int        // the number of the first one that the frontier has not passed,
	from   int64      // and where that begins
	next   int        // the number after the last one
	spare  *[64]int64 // for the next block
}

type block struct {
	done uint64     // a bit for each that is settled
	end  int64      // where the last one ends
	ends *[64]int64 // where each ends; nil if all are settled
}

const whole = ^uint64(0)

// none reports whether there is none that the frontier has not passed.
func (a *arrivals) none() bool { return a.head == a.next }

// note appends records. See Tracker.Note.
func (a *arrivals) note(from int64, ends iter.Seq[int64]) (first int) {
	if a.none() {
		a.base, a.from = a.next, from
	}
	first = a.next
	for end := range ends {
		i := (a.next - a.base) % 64
		if i == 0 {
			if a.spare == nil {
				a.spare = new([64]int64)
			}
			a.blocks = append(a.blocks, block{ends: a.spare})
			a.spare = nil
		}
		b := &a.blocks[len(a.blocks)-1]
		b.ends[i], b.end = end, end
		a.next++
	}
	return first
}

// settle marks one, and reports whether it is the first that the frontier has not
// passed.
func (a *arrivals) settle(n int) bool {
	if n < a.head || n >= a.next {
		return false
	}
	b := &a.blocks[(n-a.base)/64]
	if b.done |= 1 << ((n - a.base) % 64); b.done == whole {
		a.release(b)
	}
	return n == a.head
}

// release gives up the offsets of a block.
func (a *arrivals) release(b *block) {
	if b.ends != nil {
		a.spare, b.ends = b.ends, nil
	}
}

// stretch returns the number after the last one that is settled, or not, like one,
// in a row within a block, and where that row ends.
func (a *arrivals) stretch(n int) (next int, end int64, done bool) {
	b, i := &a.blocks[(n-a.base)/64], (n-a.base)%64
	next = min(n-i+64, a.next) // the end of the block
	if b.done == whole {
		return next, b.end, true
	}
	row := b.done >> i
	if done = row&1 != 0; done {
		row = ^row
	}
	next = min(n+bits.TrailingZeros64(row), next)
	return next, b.ends[next-1-(n-i)], done
}

// pass returns how far the frontier gets from an offset on.
func (a *arrivals) pass(frontier int64) int64 {
	if a.none() {
		return frontier
	}
	for a.head < a.next && a.from <= frontier {
		next, end, done := a.stretch(a.head)
		if !done {
			// What is settled as a range may cover some of these.
			b := &a.blocks[(a.head-a.base)/64]
			if end = b.ends[(a.head-a.base)%64]; end > frontier {
				break
			}
			next = a.head + 1
		}
		a.head, a.from, frontier = next, end, max(frontier, end)
	}
	switch n := (a.head - a.base) / 64; {
	case a.none():
		a.spare, a.blocks = nil, nil
	case n > 0:
		a.release(&a.blocks[n-1])
		a.blocks = slices.Delete(a.blocks, 0, n)
		a.base += 64 * n
	}
	return frontier
}

// count returns how many are settled that end after an offset, and that the
// frontier has not passed. Of a block of which all are settled, all count.
func (a *arrivals) count(at int64) (n int) {
	for i := a.search(at); i < len(a.blocks); i++ {
		b := a.blocks[i]
		if first := a.head - a.base - 64*i; first > 0 {
			b.done &= whole << first
		}
		if b.ends != nil {
			b.done &= whole << a.after(i, at)
		}
		n += bits.OnesCount64(b.done)
	}
	return n
}

// search returns the first block that ends after an offset.
func (a *arrivals) search(at int64) int {
	return sort.Search(len(a.blocks), func(i int) bool { return a.blocks[i].end > at })
}

// after returns the first one of a block that ends after an offset, if its
// offsets are kept.
func (a *arrivals) after(block int, at int64) int {
	n := min(64, a.next-a.base-64*block)
	return sort.Search(n, func(i int) bool { return a.blocks[block].ends[i] > at })
}

// has reports whether an offset is settled, that the frontier has not passed.
func (a *arrivals) has(at int64) bool {
	i := a.search(at)
	if i == len(a.blocks) || at < a.from {
		return false
	}
	b := &a.blocks[i]
	return b.ends == nil || b.done>>a.after(i, at)&1 != 0
}

// end is where the last one ends that is settled, if that is after an offset, or
// that.
func (a *arrivals) end(at int64) int64 {
	for i := len(a.blocks) - 1; i >= 0; i-- {
		switch b := &a.blocks[i]; {
		case b.ends == nil:
			return max(at, b.end)
		case b.done != 0:
			return max(at, b.ends[bits.Len64(b.done)-1])
		}
	}
	return at
}

// cursor goes over the runs that are settled and that the frontier has not passed.
func (a *arrivals) cursor() cursor { return cursor{a, a.head, a.from} }

type cursor struct {
	arrivals *arrivals
	n        int
	at       int64 // where it begins
}

// next returns the next run, or false.
func (c *cursor) next() (Run, bool) {
	r := Run{c.at, c.at}
	for c.n < c.arrivals.next {
		next, end, done := c.arrivals.stretch(c.n)
		if !done && r.Lo < r.Hi {
			return r, true
		}
		if c.n, c.at = next, end; !done {
			r.Lo = end
		}
		r.Hi = end
	}
	return r, r.Lo < r.Hi
}
