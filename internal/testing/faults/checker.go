package main

import (
	"fmt"
	"slices"
	"strings"
)

// A checker judges what the hosts say, in the order of their clocks.
//
// Of each partition it keeps who was assigned it, and of each assignment what
// was called, handled, given up and committed. It says that a promise was
// broken if
//
//   - a partition has two calls at once in one host, or a call that is of no
//     assignment, or one that begins after the partition was given up, or that
//     was lost before the last hook returned; one that was lost later may be
//     late by a moment, and a call that runs when it is lost has its context
//     ended (invariants 1 and 4);
//   - an assignment does not handle its records one after the other: what is
//     tried again is of its own batch, from the first record on that is not
//     done with, and what follows waits for all of it (invariant 2);
//   - an assignment begins after a record that nobody is done with, or a commit
//     is after one, one of those that hosts are told of or one that the brokers
//     wrote down (invariant 3);
//   - a record is not what was written, in any byte, or is of a transaction that
//     was aborted;
//   - a record is given up without a reason for it, or while it runs, or after
//     it was handled, or the Mapping does not say so;
//   - an assignment begins before an offset that the broker had taken when it
//     was assigned, or before the frontier of the one before it, if that was
//     given up gracefully: so all that a crash may repeat is what was settled
//     since the last commit, and what was in flight. What a coordinator took in
//     its last seconds is no breach: the next one may not know of it yet. No
//     partition has more repeats than that allows it (invariant 5);
//   - a partition is lost, or a stop or its commit fails, and nothing was broken
//     near it; or a host says wrongly how much will come again;
//   - two hosts have a partition at once, for longer than a session while nothing
//     is broken, or the first one gives it up as if it had not lost it, when it
//     had the time to hear of that;
//   - a host that is paused or halted calls something, a batch or the number of
//     calls is larger than an update said, or an order is refused;
//   - all hosts together have more calls than their group may have;
//   - records wait in a partition that a host has, nothing of it moves, and the
//     host names nothing that it could come from (see mostStill);
//   - records are called lost that retention did not take, or that the host had
//     called, or retention took records that nobody handled, and nobody called
//     them lost;
//   - a position moves backward, records are missed, a host cannot start, leaves
//     a goroutine behind, or asks the brokers without a pause.
type checker struct {
	seed       uint64
	parts      []*partitionView
	hosts      map[string]*hostView
	violations []string
	lines      int64 // how many it has observed

	calls, handled, repeats int64
	ungraceful              int64 // ends of assignments
	problems                int64 // that the hosts named in their states
	// faults are the times in which a broker was broken. Of what an assignment
	// did again because of one, stale is how often.
	faults  []disturbance
	stale   int64
	late    int64 // calls that began after their partition was lost
	longest struct{ late, overlap, still, named int64 }
	// most is how many calls of the function all hosts may have together, 0 for any
	// number, and crowds is what is known of that: see crowd.
	most   int
	crowds struct {
		suspected         []crowd
		highest, oneSlots int // at once
		excused, outlived int64
	}
	// did counts what happened: see coverage.
	did coverage
	// busiest is the most fetches of a host in a second, since it was read.
	busiest struct {
		host    string
		fetches int64
	}
}

func newChecker(seed uint64) *checker {
	c := &checker{seed: seed, hosts: map[string]*hostView{}, did: coverage{}}
	for n := range int32(partitions) {
		c.parts = append(c.parts, newPartitionView(n))
	}
	return c
}

func (c *checker) broken(l line, p *partitionView, format string, args ...any) {
	s := fmt.Sprintf("%s %s: %s", clock(l.At), l.Host, fmt.Sprintf(format, args...))
	if p != nil {
		s = fmt.Sprintf("%s: %s", nameOf(p.n), s)
		for _, r := range p.recent {
			s += "\n      " + r
		}
	}
	c.violations = append(c.violations, s)
}

func (c *checker) host(name string) *hostView {
	h := c.hosts[name]
	if h == nil {
		h = newHostView(name)
		c.hosts[name] = h
	}
	return h
}

// observe takes the next line.
func (c *checker) observe(l line) {
	c.lines++
	c.crowded(l.At, false)
	for _, in := range l.Parts {
		if in.Partition < 0 || in.Partition >= partitions {
			c.broken(l, nil, "it speaks of a partition that there is not: %+v", l)
			return
		}
		c.parts[in.Partition].note(l, in)
	}
	switch l.Kind {
	case lineFault:
		c.faults = append(c.faults, disturbance{from: l.At, fault: l.Fault, coordinator: l.Coordinator})
		return
	case lineHealed:
		end(c.faults, l.Fault, l.At)
		return
	case lineEnds:
		c.ends(l)
		return
	case lineTaken:
		c.taken(l)
		return
	case lineLogged:
		c.logged(l, c.parts[l.Parts[0].Partition], l.Parts[0].Offset)
		return
	case lineTransaction:
		c.transaction(l)
		return
	}
	c.said(l, c.host(l.Host))
}

// said takes what a host says, or what the parent says of one.
func (c *checker) said(l line, h *hostView) {
	first := func() *partitionView { return c.parts[l.Parts[0].Partition] }
	switch l.Kind {
	case lineCall, lineAssigned, lineRevoked, lineStats:
		h.share = l.Share
	}
	switch l.Kind {
	case lineStarted:
		h.started = true
	case lineAssigned:
		for _, in := range l.Parts {
			c.assigned(l, h, c.parts[in.Partition])
		}
	case lineRevoked:
		c.revoked(l, h)
	case lineLeased:
		h.leased[l.Call] = leasing{c.lines, c.lines}
	case lineHeldUp:
		// Not of a call that has begun: a host that was frozen may not wait for
		// its hook.
		if began, ok := h.leased[l.Call]; ok {
			h.leased[l.Call] = leasing{began.line, c.lines}
		}
	case lineCall:
		c.called(l, h)
		c.together(l)
	case lineDeliver:
		c.delivers(l, h)
	case lineEnd:
		c.returned(l, h)
	case lineDiscarded:
		c.discarded(l, h)
	case lineCommitted:
		for _, in := range l.Parts {
			c.committed(l, h, c.parts[in.Partition], in.Offset)
		}
	case lineReset:
		c.broken(l, first(), "the position moved backward over %v: %s", l.Parts[0].Spans, l.Err)
	case lineGone:
		c.lost(l, h, first(), l.Parts[0].Spans[0])
	case lineCorrupt:
		c.broken(l, first(), "offset %d is not what was written: %s", l.Parts[0].Spans[0][0], l.Err)
	case lineStats:
		c.sample(l, h)
	case lineProblem:
		c.problems++
		h.problems[l.With] = true
	case lineSolved:
		delete(h.problems, l.With)
	case lineLeaving:
		h.leaving = true
	case linePaused, lineHalted, lineResumed, lineUpdated:
		c.obeyed(l, h)
	case lineRefused:
		c.broken(l, nil, "it refused an order: %s", l.Err)
	case lineFrozen:
		h.frozen = append(h.frozen, disturbance{from: l.At})
	case lineThawed:
		end(h.frozen, "", l.At)
	case lineLeaked:
		c.broken(l, nil, "%d goroutines are left after its stop: %s", l.Goroutines, l.Err)
	case lineGarbled:
		c.broken(l, nil, "it says what cannot be read: %s", l.Err)
	case lineEnded, lineKilled, lineStopped:
		c.gone(l, h)
	default:
		c.broken(l, nil, "it says what nobody understands: %+v", l)
	}
}

// gone takes that a process has ended, or is about to.
func (c *checker) gone(l line, h *hostView) {
	switch {
	case l.Kind == lineEnded && !h.stopped:
		c.broken(l, nil, "it ended by itself: %s", l.Err)
	case l.Kind == lineKilled && !h.stopped:
		h.calls, h.running = map[string]*callView{}, map[int32]*callView{}
		c.endAll(l, h, killed)
		h.stopped = true
	case l.Kind == lineStopped:
		how := ""
		switch {
		case !h.started && l.Err != "" && c.hadNoRights(l):
		case !h.started && l.Err != "":
			c.broken(l, nil, "%s", l.Err)
			how = killed
		case l.Err != "":
			how = "its stop said: " + l.Err
		}
		c.endAll(l, h, how)
		c.untold(l, h)
		h.stopped = true
	}
}

// hadNoRights reports whether a host was not let start because it had no rights then:
// a start that takes long may get into that, and a KIP-848 group refuses it.
func (c *checker) hadNoRights(l line) bool {
	taken := func(d disturbance) bool {
		return (d.fault == takeTopic || d.fault == takeGroup) && d.touches(l.At, near)
	}
	return strings.Contains(l.Err, "AUTHORIZATION_FAILED") && slices.ContainsFunc(c.faults, taken)
}

// transaction takes that one has ended.
func (c *checker) transaction(l line) {
	c.did.add(l.Outcome)
	for _, in := range l.Parts {
		p := c.parts[in.Partition]
		for o, seq := range in.offsets {
			if wrong := p.ends(o, seq, l.Outcome); wrong != "" {
				c.broken(l, p, "%s", wrong)
				return
			}
		}
	}
}

// logged judges a commit that the brokers wrote down, by what had been handled
// at that time.
func (c *checker) logged(l line, p *partitionView, offset int64) {
	p.logged = max(p.logged, offset)
	below := p.below
	if p.kind == noHoles {
		below = p.belowAt(l.At)
		if taken := p.takenAt(l.At); offset > below && taken > below && p.pass(min(offset, taken), l.At, "a commit passed it") {
			below = p.below
		}
	} else if p.pass(offset, l.At, "a commit passed it") {
		return
	}
	if offset > below {
		c.broken(l, p, "the brokers wrote down a commit of %d, and %d was not handled then", offset, below)
	}
}

// handledAll says what is missing below the ends of the partitions.
func (c *checker) handledAll(now line, ends map[int32]int64) {
	for _, p := range c.parts {
		missing, without := p.whole(c.seed, ends[p.n])
		if missing != "" {
			c.broken(now, p, "%s", missing)
		}
		if p.kind == compactionHoles {
			c.did[takenByCompaction] += int64(without)
		}
	}
}

// mayRepeat is how many records had been handled and not committed when an
// assignment ended.
func (c *checker) mayRepeat() (n int64) {
	for _, p := range c.parts {
		n += p.mayRepeat
	}
	return n
}

// repeatsBounded compares what came again with what may, of each partition.
func (c *checker) repeatsBounded(now line) {
	for _, p := range c.parts {
		if p.repeats > p.mayRepeat {
			c.broken(now, p, "%d records were handled again, and only %d had been handled and not committed when a host was killed or lost its session", p.repeats, p.mayRepeat)
		}
	}
}
