package plan

import (
	"cmp"
	"slices"
	"time"
)

// A Record is what the engine knows of a record of Kafka: numbers of its own,
// taken before user code saw the kgo.Record.
//
// # The invariant
//
// Nothing that the engine does depends on what user code writes into what it
// was given. To forward a record is ordinary code, and it makes the client
// write another partition, offset and context into it, even after the call has
// returned. So positions, sizes and times come from here. Of a kgo.Record that
// user code had nothing is read but its key, value and headers, and that only
// before it is handed over again, after the call: then a new one is made of them
// and of these numbers. If they are not what was read, they are read again from
// Kafka first.
//
// Whether they are is told by where they are: what was read stays alive until it is
// settled, so nothing else can come to be in its place. (A copy is kept alive by
// the anchor of its chunk. What is in a response is never where an allocation
// begins.)
//
// The rejected designs: a copy of each kgo.Record for each call costs 80 ns of
// the 500 that a record costs in all; to compare all of them after each call
// costs 9, and is a data race with a client that still writes.
//
// A record is small and has no pointer in it, because there is one for each that
// is held, written once and seldom read. What the records of a batch of Kafka have
// in common, and where its kgo.Record is, the engine keeps beside it.
type Record struct {
	Offset int64
	Millis int64 // its timestamp, in ms since 1970; 0 or less if it has none
	Size   int32 // of key, value and headers, in bytes
	// Content is a digest of where its key, value and headers are and how long:
	// not of their bytes, which would cost more than all else.
	Content uint32
}

// age is how old a record is; one without a timestamp has none.
func (r *Record) age(now time.Time) time.Duration {
	if r.Millis <= 0 {
		return 0
	}
	return now.Sub(time.UnixMilli(r.Millis))
}

// Find is where an offset is, or would be, in records that are in order.
func Find(records []Record, offset int64) (int, bool) {
	return slices.BinarySearchFunc(records, offset, func(r Record, offset int64) int { return cmp.Compare(r.Offset, offset) })
}
