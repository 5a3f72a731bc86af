package main

import (
	"maps"
	"slices"
	"time"
)

// A hostView is what is known of one host.
type hostView struct {
	name    string
	has     map[int32]*assignmentView
	had     map[int32]*assignmentView // the last that ended
	leased  map[string]leasing        // of calls that are about to begin
	calls   map[string]*callView      // that run
	running map[int32]*callView       // of each partition
	frozen  []disturbance

	started, leaving, stopped bool
	paused, halted            int64         // since when, 0 if it is not
	resting                   []disturbance // the times of that
	problems                  map[string]bool
	unwell                    string
	options, before           limits
	updated                   int64 // when the options became what they are
	// untold are records that a destination took, and of which the Mapping has
	// not said so.
	untold map[place]telling

	share      int     // of the calls of the group
	ungraceful []int64 // when it lost partitions otherwise than by giving them up

	goroutines, heap, most       int64 // at most; most is of what is held
	fetches, busy, busiest       int64 // in a second at most; seconds in a row with too many, and at most
	goroutinesNow, heapNow, seen int64
	early                        struct{ goroutines, heap int64 } // at most, in the first half minute
	evicted                      int64
}

// limits are options that bound what a host calls. 0 is no limit.
type limits struct{ batch, calls int }

// A place is where a record is.
type place struct {
	partition int32
	offset    int64
}

// A leasing is which line said that a call was leased, and which one that the
// last hook that was told so returned. After that the engine looks whether the
// call's context has ended. Lines are counted, because in virtual time many have
// one time; those of one host are in the order in which it said them.
type leasing struct{ line, told int64 }

// A telling is what the Mapping has to say of a record, and since when.
type telling struct {
	reason string
	since  int64
}

func newHostView(name string) *hostView {
	return &hostView{name: name, has: map[int32]*assignmentView{}, had: map[int32]*assignmentView{}, leased: map[string]leasing{},
		calls: map[string]*callView{}, running: map[int32]*callView{}, untold: map[place]telling{}, problems: map[string]bool{},
		options: limits{updates[0].BatchSize, updates[0].Limit}}
}

// owner is the assignment of a partition that a call belongs to: the one that had
// it at the line about the lease, or the last one that there was.
func (h *hostView) owner(n int32, leased int64) *assignmentView {
	if a := h.has[n]; a != nil && a.fromLine < leased {
		return a
	}
	return h.had[n]
}

// obeyed takes what a host did because it was told to.
func (c *checker) obeyed(l line, h *hostView) {
	c.did.add(l.Kind)
	switch l.Kind {
	case linePaused:
		if ids := slices.Sorted(maps.Keys(h.calls)); len(ids) > 0 {
			c.broken(l, nil, "it is paused, and call %s runs", ids[0])
		}
		h.paused = l.At
		h.rest(l.At)
	case lineHalted:
		h.halted = l.At
		h.rest(l.At)
	case lineResumed:
		// A pause ends before a halt does.
		if h.paused > 0 {
			h.paused = 0
		} else {
			h.halted = 0
		}
		if h.paused == 0 && h.halted == 0 {
			end(h.resting, "", l.At)
		}
	case lineUpdated:
		h.before, h.options, h.updated = h.options, limits{l.BatchSize, l.Concurrency}, l.At
	}
}

// rest notes that a host is not to call anything from now on.
func (h *hostView) rest(at int64) {
	if n := len(h.resting); n == 0 || h.resting[n-1].to > 0 {
		h.resting = append(h.resting, disturbance{from: at})
	}
}

// leasedFor is how long it may take from a lease to the first line of its call:
// the hook in between takes its time.
const leasedFor = hookTime + aMoment

// held judges whether a host may call anything now.
func (h *hostView) held(c *checker, l line) {
	switch {
	case h.stopped:
		c.broken(l, nil, "call %s begins after it has stopped", l.Call)
	case h.paused > 0: // nothing ran when it was
		c.broken(l, nil, "call %s begins while it is paused, since %s", l.Call, clock(h.paused))
	case h.halted > 0 && h.ran(h.halted, l.At) > leasedFor:
		c.broken(l, nil, "call %s begins while it is halted, since %s", l.Call, clock(h.halted))
	}
}

// limits judges whether a host may have another call of its function now.
func (h *hostView) limits(c *checker, l line) {
	h.held(c, l)
	most := h.options.calls
	if h.settling(l.At) && most > 0 && (h.before.calls == 0 || h.before.calls > most) {
		most = h.before.calls
	}
	n := 0
	for _, call := range h.calls {
		if call.reason == "" {
			n++
		}
	}
	if most > 0 && n >= most {
		c.broken(l, nil, "call %s begins while %d run, and there may be %d", l.Call, n, most)
	}
}

// fits judges how many records a call holds. What is tried again may be of a
// time with larger batches.
func (h *hostView) fits(c *checker, l line, records int, again bool) {
	most := h.options.batch
	if h.settling(l.At) {
		most = max(most, h.before.batch)
	}
	if !again && records > most {
		c.broken(l, nil, "call %s holds %d records, and may hold %d", l.Call, records, most)
	}
}

// settling reports whether calls may begin that were leased before the options
// changed.
func (h *hostView) settling(at int64) bool {
	return h.updated > 0 && h.ran(h.updated, at) <= leasedFor
}

// discarded takes that the Mapping said that it gave a record up.
func (c *checker) discarded(l line, h *hostView) {
	p := c.parts[l.Parts[0].Partition]
	at := place{p.n, l.Parts[0].Spans[0][0]}
	switch t, ok := h.untold[at]; {
	case !ok:
		c.broken(l, p, "offset %d is said to be given up, and no destination took it", at.offset)
	case t.reason != l.Reason:
		c.broken(l, p, "offset %d is said to be given up (%s), and the destination was told: %s", at.offset, l.Reason, t.reason)
	}
	delete(h.untold, at)
}

// untold says of what a host has not said that it gave it up, now that it
// stops.
func (c *checker) untold(l line, h *hostView) {
	for at, t := range h.untold {
		if h.ran(t.since, l.At) > aMoment {
			c.broken(l, c.parts[at.partition], "a destination took offset %d at %s, and no hook said so", at.offset, clock(t.since))
			return
		}
	}
}

// tooManyFetches is how many fetch requests a second are more than three
// brokers with little to give make of them, and tooLong for how many seconds:
// a client that asks a broker that has no answer does so without a pause.
//
// A broker may be to blame while another one is broken: one that has just become
// a leader may have a high watermark below what was read from the one before,
// and answers at once then, with nothing (its log: "Non-monotonic update of high
// watermark"). That ends when a replica that is gone has left those in sync:
// after 4.5 s (replica.lag.time.max.ms and a half), and 9 s later
// (broker.session.timeout.ms) if it was the controller.
const (
	tooManyFetches = 500
	tooLong        = 5
	tooLongBroken  = 15
)

// sample takes a host's statistics of a second.
func (c *checker) sample(l line, h *hostView) {
	h.seen++
	h.unwell = l.Unwell
	clear(h.problems) // hooks of two goroutines may come in either order
	for _, with := range l.Problems {
		h.problems[with] = true
	}
	h.goroutinesNow, h.heapNow = int64(l.Goroutines), l.Heap
	h.goroutines, h.heap, h.most = max(h.goroutines, h.goroutinesNow), max(h.heap, l.Heap), max(h.most, l.Held)
	h.fetches = max(h.fetches, l.Fetches)
	c.did[evictions] += l.Evicted - h.evicted
	h.evicted = l.Evicted
	if l.Fetches > c.busiest.fetches {
		c.busiest.host, c.busiest.fetches = l.Host, l.Fetches
	}
	if l.Fetches < tooManyFetches {
		h.busy = 0
	} else {
		h.busy++
		h.busiest = max(h.busiest, h.busy)
		limit := int64(tooLong)
		if slices.ContainsFunc(c.faults, func(d disturbance) bool { return d.touches(l.At, tooLong*time.Second) }) {
			limit = tooLongBroken
		}
		if h.busy >= limit {
			c.broken(l, nil, "%d fetches in one second, and %d or more in each of the %d before", l.Fetches, tooManyFetches, h.busy-1)
			h.busy = 0 // said
		}
	}
	if h.seen <= 30 {
		h.early.goroutines, h.early.heap = max(h.early.goroutines, h.goroutinesNow), max(h.early.heap, l.Heap)
	}
	for n, a := range h.has {
		c.overlapped(l, h, c.parts[n], a)
	}
}
