package main

import (
	"slices"
	"time"
)

// An assignmentView is what one host did with a partition while it had it.
type assignmentView struct {
	host     string
	from, to int64 // when; to is 0 while it goes on
	moved    int64 // when something of it moved last, or nothing waited
	named    int64 // when the host's state named it last
	fromLine int64 // which line said so
	toLine   int64
	how      string          // it ended: the empty string is gracefully
	first    int64           // offset, -1 if nothing was called
	last     int64           // the largest offset that was called, or is to be delivered
	pending  []int64         // what was called, or is to be delivered, and is not done with, in order
	done     map[int64]bool  // what is, at or above taken
	tried    map[int64]tries // of what is pending
	taken    int64           // the last offset that was committed
	running  *callView
	called   int64           // the largest offset that was called; what is pending after it is only to be
	given    int64           // the record that was delivered last, -1 once something else was done
	owed     int64           // the record that a destination did not take, and has to be offered next, -1 if there is none
	rival    *assignmentView // the next one that got it while this one went on
	spared   int64           // it ended gracefully, and these do not come again although they are above its frontier
}

// tries are what was said of a record before it is given up.
type tries struct {
	failed              int
	permanent, tooLarge bool
}

// How an assignment can end, if not gracefully or as a host says.
const (
	killed = "killed"
	lost   = "lost"
)

// frontier is the offset below which this assignment is done with all, -1 if it
// has begun with nothing.
func (a *assignmentView) frontier() int64 {
	switch {
	case len(a.pending) > 0:
		return a.pending[0]
	case a.first < 0:
		return -1
	}
	return a.last + 1
}

// again reports whether something that was called is not done with: then only
// that may be called.
func (a *assignmentView) again() bool { return len(a.pending) > 0 && a.pending[0] <= a.called }

func (a *assignmentView) isPending(o int64) bool {
	_, is := slices.BinarySearch(a.pending, o)
	return is
}

// above counts what is done with above the frontier.
func (a *assignmentView) above() (n int64) {
	for o := range a.done {
		if o >= a.frontier() {
			n++
		}
	}
	return n
}

func (c *checker) assigned(l line, h *hostView, p *partitionView) {
	a := &assignmentView{host: l.Host, from: l.At, moved: l.At, fromLine: c.lines, first: -1, last: -1, called: -1, taken: -1, given: -1, owed: -1, done: map[int64]bool{}, tried: map[int64]tries{}}
	if old := h.has[p.n]; old != nil {
		c.broken(l, p, "it is assigned twice")
	}
	for _, old := range p.all {
		// A host that was cut off does not know yet that it has lost the
		// partition. It will have to say so.
		if old.to == 0 && old.host != l.Host && old.rival == nil {
			old.rival = a
		}
	}
	h.has[p.n] = a
	p.all = append(p.all, a)
}

// revoked takes partitions from a host. What it says will come again is of what
// had been done with above their frontiers: what the commits had no room for.
func (c *checker) revoked(l line, h *hostView) {
	how, above := "", int64(0)
	switch {
	case l.Lost:
		how = lost
	case l.Err != "":
		how = "its commit failed: " + l.Err
	case l.Cancelled > 0:
		how = "calls were cancelled"
	}
	for _, in := range l.Parts {
		above += c.ended(l, h, c.parts[in.Partition], how)
	}
	if how == "" && int64(l.Again) > above {
		c.broken(l, c.parts[l.Parts[0].Partition], "it says that %d records come again, and had done with %d above what was committed", l.Again, above)
	}
	for _, in := range l.Parts {
		if a := h.had[in.Partition]; how == "" && l.Again > 0 && a != nil { // of which, nobody says
			c.parts[in.Partition].mayRepeat += a.spared
			a.spared = 0
		}
	}
}

func (c *checker) endAll(l line, h *hostView, how string) {
	for n := range h.has {
		c.ended(l, h, c.parts[n], how)
	}
}

// ended takes a partition from a host. It returns how many records it had done
// with above the frontier.
func (c *checker) ended(l line, h *hostView, p *partitionView, how string) (above int64) {
	a := h.has[p.n]
	if a == nil {
		c.broken(l, p, "it is given up, and was not assigned")
		return 0
	}
	delete(h.has, p.n)
	h.had[p.n] = a
	a.to, a.toLine, a.how = l.At, c.lines, how
	above = a.above()
	switch {
	case how == "":
		if a.running != nil {
			c.broken(l, p, "it is given up while call %s runs", a.running.id)
		}
		if a.rival != nil && c.undisturbed(h, a.rival.from, l.At) > heard {
			c.broken(l, p, "it is given up as if it had been owned, and %s was assigned it at %s", a.rival.host, clock(a.rival.from))
		}
		a.spared = above // its commit says so
		if c.calm(h, l.At) {
			c.did.add(calmEnd)
		}
	default:
		h.ungraceful = append(h.ungraceful, l.At)
		if how != killed && c.calm(h, l.At) {
			c.broken(l, p, "it ended with no need (%s): nothing was broken in the %s before", how, near)
		}
		c.overlapped(l, h, p, a)
		if a.first >= 0 {
			c.ungraceful++
			p.mayRepeat += int64(len(a.done))
		}
	}
	return above
}

// overlapped judges for how long two hosts have had a partition.
func (c *checker) overlapped(l line, h *hostView, p *partitionView, a *assignmentView) {
	if a.rival == nil {
		return
	}
	both := c.undisturbed(h, a.rival.from, l.At)
	c.longest.overlap = max(c.longest.overlap, int64(both))
	if both > overlap {
		c.broken(l, p, "%s had it for %s beside %s, while nothing was broken", a.rival.host, both.Round(time.Millisecond), a.host)
		a.rival = nil // said
	}
}

// begins judges where an assignment begins.
func (c *checker) begins(l line, p *partitionView, a *assignmentView, first int64) {
	if !p.pass(first, l.At, l.Host+" began after it") {
		c.broken(l, p, "it begins with %d, and %d was not handled", first, p.below)
		return
	}
	unseen := first // all below it was committed, and the broker may not have known
	for _, t := range p.commits {
		switch {
		case t.at >= a.from || t.offset <= first:
		case c.mayBeStale(t.at, a.from):
			unseen = max(unseen, t.offset)
		default:
			c.broken(l, p, "it begins with %d, and %d was committed at %s, before it was assigned", first, t.offset, clock(t.at))
			return
		}
	}
	for _, old := range p.all {
		switch {
		case old.to == 0 || old.to >= a.from || old.how != "" || old.first < 0:
			continue
		case old.spared > 0 && (c.mayBeStale(old.to, a.from) || c.brokenSince(old.to, l.At)):
			// The coordinator may have an older commit, which says less. And the high
			// watermark that a new leader begins with may be below what it says: then
			// nothing of it is believed.
			p.mayRepeat += old.spared
			old.spared = 0
		}
		switch {
		case old.frontier() <= first:
		case c.mayBeStale(old.to, a.from):
			unseen = max(unseen, old.frontier())
		default:
			c.broken(l, p, "it begins with %d, and %s gave it up gracefully with all below %d done", first, old.host, old.frontier())
			return
		}
	}
	if unseen > first {
		c.stale++
		p.mayRepeat += unseen - first
	}
	// What is older than this one's beginning has been judged by it.
	p.all = slices.Clone(p.unended(a))
	if n := len(p.commits); n > 1000 {
		best := mark{}
		for _, t := range p.commits[:n-10] {
			if t.offset > best.offset {
				best = t
			}
		}
		p.commits = append([]mark{best}, p.commits[n-10:]...)
	}
}

// unended are the assignments that may still matter: those that go on, those
// that ended last, and the newest.
func (p *partitionView) unended(a *assignmentView) (keep []*assignmentView) {
	for i, old := range p.all {
		if old.to == 0 || old == a || i >= len(p.all)-8 {
			keep = append(keep, old)
		}
	}
	return keep
}

// committed takes a commit that a host was told of.
func (c *checker) committed(l line, h *hostView, p *partitionView, offset int64) {
	p.commits = append(p.commits, mark{l.At, offset})
	a := h.has[p.n]
	switch {
	case !p.pass(offset, l.At, "a commit passed it"):
		c.broken(l, p, "%d is committed, and %d was not handled", offset, p.below)
	case a == nil || a.first < 0:
	case len(a.pending) > 0 && offset > a.pending[0], p.kind == noHoles && offset > p.beyond(a.frontier()):
		c.broken(l, p, "%d is committed, and this host has done all below %d", offset, a.frontier())
	}
	if a != nil && offset > a.taken {
		a.taken, a.moved = offset, l.At
		for o := range a.done {
			if o < offset {
				delete(a.done, o)
			}
		}
	}
}
