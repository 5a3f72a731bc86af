package proof_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/turns"
)

// TestManyPartitionsKeepAllSlotsBusy: a budget that has room for a few batches of
// each partition is enough, and nothing is read twice.
func TestManyPartitionsKeepAllSlotsBusy(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const (
			partitions, each = 600, 800
			slots, batch     = 300, 100
			call             = 100 * time.Millisecond
			floor            = call * partitions * each / batch / slots
		)
		if raceEnabled && !nightly {
			t.Skip("480,000 records, and nothing that other tests do not race")
		}
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		turns.Take(k.Cluster())
		value := make([]byte, 1024)
		for range each / 50 { // batches of 50 KB
			for p := 0; p < partitions; p += 100 {
				var records []*kgo.Record
				for i := range 5000 {
					records = append(records, esmtest.At(int32(p+i%100), &kgo.Record{Topic: "orders", Value: value}))
				}
				k.ProduceRecords(records...)
			}
		}
		began := time.Now()
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(context.Context, *esm.Batch) error {
			time.Sleep(call)
			return nil
		}), quiet(), esm.WithBatchSize(batch), esm.WithMinPollers(slots/5), esm.WithMaxPollers(slots/5), esm.WithMemoryBudget(80<<20))
		waitFor(t, time.Minute, "all settled", func() bool { return m.Stats().SettledEventCount == partitions*each })
		s, took := m.Stats(), time.Since(began)
		// The last rounds of calls are not full, and which partitions are left for them
		// is a matter of chance: it is 1.1 to 1.3 of the floor.
		if took > floor*7/5 {
			t.Errorf("it took %v, and as long as %v if all slots are busy", took, floor)
		}
		if over := float64(s.PolledEventCount) / (partitions * each); over > 1.001 {
			t.Errorf("each record was read %.2f times", over)
		}
		t.Logf("%v, floor %v", took, floor)
	})
}
