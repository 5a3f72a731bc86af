package sim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// An entry is what is known of one record. It has a number, which its value begins with.
type entry struct {
	number  uint64
	at      place
	offset  int64 // -1 until it is known
	key     []byte
	value   []byte
	stamp   time.Time
	written time.Time
	// fate is what became of its transaction; a record without one is committed.
	fate fate

	calls     int       // how often the function was called with it
	handled   int       // how often the function succeeded with it
	delivered bool      // a destination took it
	gone      bool      // retention took it, its topic was deleted, or Latest begins after it
	tell      bool      // and the group has to say so: it had a commit, and had not come so far
	given     time.Time // when a tenure that had settled it ended gracefully, and said that nothing comes again
	permanent bool      // the function said so of it
}

type fate int

const (
	unknownFate fate = iota
	committed
	aborted
)

// done reports whether nobody needs the record any more.
func (e *entry) done() bool {
	return e.handled > 0 || e.delivered || e.gone || e.fate == aborted
}

// A place is a partition of one incarnation of a topic.
type place struct {
	esm.TopicPartition
	incarnation int
}

// A ledger knows each record and what was done with it, and what is known of each
// partition.
type ledger struct {
	entries []*entry // by number, from 1
	parts   map[place]*part
	// incarnation is how often a topic was made anew, and remade when that was last.
	incarnation map[string]int
	remade      map[string]time.Time
}

// A part is what is known of one partition.
type part struct {
	at      place
	records map[int64]*entry
	end     int64  // the largest known offset, and one
	below   int64  // all known records below it are done with
	ends    []mark // what the brokers' end was, and when
	kept    int64  // what is committed, as the brokers say
	// committed is the largest offset that a member was told is committed, and when;
	// asked, the largest that any asked to commit.
	committed []mark
	asked     int64
	// floor is where a tenure that ended gracefully said that the next one begins.
	floor   int64
	floorAt time.Time
	// moved is when something of it moved last.
	moved, owned, named time.Time
	anchor              int64 // what the brokers had as a commit first
	// wentBack is when its position was moved back by rule.
	wentBack time.Time
	told     [][2]int64 // what was called lost: from, and the one after
	gone     int64      // all below it was taken
	epochs   []mark     // where leader epochs begin: from the second one on, by number
}

// A mark is an offset at a time.
type mark struct {
	at     time.Time
	offset int64
}

func newLedger() *ledger {
	return &ledger{parts: map[place]*part{}, incarnation: map[string]int{}, remade: map[string]time.Time{}}
}

// place is where a partition is now.
func (l *ledger) place(tp esm.TopicPartition) place { return place{tp, l.incarnation[tp.Topic]} }

// now is the partition of that name.
func (l *ledger) now(tp esm.TopicPartition) *part { return l.part(l.place(tp)) }

func (l *ledger) part(at place) *part {
	p := l.parts[at]
	if p == nil {
		now := time.Now()
		p = &part{at: at, records: map[int64]*entry{}, kept: -1, moved: now, owned: now, named: now}
		l.parts[at] = p
	}
	return p
}

// sorted are all partitions, in an order that does not vary.
func (l *ledger) sorted() []*part {
	all := make([]*part, 0, len(l.parts))
	for _, p := range l.parts {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *part) int {
		switch {
		case a.at.Topic != b.at.Topic:
			if a.at.Topic < b.at.Topic {
				return -1
			}
			return 1
		case a.at.incarnation != b.at.incarnation:
			return a.at.incarnation - b.at.incarnation
		}
		return int(a.at.Partition - b.at.Partition)
	})
	return all
}

// make makes a record of a stream.
func (l *ledger) make(s Stream, key []byte, size int, stamp time.Time) (*kgo.Record, *entry) {
	e := &entry{number: uint64(len(l.entries) + 1), offset: -1, key: key, written: time.Now(), stamp: stamp.Truncate(time.Millisecond)}
	e.value = valueOf(e.number, size)
	if s.Transactions == 0 {
		e.fate = committed
	}
	l.entries = append(l.entries, e)
	return &kgo.Record{Topic: s.Topic, Key: slices.Clone(key), Value: slices.Clone(e.value), Timestamp: e.stamp}, e
}

// valueOf is a value that follows from the number.
func valueOf(number uint64, size int) []byte {
	v := binary.BigEndian.AppendUint64(nil, number)
	for i := len(v); i < size; i++ {
		v = append(v, byte(number+uint64(i)*7))
	}
	return v
}

// find is the record that a function was given, and what is wrong with it.
func (l *ledger) find(r *kgo.Record) (*entry, string) {
	if len(r.Value) < 8 {
		return nil, fmt.Sprintf("%s/%d offset %d has a value of %d bytes", r.Topic, r.Partition, r.Offset, len(r.Value))
	}
	n := binary.BigEndian.Uint64(r.Value)
	if n == 0 || n > uint64(len(l.entries)) {
		return nil, fmt.Sprintf("%s/%d offset %d has the number %d, which nobody wrote", r.Topic, r.Partition, r.Offset, n)
	}
	e := l.entries[n-1]
	if string(r.Value) != string(e.value) || string(r.Key) != string(e.key) || !r.Timestamp.Equal(e.stamp) {
		return e, fmt.Sprintf("%s/%d offset %d is not what was written as number %d", r.Topic, r.Partition, r.Offset, n)
	}
	if e.offset >= 0 && e.offset != r.Offset {
		return e, fmt.Sprintf("number %d is at offset %d of %s/%d, and was at %d", n, r.Offset, r.Topic, r.Partition, e.offset)
	}
	if e.fate == aborted {
		return e, fmt.Sprintf("%s/%d offset %d is of a transaction that was aborted", r.Topic, r.Partition, r.Offset)
	}
	return e, ""
}

// settle notes where a record is.
func (l *ledger) settle(e *entry, at place, offset int64) {
	if e.offset >= 0 {
		return
	}
	p := l.part(at)
	e.at, e.offset = at, offset
	p.records[offset] = e
	p.end = max(p.end, offset+1)
	p.below = min(p.below, offset)
	if offset < p.gone {
		e.gone = true
	}
}

// frontier is the first known record that is not done with, or the end of what is
// known.
func (p *part) frontier() int64 {
	for p.below < p.end {
		if e := p.records[p.below]; e != nil && !e.done() {
			return p.below
		}
		p.below++
	}
	return math.MaxInt64
}

// waiting reports whether there is something to do.
func (p *part) waiting() bool { return p.frontier() < math.MaxInt64 }

// lastDone is the last record that was handled, or taken by a destination, -1 if none was.
func (p *part) lastDone() int64 {
	last := int64(-1)
	for o, e := range p.records {
		if e.handled > 0 || e.delivered {
			last = max(last, o)
		}
	}
	return last
}

// take has retention take all below an offset.
func (p *part) take(upTo int64) {
	p.gone = max(p.gone, upTo)
	for o, e := range p.records {
		if o < upTo && !e.gone {
			e.gone, e.tell = true, !e.done() && p.kept >= 0 && o >= p.kept
		}
	}
}

// committedAt is the largest offset that was known to be committed at a time.
func (p *part) committedAt(at time.Time) int64 {
	most := int64(0)
	for _, m := range p.committed {
		if m.at.Before(at) {
			most = max(most, m.offset)
		}
	}
	return most
}

// hashOf is what a text becomes in the trace.
func hashOf(sum uint64, text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, sum)) // never fails
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}
