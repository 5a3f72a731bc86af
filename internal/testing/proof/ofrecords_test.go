package proof_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestPanicSaysNothingOfSingleRecords: the call did not come to the others.
func TestPanicSaysNothingOfSingleRecords(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var calls list[string]
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			calls.add(fmt.Sprint(len(b.Records), " records, attempt ", b.Attempt))
			if b.Attempt > 1 {
				return nil
			}
			var f esm.Failures
			f.Add(b.Records[0], errBilling)
			panic(f.Err())
		}), quiet(), esm.WithBackoff(esm.Constant(time.Minute)))
		k.Produce("orders", "a", "b", "c")
		time.Sleep(30 * time.Second)
		if s := m.Stats(); s.SettledEventCount > 0 || s.InvokeErrorCount != 1 {
			t.Errorf("the call panicked: %d records are settled, %d errors", s.SettledEventCount, s.InvokeErrorCount)
		}
		time.Sleep(time.Minute)
		if got := strings.Join(calls.all(), "; "); got != "3 records, attempt 1; 3 records, attempt 2" {
			t.Errorf("calls of %s", got)
		}
	})
}

// TestLastResultIsSmall, whatever it said of records.
func TestLastResultIsSmall(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const n = 5000
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, n)
		heap := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		var before atomic.Int64
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			if b.Attempt == 1 {
				return errBilling
			}
			before.Store(heap())
			var f esm.Failures
			for i, r := range b.Records {
				f.Add(r, errors.New(strings.Repeat(fmt.Sprint(i%10), 4000)))
			}
			return f.Err()
		}), quiet(), esm.WithBatchSize(n), esm.WithBackoff(func(attempt int) time.Duration { return time.Duration(attempt-1) * time.Hour }))
		waitFor(t, time.Minute, "it failed twice", func() bool { return m.Stats().InvokeErrorCount == 2 })
		if s := m.Stats(); s.InvokedEventCount != 2*n || s.SettledEventCount > 0 {
			t.Errorf("%d records were invoked, and %d settled", s.InvokedEventCount, s.SettledEventCount)
		}
		if more := heap() - before.Load(); more > 8<<20 {
			t.Errorf("what the call said keeps %d MiB", more>>20)
		}
		runtime.KeepAlive(m)
	})
}
