package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A check keeps what became of every record, and judges it. It believes the
// Mapping nothing: it looks at what the function handled, at what the
// destination got, and at what Kafka says of both topics afterwards. It knows
// where the poison is; the function does not.
type check struct {
	mu         sync.Mutex
	partitions map[int32]*track
}

type track struct {
	end        int64
	poison     []int64
	done       []bool // by offset: handled, or taken by the destination
	last       int64  // the last one that was
	handled    int64
	duplicates int64
	outOfOrder int64
	unexpected int64
}

func newCheck(ends map[int32]int64, poison map[int32][]int64) *check {
	c := &check{partitions: map[int32]*track{}}
	for p, end := range ends {
		c.partitions[p] = &track{end: end, poison: poison[p], done: make([]bool, end), last: -1}
	}
	return c
}

// handled notes records that the function is done with.
func (c *check) handled(records []*kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		c.note(r, false)
	}
}

// taken notes a record that the destination got. Order is order between
// the two, too: nothing behind a poison record is handled before it is given up.
func (c *check) taken(r *kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(r, true)
}

func (c *check) note(r *kgo.Record, taken bool) {
	p := c.partitions[r.Partition]
	p.note(r.Offset, taken)
}

func (p *track) note(offset int64, taken bool) {
	switch {
	case offset >= p.end, taken != slices.Contains(p.poison, offset):
		p.unexpected++
		return
	case p.done[offset]:
		if !taken { // what arrived twice is seen in the topic
			p.duplicates++
		}
		return
	case offset < p.last:
		p.outOfOrder++
	}
	p.done[offset], p.last = true, offset
	if !taken {
		p.handled++
	}
}

// reached reports whether every partition is settled to its end.
func (c *check) reached(m *esm.Mapping) bool {
	n, rows := 0, m.AppendPartitions(nil)
	for i := range rows {
		if p := c.partitions[rows[i].Partition]; p != nil && rows[i].Frontier >= p.end {
			n++
		}
	}
	return n == len(c.partitions)
}

// judge compares what was done with what Kafka has: the group's offsets, and
// the records in the topic for poison. Missing is what the group will not see
// again and nobody has seen: everything to the committed offset, and to the end
// if nobody interrupted.
func (c *check) judge(committed map[int32]int64, arrived []*kgo.Record, interrupted bool) *summary {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &summary{interrupted: interrupted}
	there := map[esm.TopicPartition]map[int64]bool{}
	for _, r := range arrived {
		tp, offset, ok := c.comesFrom(r)
		switch {
		case !ok:
			s.Unexpected++
		case there[tp][offset]:
			s.Duplicates++
		default:
			if there[tp] == nil {
				there[tp] = map[int64]bool{}
			}
			there[tp][offset] = true
			s.Delivered++
		}
	}
	for partition, p := range c.partitions {
		s.Records += p.end
		s.Poison += int64(len(p.poison))
		s.Handled += p.handled
		s.Duplicates += p.duplicates
		s.OutOfOrder += p.outOfOrder
		s.Unexpected += p.unexpected
		at := min(max(committed[partition], 0), p.end)
		s.committed += at
		for offset := range p.end {
			seen := p.done[offset]
			if seen && offset >= at {
				s.NotCommitted++
			}
			if slices.Contains(p.poison, offset) {
				seen = there[esm.TopicPartition{Topic: topic, Partition: partition}][offset]
			}
			if !seen && (!interrupted || offset < at) {
				s.Missing++
			}
		}
	}
	return s
}

// comesFrom says where a record in the topic for poison comes from, and whether
// it belongs there: it was poison, and has its key, its value, the reason and
// the attempts that it must have.
func (c *check) comesFrom(r *kgo.Record) (tp esm.TopicPartition, offset int64, ok bool) {
	header := map[string]string{}
	for _, h := range r.Headers {
		header[h.Key] = string(h.Value)
	}
	partition, err := strconv.ParseInt(header[headerPartition], 10, 32)
	if err != nil {
		return tp, 0, false
	}
	offset, err = strconv.ParseInt(header[headerOffset], 10, 64)
	if err != nil {
		return tp, 0, false
	}
	tp = esm.TopicPartition{Topic: header[headerTopic], Partition: int32(partition)}
	p := c.partitions[tp.Partition]
	ok = tp.Topic == topic && p != nil && slices.Contains(p.poison, offset) &&
		string(r.Key) == string(key(tp.Partition, offset)) && string(r.Value) == poisoned &&
		header[headerReason] == esm.ReasonRetriesExhausted.String() && header[headerAttempts] == strconv.Itoa(retries+1) &&
		header[headerError] == errOrder.Error()
	return tp, offset, ok
}

// A summary is what the checks found.
type summary struct {
	Records           int64   `json:"records"` // with the poison
	Poison            int64   `json:"poison"`
	Handled           int64   `json:"handled"`
	Delivered         int64   `json:"delivered"` // to the topic for poison
	Missing           int64   `json:"missing"`
	Duplicates        int64   `json:"duplicates"`
	OutOfOrder        int64   `json:"out_of_order"`
	Unexpected        int64   `json:"unexpected"`    // good records given up, or wrong in the topic for poison
	NotCommitted      int64   `json:"not_committed"` // done with, but the group's offset is below
	Waited            int     `json:"waited"`        // partitions that did, for poison of another
	Meanwhile         int     `json:"meanwhile"`     // invocations of the others while one with poison waited
	SearchInvocations int     `json:"search_invocations"`
	Seconds           float64 `json:"seconds"`

	committed   int64
	interrupted bool
}

// OK reports whether all is well.
func (s *summary) OK() bool {
	return s.Missing == 0 && s.Duplicates == 0 && s.OutOfOrder == 0 && s.Unexpected == 0 && s.NotCommitted == 0 && s.Waited == 0
}

// Print writes the summary for people.
func (s *summary) Print(w io.Writer) {
	if s.interrupted {
		fmt.Fprintf(w, "\ninterrupted after %.1f s: offsets committed for %d of %d records\n", s.Seconds, s.committed, s.Records)
	} else {
		fmt.Fprintf(w, "\n%d records in %.1f s\n", s.Records, s.Seconds)
	}
	fmt.Fprintf(w, "%d handled by the function, %d of %d poison records in %s\n", s.Handled, s.Delivered, s.Poison, deadLetters)
	if s.Delivered > 0 {
		fmt.Fprintf(w, "the search took %d invocations, %.1f for each; 2*log2(%d) is %.1f\n", s.SearchInvocations,
			float64(s.SearchInvocations)/float64(s.Delivered), batchSize, 2*math.Log2(batchSize))
	}
	if s.Poison > 0 {
		fmt.Fprintf(w, "while a partition with poison waited, those without it were invoked %d times; %d of them waited, too\n", s.Meanwhile, s.Waited)
	}
	fmt.Fprintf(w, "missing %d, duplicates %d, out of order %d, unexpected %d, not committed %d: ", s.Missing, s.Duplicates, s.OutOfOrder, s.Unexpected, s.NotCommitted)
	if s.OK() {
		fmt.Fprintln(w, "all is well")
	} else {
		fmt.Fprintln(w, "THE CHECK FAILED")
	}
}
