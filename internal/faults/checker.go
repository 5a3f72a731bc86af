package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A checker judges what the hosts say, in the order of their clocks.
//
// Of each partition it keeps who was assigned it, and of each assignment what
// was called, handled and committed. It says that a promise was broken if
//
//   - a partition has two calls at once in one assignment, or a call that is
//     of no assignment, or one that begins after the partition was given up
//     (invariants 1 and 4);
//   - an assignment does not handle its records one after the other: a retry
//     holds only what failed, and what follows waits for it (invariant 2);
//   - an assignment begins after a record that nobody has handled, or an
//     offset is committed after one (invariant 3);
//   - an assignment begins before an offset that the broker had taken when it
//     was assigned, or before the frontier of the one before it, if that was
//     given up gracefully: so all that a crash may repeat is what was settled
//     since the last commit, and what was in flight (invariant 5). What a
//     coordinator took in its last seconds is no breach: the next one may not
//     know of it yet;
//   - two hosts have a partition at once, and the first one does not lose it;
//   - a position moves backward, records are missed, a host cannot start, or
//     one asks the brokers without a pause.
type checker struct {
	parts      []*partitionView
	hosts      map[string]*hostView
	violations []string

	calls, handled, repeats int64
	// mayRepeat is how many records had been handled and not committed when
	// an assignment ended without grace.
	mayRepeat, ungraceful int64
	problems              int64 // that the hosts named in their states
	// faults are when a broker was taken from the group. Of what an
	// assignment did again because of one, stale is how often.
	faults []int64
	stale  int64
	// busiest is the most fetches of a host in a second, since it was read.
	busiest struct {
		host    string
		fetches int64
	}
}

// A partitionView is what is known of one partition.
type partitionView struct {
	n       int32
	times   []uint8 // how often each offset was handled
	below   int64   // all offsets below it were handled
	commits []commitView
	all     []*assignmentView // in the order in which they began
	recent  []string          // the last lines, for who looks for the cause
}

type commitView struct {
	at     int64
	offset int64
}

// An assignmentView is what one host did with a partition while it had it.
type assignmentView struct {
	host     string
	from, to int64  // when; to is 0 while it goes on
	how      string // it ended: the empty string is gracefully
	first    int64  // offset, -1 if nothing was called
	last     int64  // the largest offset that was called
	pending  map[int64]bool
	handled  map[int64]bool // at or above frontier
	frontier int64          // all from first to below it were handled
	taken    int64          // the last offset that was committed
	call     string         // that runs
	rival    *assignmentView
}

// A callView is what a call holds of one partition.
type callView struct {
	part       part
	assignment *assignmentView // nil if there was none
}

type hostView struct {
	has   map[int32]*assignmentView
	calls map[string][]callView // that run, by ID

	started, stopped             bool
	goroutines, heap, held       int64 // at most
	fetches, busy, busiest       int64 // in a second at most; seconds in a row with too many, and at most
	goroutinesNow, heapNow, seen int64
	early                        struct{ goroutines, heap int64 } // at most, in the first half minute
}

func newChecker(partitions int) *checker {
	c := &checker{hosts: map[string]*hostView{}}
	for n := range int32(partitions) {
		c.parts = append(c.parts, &partitionView{n: n})
	}
	return c
}

func (c *checker) broken(l line, p *partitionView, format string, args ...any) {
	s := fmt.Sprintf("%s %s: %s", time.Unix(0, l.At).Format("15:04:05.000"), l.Host, fmt.Sprintf(format, args...))
	if p != nil {
		s = fmt.Sprintf("partition %d: %s", p.n, s)
		for _, r := range p.recent {
			s += "\n      " + r
		}
	}
	c.violations = append(c.violations, s)
}

func (c *checker) host(name string) *hostView {
	h := c.hosts[name]
	if h == nil {
		h = &hostView{has: map[int32]*assignmentView{}, calls: map[string][]callView{}}
		c.hosts[name] = h
	}
	return h
}

// observe takes the next line.
func (c *checker) observe(l line) {
	if l.Kind == lineFault {
		c.faults = append(c.faults, l.At)
		return
	}
	h := c.host(l.Host)
	for _, p := range l.Parts {
		c.parts[p.Partition].note(l, p)
	}
	switch l.Kind {
	case lineStarted:
		h.started = true
	case lineAssigned:
		for _, p := range l.Parts {
			c.assigned(l, h, c.parts[p.Partition])
		}
	case lineRevoked:
		for _, p := range l.Parts {
			how := ""
			switch {
			case l.Lost:
				how = "lost"
			case l.Err != "":
				how = "commit failed: " + l.Err
			case l.Cancelled > 0:
				how = "cancelled"
			}
			c.ended(l, h, c.parts[p.Partition], how)
		}
	case lineCall:
		c.called(l, h)
	case lineEnd:
		c.returned(l, h)
	case lineCommitted:
		for _, p := range l.Parts {
			c.committed(l, h, c.parts[p.Partition], p.Offset)
		}
	case lineReset:
		c.broken(l, c.parts[l.Parts[0].Partition], "the position moved backward over %v: %s", l.Parts[0].Spans, l.Err)
	case lineGone:
		c.broken(l, c.parts[l.Parts[0].Partition], "offsets %v were there, and are called lost", l.Parts[0].Spans)
	case lineStats:
		c.sample(l, h)
	case lineProblem:
		c.problems++
	case lineGarbled:
		c.broken(l, nil, "it says what cannot be read: %s", l.Err)
	case lineEnded:
		if !h.stopped {
			c.broken(l, nil, "it ended by itself: %s", l.Err)
		}
	case lineKilled:
		if h.stopped {
			break // it had stopped before
		}
		h.calls = map[string][]callView{}
		c.endAll(l, h, "killed")
		h.stopped = true
	case lineStopped:
		if !h.started && l.Err != "" {
			c.broken(l, nil, "%s", l.Err)
		}
		how := ""
		if l.Err != "" {
			how = "stop: " + l.Err
		}
		c.endAll(l, h, how)
		h.stopped = true
	}
}

func (p *partitionView) note(l line, in part) {
	s := fmt.Sprintf("%s %-3s %s", time.Unix(0, l.At).Format("15:04:05.000"), l.Host, l.Kind)
	switch l.Kind {
	case lineCall, lineEnd, lineReset:
		s += fmt.Sprintf(" %s %v", l.Call, in.Spans)
	case lineCommitted:
		s += fmt.Sprintf(" %d", in.Offset)
	case lineRevoked:
		s += fmt.Sprintf(" lost=%v cancelled=%d %s", l.Lost, l.Cancelled, l.Err)
	}
	if len(p.recent) == 60 {
		p.recent = p.recent[1:]
	}
	p.recent = append(p.recent, s)
}

func (c *checker) assigned(l line, h *hostView, p *partitionView) {
	a := &assignmentView{host: l.Host, from: l.At, first: -1, last: -1, taken: -1, pending: map[int64]bool{}, handled: map[int64]bool{}}
	if old := h.has[p.n]; old != nil {
		c.broken(l, p, "it is assigned twice")
	}
	for _, old := range p.all {
		// A host that was cut off does not know yet that it has lost the
		// partition. It will have to say so.
		if old.to == 0 && old.host != l.Host {
			old.rival = a
		}
	}
	h.has[p.n] = a
	p.all = append(p.all, a)
}

func (c *checker) endAll(l line, h *hostView, how string) {
	for n := range h.has {
		c.ended(l, h, c.parts[n], how)
	}
}

func (c *checker) ended(l line, h *hostView, p *partitionView, how string) {
	a := h.has[p.n]
	if a == nil {
		c.broken(l, p, "it is given up, and was not assigned")
		return
	}
	delete(h.has, p.n)
	a.to, a.how = l.At, how
	if how == "" && a.call != "" {
		c.broken(l, p, "it is given up while call %s runs", a.call)
	}
	if how == "" && a.rival != nil {
		c.broken(l, p, "it is given up as if it had been owned, and %s was assigned it at %s", a.rival.host, time.Unix(0, a.rival.from).Format("15:04:05.000"))
	}
	if how != "" && a.first >= 0 {
		c.ungraceful++
		since := max(a.taken, a.first)
		c.mayRepeat += max(0, a.frontier-since)
		for o := range a.handled {
			if o >= max(a.frontier, since) {
				c.mayRepeat++
			}
		}
	}
	if how == "" {
		c.mayRepeat += int64(len(a.handled)) // settled above the frontier: said by Stop and by the hook
	}
}

func (c *checker) called(l line, h *hostView) {
	c.calls++
	for _, in := range l.Parts {
		p := c.parts[in.Partition]
		a := h.has[p.n]
		h.calls[l.Call] = append(h.calls[l.Call], callView{in, a})
		if a == nil {
			c.broken(l, p, "it is called, and is not assigned")
			continue
		}
		if a.call != "" {
			c.broken(l, p, "two calls at once: %s and %s", a.call, l.Call)
			continue
		}
		a.call = l.Call
		c.inOrder(l, p, a, in)
	}
}

// inOrder judges which offsets a call holds.
func (c *checker) inOrder(l line, p *partitionView, a *assignmentView, in part) {
	retry := len(a.pending) > 0
	at := int64(-1)
	for _, s := range in.Spans {
		if s[0] <= at || s[1] < s[0] {
			c.broken(l, p, "offsets are not in order: %v", in.Spans)
			return
		}
		for o := s[0]; o <= s[1]; o++ {
			switch {
			case retry && !a.pending[o]:
				c.broken(l, p, "offset %d is called while %d records before it are not done", o, len(a.pending))
				return
			case retry:
			case a.first < 0:
				c.begins(l, p, a, o)
				a.first, a.last, a.frontier = o, o, o
			case o != a.last+1:
				c.broken(l, p, "offset %d is called after %d", o, a.last)
				return
			default:
				a.last = o
			}
		}
		at = s[1]
	}
	for _, s := range in.Spans {
		for o := s[0]; o <= s[1]; o++ {
			a.pending[o] = true
		}
	}
}

// begins judges where an assignment begins.
func (c *checker) begins(l line, p *partitionView, a *assignmentView, first int64) {
	if first > p.below {
		c.broken(l, p, "it begins with %d, and %d was not handled", first, p.below)
	}
	unseen := first // all below it was committed, and the broker may not have known
	for _, t := range p.commits {
		switch {
		case t.at >= a.from || t.offset <= first:
		case c.mayBeStale(t.at, a.from):
			unseen = max(unseen, t.offset)
		default:
			c.broken(l, p, "it begins with %d, and %d was committed at %s, before it was assigned", first, t.offset, time.Unix(0, t.at).Format("15:04:05.000"))
			return
		}
	}
	for _, old := range p.all {
		switch {
		case old.to == 0 || old.to >= a.from || old.how != "" || old.first < 0 || old.frontier <= first:
		case c.mayBeStale(old.to, a.from):
			unseen = max(unseen, old.frontier)
		default:
			c.broken(l, p, "it begins with %d, and %s gave it up gracefully with all below %d done", first, old.host, old.frontier)
			return
		}
	}
	if unseen > first {
		c.stale++
		c.mayRepeat += unseen - first
	}
	// What is older than this one's beginning has been judged by it.
	p.all = append(p.all[:0:0], p.unended(a)...)
	if n := len(p.commits); n > 1000 {
		best := commitView{}
		for _, t := range p.commits[:n-10] {
			if t.offset > best.offset {
				best = t
			}
		}
		p.commits = append([]commitView{best}, p.commits[n-10:]...)
	}
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
	return slices.ContainsFunc(c.faults, func(fault int64) bool {
		return acknowledged > fault-before && acknowledged < fault+before/2 && from > fault && from < fault+after
	})
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

func (c *checker) returned(l line, h *hostView) {
	of := map[int32]*assignmentView{}
	for _, in := range h.calls[l.Call] {
		if a := in.assignment; a != nil && a.call == l.Call {
			a.call = ""
			of[in.part.Partition] = a
		}
	}
	delete(h.calls, l.Call)
	for _, in := range l.Parts {
		p, a := c.parts[in.Partition], of[in.Partition]
		for _, s := range in.Spans {
			for o := s[0]; o <= s[1]; o++ {
				c.handled++
				if p.count(o) > 1 {
					c.repeats++
				}
				switch {
				case a == nil:
				case a.to != 0: // a call that outlived its assignment: its result is void
					c.mayRepeat++
				default:
					delete(a.pending, o)
					a.handled[o] = true
				}
			}
		}
		if a != nil {
			a.advance()
		}
	}
}

// advance moves the frontier over what was handled.
func (a *assignmentView) advance() {
	for a.handled[a.frontier] {
		delete(a.handled, a.frontier)
		a.frontier++
	}
}

// count takes note that an offset was handled, and says how often it was.
func (p *partitionView) count(o int64) uint8 {
	for int64(len(p.times)) <= o {
		p.times = append(p.times, 0)
	}
	if p.times[o] < math.MaxUint8 {
		p.times[o]++
	}
	for p.below < int64(len(p.times)) && p.times[p.below] > 0 {
		p.below++
	}
	return p.times[o]
}

func (c *checker) committed(l line, h *hostView, p *partitionView, offset int64) {
	p.commits = append(p.commits, commitView{l.At, offset})
	a := h.has[p.n]
	switch {
	case offset > p.below:
		c.broken(l, p, "%d is committed, and %d was not handled", offset, p.below)
	case a != nil && a.first >= 0 && offset > a.frontier:
		c.broken(l, p, "%d is committed, and this host has done all below %d", offset, a.frontier)
	}
	if a != nil {
		a.taken = max(a.taken, offset)
	}
}

// handledAll says what is missing below the ends of the partitions.
func (c *checker) handledAll(now line, ends map[int32]int64) {
	for _, p := range c.parts {
		if end := ends[p.n]; p.below < end {
			c.broken(now, p, "%d was never handled, and the end is %d", p.below, end)
		}
	}
}

// repeatsBounded compares what came again with what may.
func (c *checker) repeatsBounded() {
	if c.repeats > c.mayRepeat {
		c.violations = append(c.violations, fmt.Sprintf("%d records were handled again, and only %d had been handled and not committed when a host was killed or lost its session", c.repeats, c.mayRepeat))
	}
}

// tooManyFetches is how many fetch requests a second are more than three
// brokers with little to give make of them, and tooLong for how many seconds:
// a client that asks a broker that has no answer does so without a pause.
const (
	tooManyFetches = 500
	tooLong        = 5
)

func (c *checker) sample(l line, h *hostView) {
	h.seen++
	h.goroutinesNow, h.heapNow = int64(l.Goroutines), l.Heap
	h.goroutines, h.heap, h.held = max(h.goroutines, h.goroutinesNow), max(h.heap, l.Heap), max(h.held, l.Held)
	h.fetches = max(h.fetches, l.Fetches)
	if l.Fetches > c.busiest.fetches {
		c.busiest.host, c.busiest.fetches = l.Host, l.Fetches
	}
	if l.Fetches < tooManyFetches {
		h.busy = 0
	} else {
		h.busy++
		h.busiest = max(h.busiest, h.busy)
		if h.busy == tooLong {
			c.broken(l, nil, "%d fetches in one second, and %d or more in each of the %d before", l.Fetches, tooManyFetches, tooLong-1)
		}
	}
	if h.seen <= 30 {
		h.early.goroutines, h.early.heap = max(h.early.goroutines, h.goroutinesNow), max(h.early.heap, l.Heap)
	}
}
