// Package awsevent writes the JSON that AWS Lambda makes of Kafka records: the
// event that a function gets, and the document that an on-failure destination
// gets.
//
// The functions are pure. They append to a slice and cannot fail: whatever is
// in a record has a JSON.
//
// # What AWS leaves open
//
//   - A key or value that is null is null. AWS has been seen to write null and
//     to leave the field out; with null, null differs from empty, and a
//     function that looks a field up finds it.
//   - A header whose value is null has an empty array, because functions loop
//     over it.
//   - A topic or a header key that is no UTF-8 has U+FFFD for what is wrong.
//   - A record without a timestamp has -1, and CREATE_TIME.
package awsevent

import (
	"slices"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// An Event is what a function gets.
type Event struct {
	// SourceARN is the ARN of an MSK cluster. Without one the event is that of
	// a self-managed Kafka.
	SourceARN string
	// Brokers are the bootstrap servers.
	Brokers []string
	// Records are the records. They need not be in any order, but those of a
	// partition keep theirs.
	Records []*kgo.Record
}

// AppendEvent appends the event.
func AppendEvent(dst []byte, e *Event) []byte {
	dst = append(slices.Grow(dst, e.room()), '{')
	dst = e.appendSource(dst)
	dst = append(dst, ',')
	dst = e.appendServers(dst)
	dst = append(dst, ',')
	dst = e.appendRecords(dst, appendRecord)
	return append(dst, '}')
}

// room is about how many bytes the event has: with it a slice that has none
// grows once instead of twenty times.
func (e *Event) room() int {
	n := 256 + len(e.SourceARN) + 64*len(e.Brokers)
	for _, r := range e.Records {
		n += 160 + 2*len(r.Topic) + (len(r.Key)+len(r.Value)+4)/3*4
		for i := range r.Headers {
			n += 8 + len(r.Headers[i].Key) + 5*len(r.Headers[i].Value)
		}
	}
	return n
}

// appendPayload appends the event as it stands in the document for a topic,
// where AWS has all fields in the order of the alphabet.
func (e *Event) appendPayload(dst []byte) []byte {
	dst = append(dst, '{')
	dst = e.appendServers(dst)
	dst = append(dst, ',')
	dst = e.appendSource(dst)
	dst = append(dst, ',')
	dst = e.appendRecords(dst, appendRecordSorted)
	return append(dst, '}')
}

func (e *Event) appendSource(dst []byte) []byte {
	if e.SourceARN == "" {
		return append(dst, `"eventSource":"SelfManagedKafka"`...)
	}
	dst = append(dst, `"eventSource":"aws:kafka","eventSourceArn":`...)
	return AppendString(dst, e.SourceARN)
}

func (e *Event) appendServers(dst []byte) []byte {
	dst = append(dst, `"bootstrapServers":"`...)
	for i, b := range e.Brokers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendChars(dst, b)
	}
	return append(dst, '"')
}

// appendRecords appends an array for each partition.
func (e *Event) appendRecords(dst []byte, record func([]byte, *kgo.Record) []byte) []byte {
	dst = append(dst, `"records":{`...)
	records := grouped(e.Records)
	for i, r := range records {
		switch {
		case i > 0 && of(r) == of(records[i-1]):
			dst = append(dst, ',')
		default:
			if i > 0 {
				dst = append(dst, "],"...)
			}
			dst = appendChars(append(dst, '"'), r.Topic)
			dst = strconv.AppendInt(append(dst, '-'), int64(r.Partition), 10)
			dst = append(dst, `":[`...)
		}
		dst = record(dst, r)
	}
	if len(records) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// A partition names one.
type partition struct {
	topic string
	id    int32
}

func of(r *kgo.Record) partition { return partition{r.Topic, r.Partition} }

// grouped returns the records with those of each partition together. A field
// that comes twice in a JSON object is lost to whoever reads it.
func grouped(records []*kgo.Record) []*kgo.Record {
	if alone(records) {
		return records // as in nearly every batch
	}
	rank := ranks.Get().(map[partition]int) // of the first record of each
	defer func() {
		clear(rank)
		ranks.Put(rank)
	}()
	together := true
	for i, r := range records {
		p := of(r)
		if i > 0 && p == of(records[i-1]) {
			continue
		}
		if _, again := rank[p]; again {
			together = false
		} else {
			rank[p] = i
		}
	}
	if together {
		return records
	}
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b *kgo.Record) int { return rank[of(a)] - rank[of(b)] })
	return records
}

// ranks keeps the maps of grouped.
var ranks = sync.Pool{New: func() any { return map[partition]int{} }}

// alone reports whether all records are of one partition.
func alone(records []*kgo.Record) bool {
	for i := 1; i < len(records); i++ {
		if of(records[i]) != of(records[0]) {
			return false
		}
	}
	return true
}

// appendRecord appends a record as it stands in the event.
func appendRecord(dst []byte, r *kgo.Record) []byte {
	dst = append(dst, `{"topic":`...)
	dst = AppendString(dst, r.Topic)
	dst = append(dst, `,"partition":`...)
	dst = strconv.AppendInt(dst, int64(r.Partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	dst = append(dst, ',')
	dst = appendTimestamp(dst, r)
	dst = append(dst, `,"key":`...)
	dst = AppendBase64(dst, r.Key)
	dst = append(dst, `,"value":`...)
	dst = AppendBase64(dst, r.Value)
	dst = append(dst, ',')
	dst = appendHeaders(dst, r.Headers)
	return append(dst, '}')
}

// appendRecordSorted appends a record with its fields in the order of the
// alphabet.
func appendRecordSorted(dst []byte, r *kgo.Record) []byte {
	dst = append(dst, '{')
	dst = appendHeaders(dst, r.Headers)
	dst = append(dst, `,"key":`...)
	dst = AppendBase64(dst, r.Key)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	dst = append(dst, `,"partition":`...)
	dst = strconv.AppendInt(dst, int64(r.Partition), 10)
	dst = append(dst, ',')
	dst = appendTimestamp(dst, r)
	dst = append(dst, `,"topic":`...)
	dst = AppendString(dst, r.Topic)
	dst = append(dst, `,"value":`...)
	dst = AppendBase64(dst, r.Value)
	return append(dst, '}')
}

// appendTimestamp appends the milliseconds since 1970, and who set them.
func appendTimestamp(dst []byte, r *kgo.Record) []byte {
	dst = append(dst, `"timestamp":`...)
	dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
	if r.Attrs.TimestampType() == 1 {
		return append(dst, `,"timestampType":"LOG_APPEND_TIME"`...)
	}
	return append(dst, `,"timestampType":"CREATE_TIME"`...)
}

func appendHeaders(dst []byte, headers []kgo.RecordHeader) []byte {
	return AppendHeaders(append(dst, `"headers":`...), headers)
}

// AppendHeaders appends an array with an object for each header: keys may come
// twice, and their order counts.
func AppendHeaders(dst []byte, headers []kgo.RecordHeader) []byte {
	dst = append(dst, '[')
	for i := range headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = AppendString(dst, headers[i].Key)
		dst = append(dst, ':')
		dst = appendInt8s(dst, headers[i].Value)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
