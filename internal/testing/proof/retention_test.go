package proof_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// The tests in this file are about retention that takes records before they are
// read, and after which nothing new comes.

// noticed is how late that is told at most.
const noticed = 10 * time.Second

// wantLost checks that a Mapping told just this as lost, and knows that it has
// nothing to do.
func wantLost(t *testing.T, m *esm.Mapping, told []esm.Gap, from, to int64) {
	t.Helper()
	if len(told) != 1 || told[0].From != from || told[0].To != to {
		t.Errorf("lost %+v, want %d to %d", told, from, to)
	}
	s := m.Stats()
	if s.LostEventCount != to-from {
		t.Errorf("counted %d", s.LostEventCount)
	}
	if lag, known := s.OffsetLag.Sum(); lag != 0 || !known {
		t.Errorf("lag %d, known %t", lag, known)
	}
	for _, p := range m.AppendPartitions(nil) {
		if p.Position != to || p.Frontier != to || p.Committed != to {
			t.Errorf("position %d, frontier %d, committed %d", p.Position, p.Frontier, p.Committed)
		}
	}
}

// TestRetentionTakesAllWhileTheHostIsAway: what is left of the partition is its
// end, which brings no record.
func TestRetentionTakesAllWhileTheHostIsAway(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 1)
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		time.Sleep(2 * time.Second)
		stop(t, m)
		fill(k, "orders", 1, 3700)
		if err := k.Cluster().DeleteRecords("orders", 0, 3701); err != nil {
			t.Fatal(err)
		}
		var losses list[esm.Gap]
		inv := esmtest.NewInvoker(t)
		m = esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.Hooks{RecordsLost: losses.add}))
		time.Sleep(noticed)
		wantLost(t, m, losses.all(), 1, 3701)
		k.Produce("orders", "new")
		time.Sleep(noticed)
		if got := inv.Values(); len(got) != 1 || len(losses.all()) != 1 {
			t.Errorf("handled %v, lost %+v", got, losses.all())
		}
		if got := k.Committed("billing", "orders", 0); got != 3702 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestRetentionTakesAllOnAnyKafka is the same, on a real one too.
func TestRetentionTakesAllOnAnyKafka(t *testing.T) {
	t.Parallel()
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		t.Parallel()
		topic := k.topic(1)
		k.write(topic, 0, "a", "b")
		r := read(t, k.source(topic))
		r.want("a b")
		stop(t, r.m)
		k.write(topic, 0, "c", "d", "e", "f")
		var upTo kadm.Offsets
		upTo.AddOffset(topic, 0, 6, -1)
		deleted, err := k.admin.DeleteRecords(t.Context(), upTo)
		if err = errors.Join(err, deleted.Error()); err != nil {
			t.Fatal(err)
		}
		var losses list[esm.Gap]
		var resets list[esm.Gap]
		hooks := esm.WithHooks(esm.Hooks{RecordsLost: losses.add, PositionReset: resets.add})
		r = read(t, k.source(topic), hooks)
		r.caughtUp(6)
		stop(t, r.m)
		k.wantCommitted(topic, topic, 1, 6)
		// Whoever goes on from that commit is told nothing more.
		r = read(t, k.source(topic), hooks)
		k.write(topic, 0, "g")
		r.want("g")
		r.caughtUp(7)
		if lost := losses.all(); len(lost) != 1 || lost[0].From != 2 || lost[0].To != 6 {
			t.Errorf("lost %+v", lost)
		}
		if len(resets.all()) != 0 {
			t.Errorf("resets %+v", resets.all())
		}
	})
}

// TestRetentionTakesAllWhileItIsPaused: nothing is polled then, and it is told
// all the same.
func TestRetentionTakesAllWhileItIsPaused(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 1)
		var losses list[esm.Gap]
		inv := esmtest.NewInvoker(t)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.Hooks{RecordsLost: losses.add}))
		time.Sleep(2 * time.Second)
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		fill(k, "orders", 1, 10)
		time.Sleep(time.Minute) // the client has them ready
		if lag, _ := m.Stats().OffsetLag.Sum(); lag != 10 {
			t.Errorf("lag %d", lag)
		}
		fill(k, "orders", 1, 1000)
		if err := k.Cluster().DeleteRecords("orders", 0, 1011); err != nil {
			t.Fatal(err)
		}
		time.Sleep(noticed)
		if lag, known := m.Stats().OffsetLag.Sum(); lag != 0 || !known {
			t.Errorf("lag %d, known %t", lag, known)
		}
		m.Resume()
		time.Sleep(noticed)
		// What the client had is handled, and the rest is lost. It has what a fetch
		// brought: the first batch at least, however the producer cut the ten.
		lost := losses.all()
		if len(lost) != 1 || lost[0].To != 1011 || len(inv.Values()) != int(lost[0].From) || lost[0].From < 2 {
			t.Errorf("handled %d, lost %+v", len(inv.Values()), lost)
		}
		if got := k.Committed("billing", "orders", 0); got != 1011 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestRetentionTakesAllBeforeAPausedStart: a Mapping that is paused from the
// start says what it lost before it is resumed.
func TestRetentionTakesAllBeforeAPausedStart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 1)
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		time.Sleep(2 * time.Second)
		stop(t, m)
		fill(k, "orders", 1, 99)
		if err := k.Cluster().DeleteRecords("orders", 0, 100); err != nil {
			t.Fatal(err)
		}
		var losses list[esm.Gap]
		m = esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(), esm.WithHooks(esm.Hooks{RecordsLost: losses.add}))
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(noticed)
		wantLost(t, m, losses.all(), 1, 100)
		m.Resume()
		time.Sleep(noticed)
		wantLost(t, m, losses.all(), 1, 100)
	})
}

// TestRetentionOvertakesAPartitionInBackOff: its records that are in memory are
// tried to their end, and what was never read is told while it waits.
func TestRetentionOvertakesAPartitionInBackOff(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		var losses list[esm.Gap]
		var heal atomic.Bool
		handled := newLedger()
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			if b.Records[0].Partition == 0 && !heal.Load() {
				return errBilling
			}
			handled.handled("m", b)
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10), esm.WithBatchBytes(1<<19), esm.WithMemoryBudget(4<<20),
			esm.WithBackoff(esm.Constant(time.Hour)), esm.WithHooks(esm.Hooks{RecordsLost: losses.add}))
		value := strings.Repeat("x", 10_000)
		write := func(p int32, n int) {
			for range n {
				k.ProduceRecords(esmtest.At(p, &kgo.Record{Topic: "orders", Value: []byte(value)}))
			}
		}
		write(0, 1000)
		time.Sleep(5 * time.Second)
		write(1, 300) // the room is wanted for these
		time.Sleep(time.Minute)
		if err := k.Cluster().DeleteRecords("orders", 0, 1000); err != nil {
			t.Fatal(err)
		}
		time.Sleep(noticed)
		lost := losses.all()
		if len(lost) != 1 || lost[0].Partition != 0 || lost[0].To != 1000 {
			t.Fatalf("lost %+v, and it is %+v", lost, m.AppendPartitions(nil))
		}
		if lag, known := m.Stats().OffsetLag.Sum(); lag != 0 || !known {
			t.Errorf("lag %d, known %t", lag, known)
		}
		heal.Store(true)
		time.Sleep(2 * time.Hour)
		if got, want := handled.different(), lost[0].From+300; got != want || handled.repeated() != 0 {
			t.Errorf("%s, want %d", handled, want)
		}
		if got := losses.all(); len(got) != 1 {
			t.Errorf("lost %+v", got)
		}
		if got := k.Committed("billing", "orders", 0); got != 1000 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestRecordsThatAreAllGoneWhenTheyAreReadAgain: nothing comes that could show
// it.
func TestRecordsThatAreAllGoneWhenTheyAreReadAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 10)
		var lost list[esm.Gap]
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			for _, r := range b.Records {
				r.Value = nil
			}
			if err := k.Cluster().DeleteRecords("orders", 0, 10); err != nil {
				t.Error(err)
			}
			return errBilling
		}), quiet(), esm.WithBackoff(esm.Constant(5*time.Second)), esm.WithHooks(esm.Hooks{RecordsLost: lost.add}))
		time.Sleep(time.Minute)
		n := int64(0)
		for _, i := range lost.all() {
			n += i.To - i.From
		}
		if n != 10 {
			t.Errorf("%d told as lost: %v", n, lost.all())
		}
		if got := k.Committed("billing", "orders", 0); got != 10 {
			t.Errorf("committed %d: %+v", got, m.AppendPartitions(nil))
		}
	})
}

// TestRetentionNeedsNoPollers: what was taken is no work.
func TestRetentionNeedsNoPollers(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions, each = 8, 5000
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		fill(k, "orders", partitions, 1)
		inv := esmtest.NewInvoker(t).Takes(100 * time.Millisecond)
		start := func() *esm.Mapping {
			return esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10), esm.WithPollerConcurrency(1), esm.WithMinPollers(2))
		}
		m := start()
		time.Sleep(5 * time.Second)
		stop(t, m)
		fill(k, "orders", partitions, each-1)
		for p := range int32(partitions - 1) {
			if err := k.Cluster().DeleteRecords("orders", p, each); err != nil {
				t.Fatal(err)
			}
		}
		m = start()
		time.Sleep(20 * time.Minute)
		s := m.Stats()
		if lag, known := s.OffsetLag.Sum(); lag != 0 || !known || s.ProvisionedPollers != 2 {
			t.Errorf("lag %d, known %t, %d pollers", lag, known, s.ProvisionedPollers)
		}
		if s.LostEventCount != (partitions-1)*(each-1) || len(inv.Values()) != each+partitions-1 {
			t.Errorf("%d handled and %d lost", len(inv.Values()), s.LostEventCount)
		}
		for p := range int32(partitions) {
			if got := k.Committed("billing", "orders", p); got != each {
				t.Error(fmt.Sprint("partition ", p, ": committed ", got))
			}
		}
	})
}
