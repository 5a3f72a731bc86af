package esmtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// arrivals are the batches that a target of [TestInvoker] has handled.
type arrivals struct {
	drops bool // some records may be missing

	mu      sync.Mutex
	batches []*esm.Batch
}

func (c *conformance) arrivals() *arrivals { return &arrivals{drops: c.exempts(Drops)} }

// target makes a target of an answer, nil for success. A batch has arrived
// when the target returns.
func (a *arrivals) target(answer esm.InvokerFunc) esm.InvokerFunc {
	return func(ctx context.Context, b *esm.Batch) error {
		got := copyBatch(b)
		var err error
		if answer != nil {
			err = answer(ctx, b)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.batches = append(a.batches, got)
		return err
	}
}

// take returns what has arrived and forgets it.
func (a *arrivals) take() []*esm.Batch {
	a.mu.Lock()
	defer a.mu.Unlock()
	got := a.batches
	a.batches = nil
	return got
}

// A place is where a record stands in Kafka, which identifies it.
type place struct {
	esm.TopicPartition
	offset int64
}

func placeOf(r *kgo.Record) place {
	return place{esm.TopicPartition{Topic: r.Topic, Partition: r.Partition}, r.Offset}
}

// compare fails the test unless what has arrived is what was sent, each record
// once and each partition in order. What has arrived is then forgotten. It
// returns it. sent must not be what Invoke got, which may have changed it, but
// made anew.
func (a *arrivals) compare(t testing.TB, sent ...*esm.Batch) []*esm.Batch {
	t.Helper()
	got := a.take()
	var wrong, lesser []string
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	source := map[place]*esm.Batch{}
	want, have := map[esm.TopicPartition][]*kgo.Record{}, map[esm.TopicPartition][]*kgo.Record{}
	var partitions []esm.TopicPartition
	for _, b := range sent {
		for tp, records := range b.ByPartition() {
			partitions = append(partitions, tp)
			want[tp] = append(want[tp], records...)
			for _, r := range records {
				source[placeOf(r)] = b
			}
		}
	}
	for _, b := range got {
		if len(b.Records) == 0 {
			note("the target got a batch without records")
			continue
		}
		from := map[*esm.Batch]bool{}
		for _, r := range b.Records {
			if s := source[placeOf(r)]; s != nil {
				from[s] = true
			}
		}
		if len(from) > 1 {
			note("one call of the target got records of %d batches", len(from))
		}
		for s := range from {
			if b.Attempt != 0 && b.Attempt != s.Attempt || b.ID != "" && b.ID != s.ID || b.Mapping != "" && b.Mapping != s.Mapping || b.Group != "" && b.Group != s.Group {
				lesser = append(lesser, fmt.Sprintf("the target got %s with the records of %s", infoOf(b), infoOf(s)))
			}
		}
		once := map[esm.TopicPartition]bool{}
		for tp, records := range b.ByPartition() {
			if once[tp] {
				note("the records of %s/%d do not stand together", tp.Topic, tp.Partition)
			}
			once[tp] = true
			if have[tp] == nil && want[tp] == nil {
				partitions = append(partitions, tp)
			}
			have[tp] = append(have[tp], records...)
		}
	}
	slices.SortFunc(partitions, comparePartitions)
	for _, tp := range slices.Compact(partitions) {
		w, h := want[tp], have[tp]
		if a.drops {
			w = found(w, h)
		}
		hint := ""
		if len(h) < len(w) {
			hint = dropsHint
		}
		switch {
		case len(w) != len(h) && !a.drops:
			note("the target got %d records of %s/%d, not %d%s", len(h), tp.Topic, tp.Partition, len(w), hint)
		case len(w) != len(h):
			note("the target got %s/%d offset %d, which is not one of those that were sent, or comes twice or out of order", tp.Topic, tp.Partition, h[len(w)].Offset)
		}
		for i := range min(len(w), len(h)) {
			if d := difference(w[i], h[i]); d != "" {
				note("record %d of %s/%d: %s", i, tp.Topic, tp.Partition, d)
				break // those after it may only have moved
			}
		}
	}
	report(t, append(wrong, lesser...)...)
	return got
}

// found are those of the records that others are, in their order, up to the first
// that none of them is.
func found(records, others []*kgo.Record) (same []*kgo.Record) {
	for _, o := range others {
		i := slices.IndexFunc(records, func(r *kgo.Record) bool { return r.Offset == o.Offset })
		if i < 0 {
			break
		}
		same = append(same, records[i])
		records = records[i+1:]
	}
	return same
}

// infoOf is what a batch says of itself.
func infoOf(b *esm.Batch) string {
	return fmt.Sprintf("attempt %d, id %q, mapping %q, group %q", b.Attempt, b.ID, b.Mapping, b.Group)
}

func comparePartitions(a, b esm.TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// difference says what is different in a record of the same partition, if
// anything is.
func difference(want, got *kgo.Record) string {
	var ds []string
	differ := func(what string, got, want any) { ds = append(ds, fmt.Sprintf("%s %v, not %v", what, got, want)) }
	if got.Offset != want.Offset {
		differ("offset", got.Offset, want.Offset)
	}
	if g, w := got.Timestamp.UnixMilli(), want.Timestamp.UnixMilli(); g != w {
		differ("timestamp", g, w)
	}
	if !same(got.Key, want.Key) {
		differ("key", show(got.Key), show(want.Key))
	}
	if !same(got.Value, want.Value) {
		differ("value", show(got.Value), show(want.Value))
	}
	if !slices.EqualFunc(got.Headers, want.Headers, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }) {
		differ("headers", showHeaders(got.Headers), showHeaders(want.Headers))
	}
	return strings.Join(ds, "; ")
}

// same is bytes.Equal, with nil apart from empty: in Kafka a nil value is a
// tombstone and an empty one is not.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// show makes something short of a key or a value.
func show(b []byte) string {
	const most = 40
	switch {
	case b == nil:
		return "nil"
	case len(b) > most:
		return fmt.Sprintf("%q... (%d bytes)", b[:most], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func showHeaders(hs []kgo.RecordHeader) string {
	var s []string
	for _, h := range hs {
		s = append(s, h.Key+"="+show(h.Value))
	}
	return "[" + strings.Join(s, " ") + "]"
}

// record makes a record like any other. Timestamps run backward, as they may.
func record(topic string, partition int32, offset int64) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Partition: partition, Offset: offset, LeaderEpoch: 3,
		Timestamp: time.UnixMilli(1_700_000_000_000 - offset%1_000_000),
		Key:       fmt.Appendf(nil, "key %d", offset%7),
		Value:     fmt.Appendf(nil, "value of %s/%d at %d", topic, partition, offset),
		Headers:   []kgo.RecordHeader{{Key: "trace", Value: fmt.Appendf(nil, "%d-%d", partition, offset)}},
	}
}

// batch makes a batch of records.
func batch(id string, records ...*kgo.Record) *esm.Batch {
	return &esm.Batch{Records: records, Attempt: 1, ID: "conformance-" + id, Mapping: "conformance", Group: "conformance-group"}
}

// plainBatch is the nth of a few simple batches of one partition.
func plainBatch(n int) *esm.Batch {
	first := int64(10 * n)
	return batch(fmt.Sprintf("plain-%d", n), record("orders", 0, first), record("orders", 0, first+1), record("orders", 0, first+2))
}

// isFirst reports whether a batch is plainBatch(0), or some of it.
func isFirst(b *esm.Batch) bool {
	return slices.ContainsFunc(b.Records, func(r *kgo.Record) bool { return r.Offset < 10 })
}

// ownBatch is the batch of a partition in a round of calls at once.
func ownBatch(partition int32, round int) *esm.Batch {
	first := int64(10 * round)
	return batch(fmt.Sprintf("own-%d-%d", partition, round), record("orders", partition, first), record("orders", partition, first+1))
}

// mixedBatch has several topics and partitions, in no order that sorting would
// keep. The names are such that one that ends in a number looks like a
// partition of another.
func mixedBatch() *esm.Batch {
	b := batch("mixed")
	for _, tp := range []esm.TopicPartition{{Topic: "users", Partition: 1}, {Topic: "orders", Partition: 10}, {Topic: "orders", Partition: 1}, {Topic: "orders-1", Partition: 0}, {Topic: "eu.orders_v2", Partition: 3}} {
		for o := range int64(4) {
			b.Records = append(b.Records, record(tp.Topic, tp.Partition, 100-int64(tp.Partition)+o))
		}
	}
	return b
}

// arrives makes a check that records arrive.
func (c *conformance) arrives(name string, records func() []*kgo.Record) check {
	return check{name, func(t testing.TB) {
		got := c.arrivals()
		inv := c.invoker(t, got.target(nil))
		c.succeeds(t, inv, batch("arrives", records()...))
		got.compare(t, batch("arrives", records()...))
	}}
}

// everyByte has all bytes there are, of which many are no UTF-8.
func everyByte() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func (c *conformance) arrivalChecks() []check {
	return []check{
		c.arrives("a single record arrives", func() []*kgo.Record {
			return []*kgo.Record{record("orders", 0, 0)}
		}),
		c.arrives("nil and empty keys and values arrive as they are", func() (rs []*kgo.Record) {
			contents := [][]byte{nil, {}, []byte("x"), everyByte()}
			for i, key := range contents {
				for j, value := range contents {
					r := record("orders", 0, int64(len(contents)*i+j))
					r.Key, r.Value = key, value
					rs = append(rs, r)
				}
			}
			return rs
		}),
		c.arrives("headers arrive in order", func() (rs []*kgo.Record) {
			for i, headers := range [][]kgo.RecordHeader{
				nil,
				{{Key: "one", Value: []byte("1")}},
				{{Key: "b", Value: []byte("2")}, {Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("3")}, {Key: "B", Value: []byte("4")}},
				{{Key: "none", Value: nil}, {Key: "empty", Value: []byte{}}, {Key: "every byte", Value: everyByte()}, {Key: "größe", Value: []byte("ö")}},
			} {
				r := record("orders", 0, int64(i))
				r.Headers = headers
				rs = append(rs, r)
			}
			return rs
		}),
		c.arrives("offsets and timestamps arrive", func() (rs []*kgo.Record) {
			for offset, at := range map[int64]int64{0: 0, 1: 1, 17: 1_700_000_000_123, 5_000_000_000: 1_699_999_999_999, 5_000_000_001: 4_102_444_800_000} {
				r := record("orders", 0, offset)
				r.Timestamp = time.UnixMilli(at)
				rs = append(rs, r)
			}
			slices.SortFunc(rs, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
			return rs
		}),
		c.arrives("several topics and partitions arrive each in order", func() []*kgo.Record {
			return mixedBatch().Records
		}),
		c.arrives("ten thousand records arrive", func() (rs []*kgo.Record) {
			for p := range int32(10) {
				for o := range int64(1000) {
					rs = append(rs, record("orders", p, o))
				}
			}
			return rs
		}),
		c.arrives("records of 1 MiB arrive", func() (rs []*kgo.Record) {
			for o := range int64(3) {
				r := record("orders", 0, o)
				r.Value = bytes.Repeat(everyByte(), 1<<20/256)
				rs = append(rs, r)
			}
			return rs
		}),
	}
}
