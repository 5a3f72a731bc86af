package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// No partition stands still unnamed: while records wait in a partition that a
// host has, and nothing of it moves, the host's state names why, or at least
// what. A move is that a call or a delivery begins or ends, that a commit is
// taken, or that records are called lost. Time counts in which the host runs,
// and is neither paused nor halted nor about to stop.
const (
	// mostStill is for how long a partition may stand still unnamed while no
	// broker is broken: twice what a Mapping takes to name it.
	mostStill = 30 * time.Second
	// mostStillBroken is for how long whatever is broken: no fault lasts as
	// long, nor does what has to come after it.
	mostStillBroken = time.Minute
	// unnamed is for how long a problem may be gone that comes back.
	unnamed = 5 * time.Second
	// ledFor is for how long a connection to a broker may keep a partition from
	// being read that this broker led.
	ledFor = 30 * time.Second
)

// tellEnds tells once a second where the partitions end, and who leads them.
func (p *parent) tellEnds(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	leaders := map[int32]string{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ask, done := context.WithTimeout(ctx, 900*time.Millisecond)
		details, err := p.admin.ListTopicsWithInternal(ask, topicNames()...)
		done()
		if err == nil {
			for _, t := range details {
				for _, d := range t.Partitions {
					if n := number(t.Topic, d.Partition); n >= 0 && d.Leader >= 1 && int(d.Leader) <= brokers {
						leaders[n] = p.cluster.Security.Login[d.Leader-1]
					}
				}
			}
		}
		l := line{Host: "parent", Kind: lineEnds}
		for n, end := range p.ends() {
			l.Parts = append(l.Parts, part{Partition: n, Offset: end, Leader: leaders[n]})
		}
		l.At = time.Now().UnixNano()
		p.judge.add(l)
	}
}

// ends takes where partitions end, and judges what stands still.
func (c *checker) ends(l line) {
	for _, in := range l.Parts {
		p := c.parts[in.Partition]
		p.end = max(p.end, in.Offset)
		if in.Leader != "" {
			p.led[in.Leader] = l.At
		}
	}
	for _, p := range c.parts {
		for _, a := range p.all {
			if h := c.hosts[a.host]; h != nil && h.has[p.n] == a {
				c.stands(l, h, p, a)
			}
		}
	}
}

// stands judges whether a partition stands still in a host, and is not named.
func (c *checker) stands(l line, h *hostView, p *partitionView, a *assignmentView) {
	switch {
	case h.stopped || h.leaving || a.rival != nil: // another host has it
		return
	case !p.waits():
		a.moved = l.At
		return
	case time.Duration(l.At-a.moved) < unnamed:
		return
	}
	still := without(slices.Concat(h.frozen, h.resting), a.moved, l.At)
	calm := without(slices.Concat(h.frozen, h.resting, c.faults), a.moved, l.At)
	if h.names(p, a, l.At) {
		a.named = l.At
		c.longest.named = max(c.longest.named, int64(still))
		return
	}
	c.longest.still = max(c.longest.still, int64(still))
	if calm <= mostStill && still <= mostStillBroken || without(slices.Concat(h.frozen, h.resting), max(a.named, a.moved), l.At) <= unnamed {
		return
	}
	c.broken(l, p, "it stands still in %s, which ran for %s since, %s of that with nothing broken; it ends at %d; what the host names is %q", a.host,
		still.Round(time.Millisecond), calm.Round(time.Millisecond), p.end, h.named())
	a.moved = l.At // said
}

// waits reports whether there is a record that nobody has handled and that is
// there for sure.
func (p *partitionView) waits() bool {
	switch p.kind {
	case noHoles:
		return max(p.below, p.taken) < p.end
	case compactionHoles: // which leaves the last one
		return p.end > 0 && !p.handled(p.end-1)
	default:
		return p.books.last >= 0 && !p.handled(p.books.last)
	}
}

// names reports whether a host's state names a partition, or what has to do
// with all that it is read by.
func (h *hostView) names(p *partitionView, a *assignmentView, at int64) bool {
	for with := range h.problems {
		// A destination refuses some record all the time.
		if with == "destination" && a.owed < 0 && (a.running == nil || a.running.reason == "") {
			continue
		}
		if p.isOf(with, at) {
			return true
		}
	}
	unwell, ok := strings.CutPrefix(h.unwell, "esm: not healthy: ")
	if !ok {
		return false
	}
	for _, about := range []string{"connection to ", "topic ", "end of topic "} {
		if strings.HasPrefix(unwell, about) { // of this one, or of another one
			with, _, _ := strings.Cut(unwell, ": ")
			return p.isOf(with, at)
		}
	}
	return true // all of it is
}

// named is all that a host names.
func (h *hostView) named() []string {
	var all []string
	for with := range h.problems {
		all = append(all, with)
	}
	slices.Sort(all)
	if h.unwell != "" {
		all = append(all, h.unwell)
	}
	return all
}

// isOf reports whether what a problem is about has to do with a partition.
func (p *partitionView) isOf(with string, at int64) bool {
	t := topicOf(p.n)
	switch with {
	case "group", "commit", "client", "function", "destination",
		"topic " + t.name, "end of topic " + t.name, fmt.Sprintf("topic %s partition %d", t.name, p.n-t.first):
		return true
	}
	addr, ok := strings.CutPrefix(with, "connection to ")
	led, known := p.led[addr]
	return ok && known && at-led <= int64(ledFor)
}
