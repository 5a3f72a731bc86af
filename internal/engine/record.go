package engine

import (
	"cmp"
	"context"
	"slices"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A head is what records from an offset on have in common, until the next one:
// the records of a batch of Kafka.
type head struct {
	from          int64
	producerID    int64
	epoch         int32 // of the leader
	producerEpoch int16
	attrs         kgo.RecordAttrs
}

func headOf(k *kgo.Record) head {
	return head{k.Offset, k.ProducerID, k.LeaderEpoch, k.ProducerEpoch, k.Attrs}
}

// goesOn reports whether another head says the same.
func (h *head) goesOn(o *head) bool {
	return h.producerID == o.producerID && h.epoch == o.epoch && h.producerEpoch == o.producerEpoch && h.attrs == o.attrs
}

// heads are those of the records of a segment or a part, in their order. There is
// seldom more than one, but producers that take turns make one a record.
type heads struct {
	first head
	more  []head // has no room that others write into
}

// begun is how many of more begin at or before an offset.
func (h *heads) begun(offset int64) int {
	i, found := slices.BinarySearchFunc(h.more, offset, func(o head, offset int64) int { return cmp.Compare(o.from, offset) })
	if found {
		i++
	}
	return i
}

// at is that of an offset.
func (h *heads) at(offset int64) *head {
	if i := h.begun(offset); i > 0 {
		return &h.more[i-1]
	}
	return &h.first
}

// add appends one that begins after the others.
func (h *heads) add(o head) {
	last := &h.first
	if n := len(h.more); n > 0 {
		last = &h.more[n-1]
	}
	if !last.goesOn(&o) {
		h.more = append(h.more, o)
	}
}

// cut returns those of some of the records: from one offset to another one, both
// of records.
func (h *heads) cut(from, to int64) heads {
	c := heads{first: *h.at(from)}
	i, j := h.begun(from), h.begun(to)
	c.more = h.more[i:j:j]
	return c
}

// join appends those of records that come after the others.
func (h *heads) join(o *heads) {
	h.add(o.first)
	for _, more := range o.more {
		h.add(more)
	}
}

const (
	// RecordOverhead is what a record costs beside its bytes: the kgo.Record,
	// the engine's own, and the pointer to it in a batch.
	RecordOverhead = int64(unsafe.Sizeof(kgo.Record{}) + unsafe.Sizeof(plan.Record{}) + unsafe.Sizeof(uintptr(0)))
	// headerOverhead is what a header costs beside its bytes.
	headerOverhead = int64(unsafe.Sizeof(kgo.RecordHeader{}))
	// framing is about what Kafka's encoding of a record has beside its bytes.
	framing = 16
)

// number makes a segment of records: see the invariant of plan.Record. What they cost is what they do in the
// response that they came in: there the keys of their headers are twice. This
// is the one pass over all records, so it is written out.
func number(records []*kgo.Record) segment {
	own := make([]plan.Record, len(records))
	s := segment{records: own, kafka: records}
	if len(records) == 0 {
		return s
	}
	bytes, beside := int64(0), int64(len(records))*(RecordOverhead+framing)
	last := headOf(records[0])
	s.contexts.all, s.heads.first = records[0].Context, last
	context := words(&records[0].Context)
	for i, k := range records {
		size := len(k.Key) + len(k.Value)
		content := placeOf(k.Key, k.Value)
		if len(k.Headers) > 0 {
			content = withHeaders(content, k.Headers)
			for j := range k.Headers {
				h := &k.Headers[j]
				size += len(h.Key) + len(h.Value)
				beside += headerOverhead + int64(len(h.Key)+15)&^15
			}
		}
		own[i] = plan.Record{Offset: k.Offset, Millis: k.Timestamp.UnixMilli(), Size: int32(size), Content: content}
		bytes += int64(size)
		if k.ProducerID != last.producerID || k.LeaderEpoch != last.epoch || k.ProducerEpoch != last.producerEpoch || k.Attrs != last.attrs {
			last = headOf(k)
			s.heads.add(last)
		}
		if words(&k.Context) != context || s.contexts.each != nil {
			s.contexts = s.contexts.join(i, contexts{all: k.Context}, 1)
		}
	}
	s.bytes, s.cost = bytes, bytes+beside
	return s
}

// contentOf is a digest of where content is, and how long.
func contentOf(key, value []byte, headers []kgo.RecordHeader) uint32 {
	content := placeOf(key, value)
	if len(headers) > 0 {
		content = withHeaders(content, headers)
	}
	return content
}

// place is where something begins, as far as that fits.
func place(p *byte) uint32 { return uint32(uintptr(unsafe.Pointer(p))) }

// placeOf is the digest without headers. It is simple enough to be made of each
// record that is read.
func placeOf(key, value []byte) uint32 {
	return place(unsafe.SliceData(key))*0x9E3779B1 ^ place(unsafe.SliceData(value)) ^ uint32(len(key))*0x85EBCA77 ^ uint32(len(value))*0xC2B2AE3D
}

// withHeaders adds headers to a digest. An empty list is taken for none.
func withHeaders(content uint32, headers []kgo.RecordHeader) uint32 {
	content += uint32(uintptr(unsafe.Pointer(unsafe.SliceData(headers)))) + uint32(len(headers))*0x27D4EB2F
	for i := range headers {
		h := &headers[i]
		content = content*0x01000193 + place(unsafe.StringData(h.Key))*0x9E3779B1 ^ place(unsafe.SliceData(h.Value)) ^ uint32(len(h.Key))*0x85EBCA77 ^ uint32(len(h.Value))*0xC2B2AE3D
	}
	return content
}

// renew makes a new kgo.Record of one that user code had, as it came from Kafka.
// It reports false if what user code left of it is not what was read.
func renew(r *plan.Record, had *kgo.Record, of partition.ID, h *head, ctx context.Context, into *kgo.Record) bool {
	key, value, headers := had.Key, had.Value, had.Headers
	if contentOf(key, value, headers) != r.Content {
		return false
	}
	*into = kgo.Record{
		Key: key, Value: value, Headers: headers, Timestamp: time.UnixMilli(r.Millis), Topic: of.Topic, Partition: of.Partition,
		Attrs: h.attrs, ProducerEpoch: h.producerEpoch, ProducerID: h.producerID, LeaderEpoch: h.epoch, Offset: r.Offset, Context: ctx,
	}
	return true
}

// contexts are those of kgo.Records: of the client, or of hooks of the user's,
// which may give each its own.
type contexts struct {
	all  context.Context   // if they are one
	each []context.Context // if not
}

// words is what a context is as an interface. To compare contexts could panic.
func words(c *context.Context) [2]uintptr { return *(*[2]uintptr)(unsafe.Pointer(c)) }

// at is that of the nth record.
func (c *contexts) at(n int) context.Context {
	if c.each != nil {
		return c.each[n]
	}
	return c.all
}

// cut returns those of the records from i to j.
func (c contexts) cut(i, j int) contexts {
	if c.each != nil {
		c.each = c.each[i:j:j]
	}
	return c
}

// join appends those of m records to those of n.
func (c contexts) join(n int, more contexts, m int) contexts {
	if c.each == nil && more.each == nil && words(&c.all) == words(&more.all) {
		return c
	}
	each := c.each
	for i := len(each); i < n; i++ {
		each = append(each, c.all)
	}
	for i := range m {
		each = append(each, more.at(i))
	}
	return contexts{each: each}
}

// weight is what records weigh together.
func weight(records []plan.Record) (n int64) {
	for i := range records {
		n += int64(records[i].Size)
	}
	return n
}
