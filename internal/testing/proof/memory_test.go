package proof_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
	"github.com/seed429fd032/esm/scaling"
)

// load writes so many records of this size into each partition, in batches of
// about 50 kB, or of one record.
func load(k *esmtest.Kafka, topic string, partitions, each, size int) {
	value := []byte(strings.Repeat("x", size))
	step := max(1, 50_000/size)
	for left := each; left > 0; left -= step {
		var rs []*kgo.Record
		for p := range int32(partitions) {
			for range min(step, left) {
				rs = append(rs, esmtest.At(p, &kgo.Record{Topic: topic, Value: value}))
			}
		}
		k.ProduceRecords(rs...)
	}
}

// highest watches what a Mapping holds, at each poll.
func highest(into *atomic.Int64) esm.Option {
	return esm.WithHooks(esm.Hooks{Polled: func(i esm.Poll) { into.Store(max(into.Load(), i.Held)) }})
}

func TestHotPartitionWithIdleSiblingsDrainsAtItsIdealTime(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 20))
		var rs []*kgo.Record
		for i := range 10_000 {
			rs = append(rs, esmtest.At(3, &kgo.Record{Topic: "orders", Value: fmt.Append(nil, strings.Repeat("x", 2000), i)}))
		}
		k.ProduceRecords(rs...)
		inv := esmtest.NewInvoker(t).Takes(100 * time.Millisecond)
		// Small enough for the gate to close.
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMemoryBudget(8<<20))
		began := time.Now()
		waitFor(t, time.Minute, "drained", func() bool { return len(inv.Values()) == 10_000 })
		if took := time.Since(began); took > 10500*time.Millisecond {
			t.Errorf("it took %s, ideally 10s", took)
		}
	})
}

func TestPoisonInOneOf100PartitionsLeavesTheOthersAtFullPace(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; not with -short")
	}
	virtual(t, func(t *testing.T) {
		const partitions = 100
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		var handled atomic.Int64
		var late atomic.Int64
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			for tp, rs := range b.ByPartition() {
				if tp.Partition == 7 {
					return errBilling
				}
				if wait := time.Since(rs[0].Timestamp); wait > 2*time.Second {
					late.Add(1)
				}
			}
			handled.Add(int64(len(b.Records)))
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMemoryBudget(16<<20))
		// Two hours or a part of them; the poison's partition gets more than the whole budget.
		value := []byte(strings.Repeat("x", 10_000))
		for i := range build.Volume(120, 30) {
			var rs []*kgo.Record
			for p := range int32(partitions) {
				rs = append(rs, esmtest.At(p, &kgo.Record{Topic: "orders", Value: value[:100]}))
			}
			for range 20 {
				rs = append(rs, esmtest.At(7, &kgo.Record{Topic: "orders", Value: value}))
			}
			k.ProduceRecords(rs...)
			time.Sleep(time.Minute)
			if got, want := handled.Load(), int64((i+1)*(partitions-1)); got != want {
				t.Fatalf("minute %d: handled %d of %d", i, got, want)
			}
		}
		if late.Load() != 0 {
			t.Errorf("%d batches were late", late.Load())
		}
		s := m.Stats()
		if s.HeldBytes > s.MemoryBudget {
			t.Errorf("%d bytes held", s.HeldBytes)
		}
		if s.WaitingPartitions != 1 {
			t.Errorf("%d partitions wait", s.WaitingPartitions)
		}
	})
}

// TestPartitionsInBackoffGiveBackTheirMemory: nearly all partitions fail, and
// between them hold all of the budget. Those that are well must go on.
func TestPartitionsInBackoffGiveBackTheirMemory(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions, bad = 20, 18
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		load(k, "orders", partitions, 2000, 1000) // 40 MB
		var broken atomic.Bool
		broken.Store(true)
		book := newLedger()
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			time.Sleep(100 * time.Millisecond)
			if b.Records[0].Partition < bad && broken.Load() {
				return errBilling
			}
			book.handled("m", b)
			return nil
		})
		var held atomic.Int64
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), highest(&held), esm.WithMinPollers(20), esm.WithBatchBytes(1<<20),
			esm.WithMemoryBudget(8<<20), esm.WithBackoff(esm.Constant(time.Minute)))
		time.Sleep(20 * time.Second)
		if got, want := book.different(), int64(partitions-bad)*2000; got != want {
			t.Errorf("handled %d of the %d records of partitions that are well: %+v", got, want, m.Stats())
		}
		if m.Stats().EvictedEventCount == 0 {
			t.Error("nothing was given back: the test is too easy")
		}
		broken.Store(false)
		time.Sleep(10 * time.Minute)
		if n := book.missing("orders", partitions, 2000); n != 0 || book.repeats != 0 || book.backward != 0 {
			t.Errorf("%d missing: %s", n, book)
		}
		if held.Load() > 8<<20 {
			t.Errorf("held %d at most", held.Load())
		}
		for p := range int32(partitions) {
			if got := k.Committed("billing", "orders", p); got != 2000 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
	})
}

func TestSlowPartitionAmong100FastOnesStarvesNone(t *testing.T) {
	const partitions = 100
	hangs := time.Duration(build.Volume(600, 20)) * time.Second
	drain := func(t *testing.T, slow int32) (took time.Duration) {
		virtual(t, func(t *testing.T) {
			k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
			load(k, "orders", partitions, 1000, 500) // 50 MB
			var fast atomic.Int64
			inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
				if b.Records[0].Partition == slow {
					time.Sleep(hangs)
					return nil
				}
				time.Sleep(100 * time.Millisecond)
				fast.Add(int64(len(b.Records)))
				return nil
			})
			var held atomic.Int64
			m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), highest(&held), esm.WithMinPollers(100), esm.WithMemoryBudget(32<<20))
			began := time.Now()
			waitFor(t, time.Minute, "the fast ones done", func() bool { return fast.Load() >= (partitions-1)*1000 })
			took = time.Since(began)
			if held.Load() > 32<<20 {
				t.Errorf("held %d at most", held.Load())
			}
			waitFor(t, 12*hangs, "the slow one done, of which there are ten batches", func() bool {
				return m.Stats().SettledEventCount == partitions*1000
			})
		})
		return took
	}
	var alone, beside time.Duration
	t.Run("alone", func(t *testing.T) { alone = drain(t, -1) })
	t.Run("beside", func(t *testing.T) { beside = drain(t, 42) })
	if virtualTime && beside > alone*12/10 {
		t.Errorf("it took %s beside a slow partition, and %s without one", beside, alone)
	}
}

func TestEmptyPartitionsBesideFullOnes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 50))
		load(k, "orders", 3, 5000, 1000)
		inv := esmtest.NewInvoker(t).Takes(50 * time.Millisecond)
		var held atomic.Int64
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), highest(&held), esm.WithMinPollers(50), esm.WithMemoryBudget(8<<20))
		began := time.Now()
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 15_000 })
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s, ideally 2.5s", took)
		}
		if held.Load() > 8<<20 {
			t.Errorf("held %d at most", held.Load())
		}
	})
}

func TestBudgetSmallerThanOneFetch(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		load(k, "orders", 4, 100, 100_000) // batches of about 1 MB
		inv := esmtest.NewInvoker(t).Takes(10 * time.Millisecond)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMemoryBudget(1<<20), esm.WithBatchBytes(100_000))
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 400 })
	})
}

func TestRecordsOf5MB(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.ProducerBatchMaxBytes(6<<20), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		setBatchLimit(t, k, "orders", 6<<20)
		big := []byte(strings.Repeat("x", 5<<20))
		for i := range 10 {
			for p := range int32(2) {
				v := big
				if i%2 == 1 {
					v = []byte("small")
				}
				if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Partition: p, Value: v}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		inv := esmtest.NewInvoker(t).Takes(100 * time.Millisecond)
		var held atomic.Int64
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), highest(&held), esm.WithMemoryBudget(16<<20))
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 20 })
		for _, c := range inv.Calls() {
			size := 0
			for _, r := range c.Batch.Records {
				size += len(r.Value)
			}
			if size > 4<<20 && len(c.Batch.Records) > 1 {
				t.Errorf("a batch of %d records has %d bytes", len(c.Batch.Records), size)
			}
		}
		if held.Load() > 16<<20+6<<20 {
			t.Errorf("held %d at most", held.Load())
		}
	})
}

func TestWindowsEndEarlyWhenTheyFillTheBudget(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 50
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		inv := esmtest.NewInvoker(t)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchWindow(300*time.Second), esm.WithBatchSize(10_000),
			esm.WithMemoryBudget(8<<20))
		began := time.Now()
		for range 12 { // 24 MB, and no partition has a batch
			load(k, "orders", partitions, 4, 10_000)
			time.Sleep(time.Second)
		}
		waitFor(t, time.Minute, "most of it handled", func() bool { return m.Stats().SettledEventCount > 12*partitions*4/2 })
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		if got := m.Stats().InvokeCount; got > 40 {
			t.Errorf("%d invocations: windows were ended without need", got)
		}
		time.Sleep(301 * time.Second)
		if got := m.Stats().SettledEventCount; got != 12*partitions*4 {
			t.Errorf("settled %d", got)
		}
	})
}

func TestTwelveBrokers(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 48
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions), esmtest.Brokers(12))
		load(k, "orders", partitions, 1000, 1000) // 48 MB
		inv := esmtest.NewInvoker(t).Takes(100 * time.Millisecond)
		var held atomic.Int64
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), highest(&held), esm.WithMinPollers(48), esm.WithMemoryBudget(32<<20))
		began := time.Now()
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == partitions*1000 })
		// In the first second, what the first fetches might bring is kept free.
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s, ideally 1s", took)
		}
		if held.Load() > 32<<20 {
			t.Errorf("held %d at most", held.Load())
		}
	})
}

// TestCompressedTopic: what is fetched is a fraction of what it becomes.
func TestCompressedTopicStaysWithinTheBudget(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 10
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(900_000))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		rng := rand.New(rand.NewPCG(1, 2))
		for p := range int32(partitions) {
			var rs []*kgo.Record
			for range 6000 {
				value := []byte(strings.Repeat("compressible ", 80))
				for i := range 100 { // to a tenth
					value[i] = byte(rng.Uint32())
				}
				rs = append(rs, &kgo.Record{Topic: "orders", Partition: p, Value: value})
			}
			if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(50 * time.Millisecond); return nil })
		var held atomic.Int64
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), highest(&held), esm.WithMinPollers(10), esm.WithMemoryBudget(16<<20))
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == partitions*6000 })
		if s := m.Stats(); s.FetchedByteCount*5 > s.PolledByteCount {
			t.Errorf("%d fetched, %d polled: the test is too easy", s.FetchedByteCount, s.PolledByteCount)
		}
		// What a fetch becomes is known of those before it only, so the last
		// one may be a poll too many, which is a sixteenth of the budget.
		if held.Load() > 17<<20 {
			t.Errorf("held %d at most", held.Load())
		}
	})
}

// TestMemoryHoldsNobodyUpWhileAllPartitionsAreBusy: the gate is closed, as it
// should be with a backlog, and yet more memory would not help: so it must not
// keep the scaler from a step.
func TestMemoryHoldsNobodyUpWhileAllPartitionsAreBusy(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		load(k, "orders", 4, 100, 2000) // a batch for each
		release := make(chan struct{})
		inv := esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		var sampled list[scaling.Sample]
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMemoryBudget(8<<20), esm.WithHooks(esm.Hooks{
			Sampled: func(d scaling.Decision) { sampled.add(d.Sample) },
		}))
		waitFor(t, 10*time.Second, "busy", func() bool { return m.Stats().BusySlots == 4 })
		load(k, "orders", 4, 5000, 2000)
		time.Sleep(5 * time.Second)
		if s := m.Stats(); !s.MemoryLimited || s.BusySlots != 4 {
			t.Errorf("memory is short: %v, and %d slots are busy", s.MemoryLimited, s.BusySlots)
		}
		time.Sleep(5 * time.Second)
		all := sampled.all()
		if len(all) < 8 {
			t.Fatalf("%d samples", len(all))
		}
		for _, s := range all[len(all)-4:] {
			if s.MemoryLimited || s.Busy != 4 {
				t.Errorf("memory is blamed: %v, with %d busy slots", s.MemoryLimited, s.Busy)
			}
		}
		close(release)
	})
}
