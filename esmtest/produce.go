package esmtest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
)

// partitioner is that of the client: see place.
func (k *Kafka) partitioner() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int { return k.place })
}

// place says which of so many partitions a record goes to: the one that it names
// ([At]), or one by its key, or each in turn.
func (k *Kafka) place(r *kgo.Record, partitions int) int {
	if p, ok := r.Context.Value(atKey{}).(int32); ok {
		return int(p)
	}
	if r.Key != nil {
		h := fnv.New32a()
		_, _ = h.Write(r.Key) // never fails
		return int(h.Sum32() % uint32(partitions))
	}
	turn, _ := k.turns.LoadOrStore(r.Topic, new(atomic.Uint64))
	return int((turn.(*atomic.Uint64).Add(1) - 1) % uint64(partitions))
}

type atKey struct{}

// Produce writes records with these values to a topic, to its partitions in
// turn, from partition 0 on, and waits until they are written.
func (k *Kafka) Produce(topic string, values ...string) {
	k.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Value: []byte(v)}
	}
	k.ProduceRecords(records...)
}

// ProduceTo writes records with these values to one partition, and waits until
// they are written.
func (k *Kafka) ProduceTo(topic string, partition int32, values ...string) {
	k.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = At(partition, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
	k.ProduceRecords(records...)
}

// At makes [Kafka.ProduceRecords] write a record to this partition.
func At(partition int32, r *kgo.Record) *kgo.Record {
	ctx := r.Context
	if ctx == nil {
		ctx = context.Background()
	}
	r.Context = context.WithValue(ctx, atKey{}, partition)
	return r
}

// ProduceRecords writes records, and waits until they are written. Those of a
// partition are one record batch, as far as they fit, so that one poll brings them. It
// sets the partition and the offset of each, and the timestamp of those that have none.
// A record without a topic is an error.
func (k *Kafka) ProduceRecords(records ...*kgo.Record) {
	k.t.Helper()
	needSame(k.t, "this Kafka", k.bubble)
	batches, err := k.batches(records)
	for last := time.Now(); err == nil && len(batches) > 0; {
		var refused error
		n := len(batches)
		switch batches, refused, err = k.write(batches); {
		case len(batches) < n:
			last = time.Now()
		case refused != nil && time.Since(last) > writeFor:
			err = refused
		case refused != nil:
			time.Sleep(writeEvery)
		}
	}
	if err != nil {
		k.t.Fatalf("esmtest: produce: %v", err)
	}
}

// A recordBatch is what is written to one partition at once.
//
// The client's own producer is not asked. When it has sent something, it looks for more
// on a goroutine that may come late, and sends the first records of the next call before
// the others are there.
type recordBatch struct {
	esm.TopicPartition
	records     []*kgo.Record
	encoded     []byte // the records
	first, last int64  // timestamp, in milliseconds
}

const (
	// batchMost is how many bytes the records of a batch take: a broker takes 1 MiB with
	// all that is around them. A larger record is a batch, and is the broker's to refuse.
	batchMost = 1_000_000
	// writeFor is for how long batches are written again that brokers refuse for now.
	writeFor = 10 * time.Second
	// writeEvery is how often.
	writeEvery = 50 * time.Millisecond
)

// batches puts the records of each partition together.
func (k *Kafka) batches(records []*kgo.Record) (batches []*recordBatch, err error) {
	last := map[esm.TopicPartition]*recordBatch{}
	partitions := map[string]int{}
	for _, r := range records {
		if r.Context == nil {
			r.Context = context.Background()
		}
		if partitions[r.Topic] == 0 {
			partitions[r.Topic] = len(k.cluster.PartitionInfos(r.Topic))
		}
		n := partitions[r.Topic]
		if n == 0 {
			return nil, fmt.Errorf("topic %q: %w", r.Topic, kerr.UnknownTopicOrPartition)
		}
		p := k.place(r, n)
		if p < 0 || p >= n {
			return nil, fmt.Errorf("topic %q has no partition %d: it has %d", r.Topic, p, n)
		}
		at := esm.TopicPartition{Topic: r.Topic, Partition: int32(p)}
		if b := last[at]; b == nil || !b.add(r) {
			b = &recordBatch{TopicPartition: at}
			b.add(r)
			batches, last[at] = append(batches, b), b
		}
	}
	return batches, nil
}

// add adds a record, if it fits.
func (b *recordBatch) add(r *kgo.Record) bool {
	if r.Timestamp.IsZero() {
		r.Timestamp = time.Now()
	}
	at := r.Timestamp.UnixMilli()
	if len(b.records) == 0 {
		b.first, b.last = at, at
	}
	k := kmsg.Record{Key: r.Key, Value: r.Value, OffsetDelta: int32(len(b.records)), TimestampDelta64: at - b.first}
	for _, h := range r.Headers {
		k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	k.Length = int32(len(k.AppendTo(nil)) - 1) // all but a length of 0
	encoded := k.AppendTo(b.encoded)
	if len(b.records) > 0 && len(encoded) > batchMost {
		return false
	}
	b.encoded, b.records, b.last = encoded, append(b.records, r), max(b.last, at)
	return true
}

// castagnoli is the checksum of a batch.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A producer is who writes to a topic. Brokers know what it wrote by the sequence of its
// records, so that a batch whose answer is lost can be written again.
type producer struct {
	id    int64
	epoch int16
	next  map[int32]int32 // sequence, by partition
}

// producer returns that of a topic.
func (k *Kafka) producer(topic [16]byte) (*producer, error) {
	if p := k.producers[topic]; p != nil {
		return p, nil
	}
	resp, err := kmsg.NewPtrInitProducerIDRequest().RequestWith(context.Background(), k.Client())
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("init producer id: %w", err)
	}
	p := &producer{resp.ProducerID, resp.ProducerEpoch, map[int32]int32{}}
	if k.producers == nil {
		k.producers = map[[16]byte]*producer{}
	}
	k.producers[topic] = p
	return p, nil
}

// encode is the batch as Kafka has it.
func (b *recordBatch) encode(by *producer) []byte {
	const before, covered = 12, 21 // what its length leaves out, and its checksum
	k := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(len(b.records) - 1), FirstTimestamp: b.first, MaxTimestamp: b.last,
		ProducerID: by.id, ProducerEpoch: by.epoch, FirstSequence: by.next[b.Partition], NumRecords: int32(len(b.records)), Records: b.encoded,
	}
	encoded := k.AppendTo(nil)
	binary.BigEndian.PutUint32(encoded[8:], uint32(len(encoded)-before))
	binary.BigEndian.PutUint32(encoded[17:], crc32.Checksum(encoded[covered:], castagnoli))
	return encoded
}

// write writes the first batch of each partition, in one request for each broker. It
// returns what is left to be written, and why a broker refused some of that for now.
func (k *Kafka) write(batches []*recordBatch) (left []*recordBatch, refused, err error) {
	requests := map[int32]*kmsg.ProduceRequest{}
	names, producers := map[[16]byte]string{}, map[string]*producer{}
	asked := map[esm.TopicPartition]*recordBatch{}
	for _, b := range batches {
		topic, leader := k.cluster.TopicInfo(b.Topic), k.cluster.LeaderFor(b.Topic, b.Partition)
		switch {
		case topic == nil || leader < 0:
			return nil, nil, fmt.Errorf("%v: %w", b.TopicPartition, kerr.UnknownTopicOrPartition)
		case asked[b.TopicPartition] != nil:
			continue
		}
		by, err := k.producer(topic.TopicID)
		if err != nil {
			return nil, nil, err
		}
		asked[b.TopicPartition], names[topic.TopicID], producers[b.Topic] = b, b.Topic, by
		if requests[leader] == nil {
			requests[leader] = kmsg.NewPtrProduceRequest()
			requests[leader].Acks, requests[leader].TimeoutMillis = -1, int32(writeFor.Milliseconds())
		}
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = b.Partition, b.encode(by)
		requests[leader].Topics = append(requests[leader].Topics, kmsg.ProduceRequestTopic{
			Topic: b.Topic, TopicID: topic.TopicID, Partitions: []kmsg.ProduceRequestTopicPartition{p},
		})
	}
	written := map[*recordBatch]bool{}
	for leader, req := range requests {
		answer, err := k.Client().Broker(int(leader)).RetriableRequest(context.Background(), req)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range answer.(*kmsg.ProduceResponse).Topics {
			for _, p := range t.Partitions {
				b := asked[esm.TopicPartition{Topic: cmp.Or(t.Topic, names[t.TopicID]), Partition: p.Partition}]
				switch err := kerr.ErrorForCode(p.ErrorCode); {
				case b == nil:
				case err == nil:
					written[b] = true
					producers[b.Topic].next[b.Partition] += int32(len(b.records))
					for i, r := range b.records {
						r.Partition, r.Offset = b.Partition, p.BaseOffset+int64(i)
					}
				case kerr.IsRetriable(err):
					refused = fmt.Errorf("%v: %w", b.TopicPartition, err)
				default:
					return nil, nil, fmt.Errorf("%v: %w", b.TopicPartition, err)
				}
			}
		}
	}
	if len(written) == 0 && refused == nil {
		return nil, nil, errors.New("the brokers' answers leave out what was asked")
	}
	return slices.DeleteFunc(batches, func(b *recordBatch) bool { return written[b] }), refused, nil
}
