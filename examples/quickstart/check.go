package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A span is the offsets from one to before another.
type span struct{ from, to int64 }

// A check keeps which offsets were handled, and judges it. It believes the
// Mapping nothing: it looks at the records that the function got, and at what
// Kafka says of the group afterwards.
type check struct {
	mu         sync.Mutex
	partitions map[int32]*seen
	pollers    int // the most that were seen
}

type seen struct {
	span
	offsets    []bool // from the first one of the span
	last       int64
	records    int64
	duplicates int64
	outOfOrder int64
}

func newCheck(ranges map[int32]span) *check {
	c := &check{partitions: map[int32]*seen{}}
	for p, r := range ranges {
		c.partitions[p] = &seen{span: r, offsets: make([]bool, r.to-r.from), last: -1}
	}
	return c
}

// total is how many offsets there are.
func (c *check) total() (n int64) {
	for _, p := range c.partitions {
		n += p.to - p.from
	}
	return n
}

// busy is how many partitions have some.
func (c *check) busy() (n int) {
	for _, p := range c.partitions {
		if p.to > p.from {
			n++
		}
	}
	return n
}

// handled notes records that the function is done with. What is
// outside of the spans is left out: partitions that are new, and records that
// came after the ends were listed.
func (c *check) handled(records []*kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		p := c.partitions[r.Partition]
		switch {
		case p == nil || r.Offset >= p.to:
		case r.Offset < p.from || p.offsets[r.Offset-p.from]:
			p.duplicates++
		default:
			if r.Offset < p.last {
				p.outOfOrder++
			}
			p.offsets[r.Offset-p.from] = true
			p.last = r.Offset
			p.records++
		}
	}
}

// reached reports whether every partition is settled to the end of its span.
func (c *check) reached(m *esm.Mapping) bool {
	c.pollers = max(c.pollers, m.Stats().ProvisionedPollers)
	n, rows := 0, m.AppendPartitions(nil)
	for i := range rows {
		if p := c.partitions[rows[i].Partition]; p != nil && rows[i].Frontier >= p.to {
			n++
		}
	}
	return n >= len(c.partitions)
}

// A summary is what the check found.
type summary struct {
	Records      int64   `json:"records"`
	Missing      int64   `json:"missing"`
	Duplicates   int64   `json:"duplicates"`
	OutOfOrder   int64   `json:"out_of_order"`
	Seconds      float64 `json:"seconds"`       // from the first record polled to the last one settled
	FloorSeconds float64 `json:"floor_seconds"` // what the function alone takes, one batch a partition at once
	PollersMax   int     `json:"pollers_max"`
	Rebalances   int64   `json:"rebalances"`

	uncommitted int64 // handled, but the group's offset is below
	committed   int64 // offsets that the group moved by
	interrupted bool
}

// OK reports whether all is well.
func (s *summary) OK() bool {
	return s.Missing == 0 && s.Duplicates == 0 && s.OutOfOrder == 0 && s.uncommitted == 0
}

// judge compares what was handled with what is committed. Missing is what the
// group will not see again and the function has not seen: everything to the
// committed offset, and to the end if nobody interrupted. Offsets without a
// record are looked up with count.
func (c *check) judge(committed map[int32]int64, interrupted bool, count func(partition int32, from, to int64, among func(int64) bool) (int64, error)) (*summary, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &summary{PollersMax: c.pollers, interrupted: interrupted}
	for partition, p := range c.partitions {
		s.Records += p.records
		s.Duplicates += p.duplicates
		s.OutOfOrder += p.outOfOrder
		at, ok := committed[partition]
		if !ok {
			at = p.from
		}
		s.committed += max(0, at-p.from)
		judged := span{p.from, p.to}
		if interrupted {
			judged.to = min(at, p.to)
		}
		gaps := 0
		for o := p.from; o < p.to; o++ {
			got := p.offsets[o-p.from]
			if got && o >= at {
				s.uncommitted++
			}
			if !got && o < judged.to {
				gaps++
			}
		}
		if gaps == 0 {
			continue
		}
		n, err := count(partition, judged.from, judged.to, func(o int64) bool { return o >= p.from && !p.offsets[o-p.from] })
		if err != nil {
			return nil, fmt.Errorf("%d offsets of partition %d were not handled; look whether they have records: %w", gaps, partition, err)
		}
		s.Missing += n
	}
	return s, nil
}

// Print writes the summary for people.
func (s *summary) Print(w io.Writer) {
	if s.interrupted {
		fmt.Fprintf(w, "\ninterrupted: %d records handled, offsets committed for %d\n", s.Records, s.committed)
	} else {
		fmt.Fprintf(w, "\n%d records in %.1f s; the function alone takes %.1f s\n", s.Records, s.Seconds, s.FloorSeconds)
	}
	fmt.Fprintf(w, "at most %d pollers, %d rebalances\n", s.PollersMax, s.Rebalances)
	fmt.Fprintf(w, "missing %d, duplicates %d, out of order %d, not committed %d: ", s.Missing, s.Duplicates, s.OutOfOrder, s.uncommitted)
	if s.OK() {
		fmt.Fprintln(w, "all is well")
	} else {
		fmt.Fprintln(w, "THE CHECK FAILED")
	}
}
