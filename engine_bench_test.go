package esm

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// BenchmarkEngine is what the engine does for records with a function that
// returns at once: polls of ten partitions with one batch each, from their
// arrival until they are settled. An operation is one invocation.
func BenchmarkEngine(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("%d records", size), func(b *testing.B) { benchmarkEngine(b, size) })
	}
}

func benchmarkEngine(b *testing.B, size int) {
	const partitions = 10
	c := defaults("g").with([]Option{
		WithBatchSize(size), WithBatchBytes(1 << 30), WithMemoryBudget(8 << 30), WithPollerByteRate(Unlimited),
		WithPollerConcurrency(1), WithLogger(slog.New(slog.DiscardHandler)),
	})
	inv := InvokerFunc(func(context.Context, *Batch) error { return nil })
	w := silentWatch(&c)
	e := newEngine(&c.settings, calling(inv, w), w, context.Background())
	e.pool.Resize(1, time.Now()) // one worker: the calls follow each other
	var tps []partition.ID
	var polls kgo.Fetches
	value := make([]byte, 1000)
	polls = kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders"}}}}
	for p := range int32(partitions) {
		tps = append(tps, partition.ID{Topic: "orders", Partition: p})
		slab := make([]kgo.Record, size)
		fetched := kgo.FetchPartition{Partition: p}
		for i := range slab {
			slab[i] = kgo.Record{Topic: "orders", Partition: p, Value: value, Timestamp: time.UnixMilli(1)}
			fetched.Records = append(fetched.Records, &slab[i])
		}
		polls[0].Topics[0].Partitions = append(polls[0].Topics[0].Partitions, fetched)
	}
	e.assign(tps, time.Now())
	for _, tp := range tps {
		e.place([]placement{{ID: tp, leaderEpoch: -1, committed: true}}, time.Now())
	}
	offset := int64(0)
	b.ReportAllocs()
	for n := 0; n < b.N; n += partitions {
		for i := range polls[0].Topics[0].Partitions {
			for j, r := range polls[0].Topics[0].Partitions[i].Records {
				r.Offset = offset + int64(j)
			}
		}
		offset += int64(size)
		e.enqueue(polls, time.Now())
		for { // until all of it is settled: the records are used again
			e.mu.Lock()
			done := e.workers == 0
			changed := e.changed.wait()
			e.unlock()
			if done {
				break
			}
			<-changed
		}
		e.mu.Lock()
		for _, l := range e.books.dirty { // what the committer does
			l.dirty = false
		}
		e.books.dirty = e.books.dirty[:0]
		e.unlock()
	}
	if e.counts.settled < int64(b.N*size) {
		b.Fatalf("%d records settled in %d invocations", e.counts.settled, b.N)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/record")
}
