package esm

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
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
		WithMaxPollers(1), WithPollerConcurrency(1), // one worker: the calls follow each other
		WithLogger(slog.New(slog.DiscardHandler)),
	})
	w, err := newWatch(&c)
	if err != nil {
		b.Fatal(err)
	}
	handled, called := 0, make(chan struct{}, 1)
	inv := InvokerFunc(func(_ context.Context, b *Batch) error {
		if handled += len(b.Records); handled%(partitions*size) == 0 {
			called <- struct{}{}
		}
		return nil
	})
	out := engine.World{Invoke: (&caller{invoker: inv, watch: w}).invoke, Unreadable: newTeller(w, &Source{}).unreadable}
	e := engine.New(&c.Settings, out, newTeller(w, &Source{Group: "g"}), context.Background())
	var ids []partition.ID
	var polls kgo.Fetches
	value := make([]byte, 1000)
	polls = kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders"}}}}
	for p := range int32(partitions) {
		ids = append(ids, partition.ID{Topic: "orders", Partition: p})
		slab := make([]kgo.Record, size)
		fetched := kgo.FetchPartition{Partition: p}
		for i := range slab {
			slab[i] = kgo.Record{Topic: "orders", Partition: p, Value: value, Timestamp: time.UnixMilli(1)}
			fetched.Records = append(fetched.Records, &slab[i])
		}
		polls[0].Topics[0].Partitions = append(polls[0].Topics[0].Partitions, fetched)
	}
	e.Assign(ids, time.Now())
	for _, id := range ids {
		e.Place([]engine.Placement{{ID: id, LeaderEpoch: -1, Committed: true}}, time.Now())
	}
	answers := slices.Repeat([]engine.CommitAnswer{{Unsent: true}}, partitions)
	offset := int64(0)
	b.ReportAllocs()
	for n := 0; n < b.N; n += partitions {
		for i := range polls[0].Topics[0].Partitions {
			for j, r := range polls[0].Topics[0].Partitions[i].Records {
				r.Offset = offset + int64(j)
			}
		}
		offset += int64(size)
		e.Enqueue(polls, time.Now())
		// Until all of it is settled, which is when the last call has ended: the
		// records are used again. What was settled is taken to be committed, and
		// is not: commits are not measured.
		<-called
		for left := partitions; left > 0; {
			fs := e.Books.Frontiers(true, time.Now())
			if len(fs) == 0 {
				runtime.Gosched()
				continue
			}
			left -= len(fs)
			if err := e.Books.Committed(fs, answers[:len(fs)], 0, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if handled < b.N*size {
		b.Fatalf("%d records handled in %d invocations", handled, b.N)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/record")
}
