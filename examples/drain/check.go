package main

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A check keeps which offsets were handled, and judges it. It believes the
// Mapping nothing: it looks at the records that the function got, and at what
// Kafka says of the group afterwards.
type check struct {
	mu         sync.Mutex
	partitions []seen
}

type seen struct {
	end        int64  // how many offsets there are
	offsets    bitset // the handled ones; small, because memory is measured
	last       int64  // the last new one
	records    int64
	duplicates int64
	outOfOrder int64
}

type bitset []uint64

func (b bitset) has(i int64) bool { return b[i/64]>>(i%64)&1 == 1 }
func (b bitset) add(i int64)      { b[i/64] |= 1 << (i % 64) }

func newCheck(s scenario) *check {
	c := &check{partitions: make([]seen, s.Partitions)}
	for p := range c.partitions {
		end := s.records(p)
		c.partitions[p] = seen{end: end, offsets: make(bitset, end/64+1), last: -1}
	}
	return c
}

// handled notes records that the function is done with. One that
// nobody wrote counts as a duplicate: it is one too many.
func (c *check) handled(records []*kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		p := &c.partitions[r.Partition]
		switch {
		case r.Offset >= p.end || p.offsets.has(r.Offset):
			p.duplicates++
		default:
			if r.Offset < p.last {
				p.outOfOrder++
			}
			p.offsets.add(r.Offset)
			p.last = r.Offset
			p.records++
		}
	}
}

// reached reports whether every partition is settled to its end.
func (c *check) reached(rows []esm.PartitionStats) bool {
	n := 0
	for i := range rows {
		if p := int(rows[i].Partition); p < len(c.partitions) && rows[i].Frontier >= c.partitions[p].end {
			n++
		}
	}
	return n == len(c.partitions)
}

// judge compares what was handled with what is committed. Missing is what the
// group will not see again and the function has not seen: everything to the
// committed offset, and to the end if nobody interrupted.
func (c *check) judge(committed map[int32]int64, interrupted bool) *summary {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &summary{Interrupted: interrupted}
	for i := range c.partitions {
		p := &c.partitions[i]
		s.Records += p.records
		s.Duplicates += p.duplicates
		s.OutOfOrder += p.outOfOrder
		at := committed[int32(i)]
		for o := range p.end {
			handled, below := p.offsets.has(o), o < at
			if handled && !below {
				s.NotCommitted++
			}
			if !handled && (below || !interrupted) {
				s.Missing++
			}
		}
	}
	return s
}
