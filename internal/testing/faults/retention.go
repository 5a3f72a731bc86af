package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// mostTaken is of how many partitions retention takes records at once.
const mostTaken = 3

// take takes all that there is of partitions, as retention does that overtakes
// their readers. What is taken is told before: hosts see it at once.
func (p *parent) take(ctx context.Context, of []int32) error {
	if len(of) == 0 {
		return nil // the host had nothing
	}
	ends := p.ends()
	l := line{At: time.Now().UnixNano(), Host: "parent", Kind: lineTaken}
	upto := kadm.Offsets{}
	for _, n := range of {
		l.Parts = append(l.Parts, part{Partition: n, Offset: ends[n]})
		upto.AddOffset(topicOf(n).name, n-topicOf(n).first, ends[n], -1)
	}
	p.judge.add(l)
	err := insist(ctx, time.Minute, func(ctx context.Context) error {
		// A leader that is new may not know yet that so much is replicated.
		gone, err := p.admin.DeleteRecords(ctx, upto)
		gone.Each(func(r kadm.DeleteRecordsResponse) { err = errors.Join(err, r.Err) })
		return err
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("take records: %w", err)
	}
	return nil
}

// lastTaken is what comes after all else: retention takes what a host has not
// read while it is paused, and nothing is written after that. The host has to
// say so all the same.
func (p *parent) lastTaken(ctx context.Context, ends map[int32]int64) error {
	h, err := p.find(p.plan.Hosts[0])
	if err != nil {
		return err
	}
	of := p.judge.ordersOf(h.name)
	if len(of) == 0 {
		return nil // the group gave it none
	}
	of = of[:1]
	if err := h.lasts(ctx, orderPause, 6*time.Second, 2*time.Second); err != nil {
		return err
	}
	for range 4 { // the client may have a fetch on its way, and brings no second one
		for range 50 {
			p.producer.produce(of[0])
		}
		if err := p.producer.flush(); err != nil {
			return err
		}
		sleep(ctx, 200*time.Millisecond)
	}
	end := p.ends()[of[0]]
	if err := p.take(ctx, of); err != nil {
		return err
	}
	ends[of[0]] = end
	for deadline := time.Now().Add(quietly); !p.judge.takenUpTo(of[0], end); {
		if time.Now().After(deadline) {
			return p.judge.brokenPart(of[0], "retention took all below %d while %s was paused, and nothing came after that: it did not call that lost within %s", end, h.name, quietly)
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return nil
		}
	}
	return nil
}

// quietly is how long a host may take to say that retention took what it had
// not read, if nothing comes after that.
const quietly = time.Minute

// taken takes that retention is about to take records.
func (c *checker) taken(l line) {
	for _, in := range l.Parts {
		p := c.parts[in.Partition]
		p.taken = max(p.taken, in.Offset)
		p.took = append(p.took, mark{l.At, in.Offset})
	}
}

// lost judges what a host calls lost.
func (c *checker) lost(l line, h *hostView, p *partitionView, s span) {
	from, to := s[0], s[1]
	a := h.has[p.n]
	switch {
	case from < 0 || from > to:
		c.broken(l, p, "offsets %v are called lost, and are none", s)
		return
	case to >= p.taken:
		c.broken(l, p, "offsets %v are called lost, and retention took none after %d", s, p.taken-1)
		return
	case a != nil:
		a.moved = l.At
		for o := from; o <= to; o++ {
			if a.done[o] || a.isPending(o) && o <= a.called && fateOf(c.seed, p.n, o) != oldFate {
				c.broken(l, p, "offsets %v are called lost, and %d was called before", s, o)
				return
			}
		}
		// What was too old to be called is not to be delivered.
		a.pending = slices.DeleteFunc(a.pending, func(o int64) bool { return o >= from && o <= to })
	}
	for o := from; o <= to; o++ {
		if p.handled(o) {
			continue
		}
		if p.over(o) == o {
			c.did[takenByRetention]++
		}
		if p.passed[o].at == 0 {
			p.passed[o] = passing{l.At, l.Host + " called it lost"}
		}
	}
	p.told = append(p.told, [2]int64{from, to})
	p.grow(l.At)
}

// over is the first offset from one on that nobody called lost.
func (p *partitionView) over(o int64) int64 {
	for again := true; again; {
		again = false
		for _, s := range p.told {
			if s[0] <= o && o <= s[1] {
				o, again = s[1]+1, true
			}
		}
	}
	return o
}

// waitingOf are partitions of a host of which records are to be taken: those of
// orders with the most that waits.
func (j *judge) waitingOf(host string) []int32 {
	of := j.ordersOf(host)
	return of[:min(len(of), mostTaken)]
}

// ordersOf are the partitions of orders that a host has, those with the most
// that waits first.
func (j *judge) ordersOf(host string) (of []int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.checker
	for n := range c.host(host).has {
		if c.parts[n].kind == noHoles {
			of = append(of, n)
		}
	}
	waits := func(n int32) int64 { return c.parts[n].end - c.parts[n].below }
	slices.SortFunc(of, func(a, b int32) int {
		if d := waits(b) - waits(a); d != 0 {
			return int(d)
		}
		return int(a - b)
	})
	return of
}

// starting reports whether a host has not started yet, nor stopped.
func (j *judge) starting(host string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := j.checker.host(host)
	return !h.started && !h.stopped
}

// takenUpTo reports whether retention took all below an offset that nobody
// handled, and hosts said so: nothing has to be committed then.
func (j *judge) takenUpTo(n int32, end int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.checker.parts[n]
	return p.taken >= end && p.below >= end
}
