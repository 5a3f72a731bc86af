package esm

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/awsevent"
	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A Batch is what one invocation gets. The slice and the records are its own:
// what is written into them, during the call or after it, concerns nobody else and
// is gone when the batch is tried again. So a record may be handed
// to a client that writes its new place into it, though a copy says better what
// is meant:
//
//	client.ProduceSync(ctx, &kgo.Record{Topic: "out", Key: r.Key, Value: r.Value, Headers: r.Headers})
//
// The bytes of keys, values and headers are read-only: they are shared with the
// next attempt, and no price that is worth paying finds out who changed them
// (package esmtest does, in tests). A function that keeps a record keeps alive
// the memory of all that was fetched with it.
//
// A Batch may be written as a literal, in tests and in invokers that wrap
// others.
type Batch struct {
	// Records are the records, each partition's in offset order and all of a
	// partition together. There is at least one.
	Records []*kgo.Record
	// Attempt is 1 for the first try of this batch, and grows with each try
	// that was an attempt: not with one that was throttled or abandoned, nor
	// with the search for the partition that fails a combined batch.
	Attempt int
	// ID identifies the invocation in logs, hooks and errors. It differs for
	// each, even between processes.
	ID string
	// Mapping is the name of the Mapping, [WithName].
	Mapping string
	// Group is the consumer group, [Source].Group. Together with the topic,
	// partition and offset of a record it names the work that the record is for
	// this group, the same at each attempt and in each process: a key for a
	// function that must not do it twice. (A topic that is deleted and made again
	// begins at offset 0 again.)
	Group string

	origin *origin // nil in a literal
}

// An origin is what an event says of where its records are from.
type origin struct {
	arn     string
	brokers []string
}

// AppendJSON appends the records as the JSON event that AWS Lambda makes of
// them, and returns the extended slice. With a dst that has room it allocates
// nothing.
//
// Keys and values are base64. One that is null is null: AWS has been seen to
// write that, and to leave the field out; events.KafkaEvent of aws-lambda-go sees
// no difference. Headers are objects with one field, one for each header, whose
// value is an array of the bytes as signed numbers, -128 to 127. What is no
// UTF-8 in a topic or in the key of a header becomes U+FFFD, since JSON has
// nothing else. A record of a topic without timestamps has -1.
//
// The event is that of MSK with [Source].ARN, and that of a self-managed Kafka
// without. Its bootstrapServers are [Source].Brokers. A Batch that was written
// as a literal has none.
func (b *Batch) AppendJSON(dst []byte) []byte {
	e := awsevent.Event{Records: b.Records}
	if b.origin != nil {
		e.SourceARN, e.Brokers = b.origin.arn, b.origin.brokers
	}
	return awsevent.AppendEvent(dst, &e)
}

// A TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// topicPartitions names for users what the engine names by IDs.
func topicPartitions(ids []partition.ID) []TopicPartition {
	if ids == nil {
		return nil
	}
	tps := make([]TopicPartition, len(ids))
	for i, id := range ids {
		tps[i] = TopicPartition(id)
	}
	return tps
}

// With returns a copy of the batch with other records, for an invoker that
// calls another one with some of them.
func (b *Batch) With(records []*kgo.Record) *Batch {
	c := *b
	c.Records = records
	return &c
}

// ByPartition ranges over the partitions of the batch with the records of
// each, in the order in which they stand in the batch.
func (b *Batch) ByPartition() iter.Seq2[TopicPartition, []*kgo.Record] {
	return func(yield func(TopicPartition, []*kgo.Record) bool) {
		rest := b.Records
		for len(rest) > 0 {
			first, n := rest[0], 1
			for n < len(rest) && rest[n].Partition == first.Partition && rest[n].Topic == first.Topic {
				n++
			}
			if !yield(TopicPartition{first.Topic, first.Partition}, slices.Clip(rest[:n])) {
				return
			}
			rest = rest[n:]
		}
	}
}

// SettledOf returns the records of b that are settled once a call with ctx and b
// has returned err: those that do not come again for it. It is for an [Invoker] that wraps another one and acts on what is done
// with: counts it, remembers it to drop repeats, ends its traces. The engine uses
// the same code.
//
//   - nil: all of them.
//   - the error of a [Failures]: all but those that it names, and but those after
//     a [Failures.StopAt] in the same partition. If it is said of one of them
//     that the function is throttled or halts the Mapping, the others are settled
//     even so. If one of them is no record of the batch, none is settled.
//   - any other error: none.
//
// A record that the call gives up ([Permanent], [TooLarge]) is not settled by
// it: its Destination comes first. Nor is anything settled by an error that is
// returned after the engine cancelled ctx, for which ctx is there, as in
// [Classify].
//
// A batch that the call passed on in part ([Batch.With]) is given here whole:
// what was left out, and is not named by the error, is settled. Records of a
// partition that belongs to another process meanwhile come again there, whatever
// is returned.
//
// Which partition a record is of is what it says now, so ask before it is
// forwarded if that matters, as it does for StopAt. The records of a partition are
// in offset order. The slice may be that of the batch; do not change it.
func SettledOf(ctx context.Context, b *Batch, err error) []*kgo.Record {
	if err == nil {
		return b.Records
	}
	v := judge(err, context.Cause(ctx))
	shares, tried := sharesOf(b)
	v.resolve(shares)
	var settled []*kgo.Record
	for i, s := range plan.After(v.Verdict, tried, plan.Policy{MaxRetries: -1}, time.Time{}).Sequels { // none, unless each partition goes on for itself
		for _, r := range s.Settled {
			settled = append(settled, shares[i].Kafka[r.Content])
		}
	}
	return settled
}

// sharesOf is what each partition has in an invocation of this batch, as its
// records say now. Which record an error names is for resolve to say.
func sharesOf(b *Batch) (shares []engine.Share, tried []plan.Portion) {
	at := map[TopicPartition]int{}
	for tp, records := range b.ByPartition() {
		i, known := at[tp]
		if !known {
			i = len(shares)
			at[tp] = i
			shares = append(shares, engine.Share{ID: partition.ID(tp)})
		}
		// The records of a partition stand together and in order, but a function
		// may have sorted its batch.
		shares[i].Kafka = append(shares[i].Kafka, records...)
	}
	for i := range shares {
		s := &shares[i]
		slices.SortStableFunc(s.Kafka, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
		for j, k := range s.Kafka {
			// Some may be of one offset by now, so content, which is of no use here,
			// is the place.
			s.Records = append(s.Records, plan.Record{Offset: k.Offset, Content: uint32(j)})
		}
		tried = append(tried, plan.Portion{Records: s.Records})
	}
	return shares, tried
}
