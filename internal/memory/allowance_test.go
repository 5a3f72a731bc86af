package memory

import (
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// batchesOf has a broker send batches of 1,000 bytes, as far as it may.
func batchesOf(w *Wire, broker, number int32, n int) (read int) {
	for range n {
		b := Batch{ID: partition.ID{Topic: "orders", Partition: number}, Broker: broker, Packed: 10}
		if b.Unread = w.Refuses(); b.Unread {
			w.Batch(b)
			break // the rest of a partition is left
		}
		b.Unpacked, b.Cost = 1000, 1000+recordCost
		w.Batch(b)
		read++
	}
	return read
}

func bringing(partitions ...int32) iter.Seq[partition.ID] {
	var ids []partition.ID
	for _, p := range partitions {
		ids = append(ids, partition.ID{Topic: "orders", Partition: p})
	}
	return slices.Values(ids)
}

// TestAllowanceIsWhatWaitsToBePolled, and nothing else, for however long.
func TestAllowanceIsWhatWaitsToBePolled(t *testing.T) {
	const each = 1000 + recordCost
	w, now := newWire(), time.Unix(1_000_000, 0)
	w.allowance.limit.Store(int64(3 * each))
	arrives := func(broker int32) { w.Response(broker, 1) }
	is := func(what string, got, batches int) {
		t.Helper()
		if waits := int(w.allowance.unpolled.Load()); got != batches && batches >= 0 || waits%each != 0 {
			t.Errorf("%s: %d batches were read, want %d; %d bytes wait", what, got, batches, waits)
		}
	}
	arrives(1)
	is("nothing waits", batchesOf(w, 1, 0, 10), 3)
	arrives(2)
	is("another broker", batchesOf(w, 2, 1, 10), 0)
	w.Polling()
	w.Polled(bringing(0), now)
	if got := w.taken(); w.IsAhead(partition.ID{Topic: "orders", Partition: 1}) || got.packed != 30 {
		t.Errorf("what was refused counts as read: %d", got.packed)
	}
	is("after a poll", batchesOf(w, 2, 1, 2), 2)

	// A poll that is handed over when the next response comes in already.
	w.Polling()
	arrives(2)
	is("the next response", batchesOf(w, 2, 1, 2), 2)
	w.Polled(bringing(1), now)
	is("handed over late", batchesOf(w, 2, 1, 10), 1)
	w.Polling()
	w.Polled(bringing(1), now)
	if n := w.allowance.unpolled.Load(); n != 0 {
		t.Errorf("%d wait after all was polled", n)
	}

	// A poll that waits for its response.
	w.Polling()
	for range 3 {
		arrives(2) // without records
	}
	is("while a poll waits", batchesOf(w, 2, 1, 10), 3)
	w.Polled(bringing(1), now)
	if n := w.allowance.unpolled.Load(); n != 0 {
		t.Errorf("%d wait after all was polled", n)
	}

	// What the client throws away: of a broker that goes on, and of one that is
	// not heard of again.
	arrives(1)
	is("thrown away", batchesOf(w, 1, 0, 10), 3)
	arrives(1)
	is("and fetched again", batchesOf(w, 1, 0, 10), 3)
	arrives(2)
	for range 3 {
		w.Polling()
		w.Polled(bringing(1), now)
		now = now.Add(ResponseEnds)
	}
	if n := w.allowance.unpolled.Load(); n != 0 {
		t.Errorf("%d wait of a broker that is gone", n)
	}
	if len(w.allowance.tallies) > 1 {
		t.Errorf("%d brokers are remembered", len(w.allowance.tallies))
	}
	arrives(1)
	is("it comes back", batchesOf(w, 1, 0, 10), 3)
}

// TestAheadIsWhatWasNotPolled: to pause one of these partitions would have it
// read again.
func TestAheadIsWhatWasNotPolled(t *testing.T) {
	w, now := NewAccount(1<<30).Wire(), time.Unix(1_000_000, 0)
	a, b := partition.ID{Topic: "orders", Partition: 1}, partition.ID{Topic: "orders", Partition: 2}
	w.Batch(Batch{ID: a, Packed: 1})
	w.Batch(Batch{ID: b, Packed: 1, Unread: true})
	if !w.IsAhead(a) || w.IsAhead(b) {
		t.Errorf("ahead: %v, %v", w.IsAhead(a), w.IsAhead(b))
	}
	w.Polling()
	w.Polled(bringing(2), now)
	if !w.IsAhead(a) {
		t.Error("another one was polled")
	}
	w.Polling()
	w.Polled(bringing(1), now)
	if w.IsAhead(a) {
		t.Error("it was polled")
	}
}

// TestWireIsSafe for the client's goroutines, one of each broker, and those that
// poll and watch. What they count adds up.
func TestWireIsSafe(t *testing.T) {
	w := NewAccount(1 << 30).Wire()
	var wg sync.WaitGroup
	for b := range int32(4) {
		wg.Go(func() {
			for range 200 {
				w.Response(b, 10)
				batchesOf(w, b, b, 3)
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			w.Polling()
			w.Polled(bringing(0, 1, 2, 3), time.Unix(int64(i), 0))
			w.IsAhead(partition.ID{Topic: "orders"})
		}
	})
	wg.Wait()
	for range 2 {
		for b := range int32(4) {
			w.Response(b, 0)
		}
	}
	if n := w.allowance.unpolled.Load(); w.Fetched() != 4*200*10 || n != 0 {
		t.Errorf("%d bytes were fetched, and %d wait", w.Fetched(), n)
	}
}
