package main

import (
	"slices"
	"time"

	"github.com/seed429fd032/esm"
)

// A callView is a call of the function, or of a destination.
type callView struct {
	id     string
	parts  []callPart
	reason string // why the destination is called, empty for a function
}

// A callPart is what a call holds of one partition.
type callPart struct {
	part
	assignment *assignmentView // nil if there was none
}

// called takes the beginning of a call of the function.
func (c *checker) called(l line, h *hostView) {
	c.calls++
	leased, ok := h.leased[l.Call]
	if !ok {
		c.broken(l, nil, "call %s begins, and no hook said so", l.Call)
		leased = leasing{c.lines, c.lines}
	}
	delete(h.leased, l.Call)
	h.limits(c, l)
	records, again := 0, false
	for _, part := range c.start(l, h, &callView{id: l.Call}, leased) {
		again = again || part.assignment.again()
		for range part.offsets {
			records++
		}
		c.inOrder(l, part)
	}
	h.fits(c, l, records, again)
}

// start begins a call in all of its partitions, and returns the parts that go
// on to be judged: a call that is late is void.
func (c *checker) start(l line, h *hostView, call *callView, leased leasing) (judged []callPart) {
	if h.calls[l.Call] != nil {
		c.broken(l, nil, "call %s begins twice", l.Call)
	}
	h.calls[l.Call] = call
	for _, in := range l.Parts {
		p, a := c.parts[in.Partition], h.owner(in.Partition, leased.line)
		call.parts = append(call.parts, callPart{in, a})
		for o, seq := range in.offsets {
			if wrong := p.show(o, seq); wrong != "" {
				c.broken(l, p, "%s", wrong)
				return nil
			}
		}
		if other := h.running[p.n]; other != nil {
			c.broken(l, p, "two calls at once: %s and %s", other.id, l.Call)
			return nil
		}
		h.running[p.n] = call
		switch {
		case a == nil || a.to > 0 && a.toLine < leased.line && call.reason == "": // of a delivery nobody says when it is leased
			c.broken(l, p, "it is called, and is not assigned")
		case a.to == 0:
			a.running, a.moved = call, l.At
			judged = append(judged, call.parts[len(call.parts)-1])
		case a.how == "":
			c.broken(l, p, "it is called after it was given up")
		default:
			// Between the end of the last hook and the first line, the engine
			// looks at the call's context once more, and does nothing else. The
			// hook that tells of the loss is called after the context ended, so
			// a loss that was told before the end of the last hook is one that
			// the engine saw. One that was told later may have come after the
			// look, which nobody can see from outside; so that is allowed for as
			// long as it takes to get from one to the other: no work, but the
			// process may not have a processor.
			c.late++
			by := h.ran(a.to, l.At)
			c.longest.late = max(c.longest.late, int64(by))
			if by > aMoment || a.toLine < leased.told {
				c.broken(l, p, "it is called %s after it was gone (%s)", by.Round(time.Millisecond), a.how)
			}
		}
	}
	return judged
}

// inOrder judges which offsets a call holds.
func (c *checker) inOrder(l line, in callPart) {
	p, a := c.parts[in.Partition], in.assignment
	a.given = -1
	if len(in.Spans) == 0 {
		c.broken(l, p, "call %s holds nothing of it", l.Call)
		return
	}
	if a.owed >= 0 {
		c.broken(l, p, "call %s begins, and offset %d is to be given up", l.Call, a.owed)
		return
	}
	if first := in.Spans[0][0]; len(a.pending) > 0 && a.isPending(first) && first != a.pending[0] {
		c.broken(l, p, "offset %d is tried again before %d, which is not done", first, a.pending[0])
		return
	}
	again, at := a.again(), int64(-1)
	for o := range in.offsets {
		switch {
		case o <= at:
			c.broken(l, p, "offsets are not in order: %v", in.Spans)
			return
		case a.isPending(o):
		case again, len(a.pending) > 0 && at < 0:
			c.broken(l, p, "offset %d is called while %d records before it are not done", o, len(a.pending))
			return
		case !c.next(l, p, a, o, func(between int64) bool { return fateOf(c.seed, p.n, between) == oldFate }):
			return
		}
		at = o
	}
	a.called = max(a.called, at)
}

// next takes an offset that is called, or delivered, for the first time. Those
// between it and the last one have to be left, as they are not done with, or ahead:
// a commit may say that they are.
func (c *checker) next(l line, p *partitionView, a *assignmentView, o int64, left func(int64) bool) bool {
	switch {
	case a.first < 0:
		c.begins(l, p, a, o)
		a.first = o
	case o <= a.last:
		c.broken(l, p, "offset %d is called after %d", o, a.last)
		return false
	case p.kind != noHoles:
		p.skip(a.last+1, o, l.At, l.Host+" passed it over")
	default:
		for between := a.last + 1; between < o; between++ {
			// What retention took is told at the same moment, before or after.
			if between < p.taken && (p.over(between) > between || !left(between)) {
				if !p.handled(between) && p.passed[between].at == 0 {
					p.passed[between] = passing{l.At, l.Host + " passed it over"}
				}
				continue
			}
			if p.ahead[between] {
				continue
			}
			if !left(between) {
				c.broken(l, p, "offset %d is called after %d", o, a.last)
				return false
			}
			a.pending = append(a.pending, between)
		}
		p.grow(l.At)
	}
	a.last = o
	a.pending = append(a.pending, o)
	return true
}

// delivers takes the beginning of a call of the destination.
func (c *checker) delivers(l line, h *hostView) {
	h.held(c, l)
	for _, in := range c.start(l, h, &callView{id: l.Call, reason: l.Reason}, leasing{line: c.lines}) {
		p, a, o := c.parts[in.Partition], in.assignment, in.Spans[0][0]
		old := fateOf(c.seed, p.n, o) == oldFate
		at, ours := slices.BinarySearch(a.pending, o)
		switch {
		case a.owed >= 0 && a.owed != o:
			c.broken(l, p, "offset %d is given up before %d, which was refused", o, a.owed)
			continue
		case !ours && a.again():
			c.broken(l, p, "offset %d is given up while %d records before it are not done", o, len(a.pending))
			continue
		case !ours && !old:
			c.broken(l, p, "offset %d is given up, and was not called, or is done with", o)
			continue
		case !ours:
			// Those of a batch that are too old are taken out of it together,
			// and delivered before the others are called.
			c.next(l, p, a, o, func(between int64) bool { return o-between < mostInBatch() })
		case at > 0 && (a.given < 0 || a.given > o):
			c.broken(l, p, "offset %d is given up before %d, which is not done", o, a.pending[0])
			continue
		}
		if t := a.tried[o]; !t.justify(l, old) {
			c.broken(l, p, "offset %d is given up (%s, after %d attempts), and %d calls with it failed, permanent=%t, too large=%t, too old=%t",
				o, l.Reason, l.Attempts, t.failed, t.permanent, t.tooLarge, old)
		}
	}
}

// mostInBatch is how many records a batch can hold.
func mostInBatch() int64 {
	most := 0
	for _, s := range updates {
		most = max(most, s.BatchSize)
	}
	return int64(most)
}

// justify reports whether what was said of a record is a reason to give it up.
func (t tries) justify(l line, old bool) bool {
	switch l.Reason {
	case esm.ReasonRetriesExhausted.String():
		return t.failed > maxRetries && l.Attempts > maxRetries && l.Attempts <= t.failed
	case esm.ReasonPermanent.String():
		return t.permanent
	case esm.ReasonTooLarge.String():
		return t.tooLarge
	case esm.ReasonTooOld.String():
		return old
	}
	return false
}

// returned takes the end of a call.
func (c *checker) returned(l line, h *hostView) {
	call := h.calls[l.Call]
	if call == nil {
		c.broken(l, nil, "call %s ends, and had not begun", l.Call)
		return
	}
	delete(h.calls, l.Call)
	c.did.add(l.Outcome)
	records := 0
	for _, in := range call.parts {
		for range in.offsets {
			records++
		}
	}
	for _, in := range call.parts {
		delete(h.running, in.Partition)
		p, a := c.parts[in.Partition], in.assignment
		done := map[int64]bool{}
		for o := range find(l.Parts, in.Partition).offsets {
			done[o] = true
		}
		for o := range in.offsets {
			if done[o] {
				c.done(l, h, p, a, call, o)
			}
		}
		if a == nil {
			continue
		}
		a.moved = l.At
		if a.running == call {
			a.running = nil
		}
		if a.to > 0 {
			// Nobody waits for a call that goes on: but its context has ended.
			if on := h.ran(a.to, l.At); !l.Ended && a.how != "" && on > aMoment {
				c.broken(l, p, "call %s ends %s after the partition was gone (%s), and its context had not ended", call.id, on.Round(time.Millisecond), a.how)
			}
			continue
		}
		if call.reason != "" {
			if o := in.Spans[0][0]; done[o] {
				a.given, a.owed = o, -1
			} else {
				a.owed = o
			}
			continue
		}
		for o := range in.offsets {
			if !done[o] {
				a.tried[o] = a.tried[o].and(says(l, in.Partition, o), records)
			}
		}
	}
	for _, s := range l.Some {
		c.did.add("partial, " + s.Says)
	}
}

// done takes that a record was handled, or delivered.
func (c *checker) done(l line, h *hostView, p *partitionView, a *assignmentView, call *callView, o int64) {
	c.handled++
	if p.count(o, l.At) {
		c.repeats++
		p.repeats++
	} else if by, ok := p.passed[o]; ok && a != nil && p.kind != noHoles && (p.kind == transactionHoles || a.from > by.at) {
		// Compaction may have taken it in between. Where not, it was there.
		c.broken(l, p, "offset %d is handled, and was passed over as if it had no record%s", o, by)
	}
	if call.reason != "" {
		c.did.add("given up, " + call.reason)
		h.untold[place{p.n, o}] = telling{call.reason, l.At}
	}
	switch {
	case a == nil:
	case a.to > 0: // the call outlived its assignment: its result is void
		p.mayRepeat++
	default:
		if i, ours := slices.BinarySearch(a.pending, o); ours {
			a.pending = slices.Delete(a.pending, i, i+1)
		}
		a.done[o] = true
		if len(a.pending) > 0 && a.pending[0] < o {
			p.ahead[o] = true
		}
		delete(a.tried, o)
	}
}

// find is what a line says of a partition.
func find(parts []part, n int32) part {
	i := slices.IndexFunc(parts, func(p part) bool { return p.Partition == n })
	if i < 0 {
		return part{Partition: n}
	}
	return parts[i]
}

// says is what a function said of a record that it did not handle.
func says(l line, n int32, o int64) string {
	for _, s := range l.Some {
		for at := range find(s.Parts, n).offsets {
			if at == o {
				return s.Says
			}
		}
	}
	return l.Outcome
}

// and adds what was said of a record in a call of so many.
func (t tries) and(says string, records int) tries {
	switch says {
	case saysFailed, saysPanic, saysGoexit:
		t.failed++
	case saysPermanent:
		t.permanent = true
	case saysTooLarge:
		t.tooLarge = t.tooLarge || records == 1
	}
	return t
}
