package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Hosts that share the bounds of their group have no more calls together than the
// bound says. Each call is counted where it begins, by what the hosts say: it has begun
// by its first line and ends after its last one, so what is counted ran at once.
//
// What is excepted is counted apart:
//
//   - the one call of a host whose share is none;
//   - a call whose partitions are gone, and that goes on;
//   - what a host calls that has lost its session and has not heard of it. That it
//     had is known only when it does, so a call that was one too many is judged by what
//     becomes of the hosts in the time in which they would hear.
type crowd struct {
	line  line
	hosts []*hostView // those that had calls
	what  string
}

// together judges that a call of the function began.
func (c *checker) together(l line) {
	if c.most == 0 {
		return
	}
	calls, oneSlots := 0, 0
	crowd := crowd{line: l}
	var each []string
	for _, h := range c.hosts {
		n := 0
		for _, call := range h.calls {
			switch {
			case call.reason != "":
			case call.outlived():
				c.crowds.outlived++
			default:
				n++
			}
		}
		if n == 0 {
			continue
		}
		calls += n
		if h.share == 0 {
			oneSlots++
		}
		crowd.hosts = append(crowd.hosts, h)
		each = append(each, fmt.Sprintf("%s %d, of a share of %d", h.name, n, h.share))
	}
	c.crowds.highest = max(c.crowds.highest, calls)
	c.crowds.oneSlots = max(c.crowds.oneSlots, min(oneSlots, calls-c.most))
	if calls > c.most+oneSlots {
		slices.Sort(each)
		crowd.what = fmt.Sprintf("call %s begins while the hosts together may have %d calls, and %d the one slot of a host without a share, and they have %d: %s", l.Call, c.most, oneSlots, calls, strings.Join(each, "; "))
		c.crowds.suspected = append(c.crowds.suspected, crowd)
	}
}

// outlived reports whether all of a call's partitions are gone.
func (v *callView) outlived() bool {
	return !slices.ContainsFunc(v.parts, func(p callPart) bool { return p.assignment != nil && p.assignment.to == 0 })
}

// untilHeard is for how long after a call that was one too many it may be known why.
const untilHeard = overlap

// crowded judges the calls that were too many, if by now it is known why they were, or
// if it is over.
func (c *checker) crowded(at int64, over bool) {
	c.crowds.suspected = slices.DeleteFunc(c.crowds.suspected, func(v crowd) bool {
		switch {
		case slices.ContainsFunc(v.hosts, func(h *hostView) bool { return h.outOfStep(v.line.At) }):
			c.crowds.excused++
			return true
		case !over && time.Duration(at-v.line.At) <= untilHeard:
			return false
		}
		c.broken(v.line, nil, "%s", v.what)
		return true
	})
}

// outOfStep reports whether a host lost partitions around a time, and not by giving
// them up, or stood still: it may not have heard by then that they were others'.
func (h *hostView) outOfStep(at int64) bool {
	return slices.ContainsFunc(h.ungraceful, func(t int64) bool { return t >= at-int64(near) && t <= at+int64(untilHeard) }) ||
		slices.ContainsFunc(h.frozen, func(d disturbance) bool { return d.touches(at, near) })
}
