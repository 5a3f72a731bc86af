package proof_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

func TestRetriesWithTwoFailuresInFiveVirtualMinutes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Fail(2, errBilling)
		esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithBackoff(esm.Constant(2*time.Minute)))
		k.Produce("orders", "a", "b")
		time.Sleep(5 * time.Minute)
		if got := inv.Calls(); len(got) != 3 || got[2].At.Sub(got[1].At) != 2*time.Minute {
			t.Fatal(got)
		}
		if got := k.Committed("billing", "orders", 0); got != 2 {
			t.Fatal(got)
		}
	})
}

// TestOutcomes calls a function that ends in every way that there is, and says
// what the Mapping makes of it: when it calls again, what counts as an attempt,
// and what is committed meanwhile.
func TestOutcomes(t *testing.T) {
	const backoff = 10 * time.Second
	tests := []struct {
		name     string
		script   func(*esmtest.Invoker)
		opts     []esm.Option
		attempts []int         // of the calls
		gap      time.Duration // between the first two calls
		outcome  esm.Outcome   // of the first
	}{
		{name: "success", script: func(i *esmtest.Invoker) { i.Return(nil) }, attempts: []int{1}, outcome: esm.OutcomeSuccess},
		{name: "error", script: func(i *esmtest.Invoker) { i.Fail(2, errBilling) }, attempts: []int{1, 2, 3}, gap: backoff, outcome: esm.OutcomeFailure},
		{name: "panic", script: func(i *esmtest.Invoker) { i.Panic("oh") }, attempts: []int{1, 2}, gap: backoff, outcome: esm.OutcomeFailure},
		{name: "panic with nil", script: func(i *esmtest.Invoker) { i.Panic(nil) }, attempts: []int{1, 2}, gap: backoff, outcome: esm.OutcomeFailure},
		{name: "panic with an error", script: func(i *esmtest.Invoker) { i.Panic(esm.Halt(nil)) }, attempts: []int{1}, outcome: esm.OutcomeHalt},
		{name: "goexit", script: func(i *esmtest.Invoker) { i.Goexit() }, attempts: []int{1, 2}, gap: backoff, outcome: esm.OutcomeFailure},
		{name: "throttled", script: func(i *esmtest.Invoker) { i.Throttle(2, 3*time.Second) }, attempts: []int{1, 1, 1}, gap: 3 * time.Second, outcome: esm.OutcomeThrottled},
		{name: "throttled, wrapped twice", script: func(i *esmtest.Invoker) {
			i.Return(fmt.Errorf("call: %w", errors.Join(errBilling, fmt.Errorf("again: %w", esm.Throttled(3*time.Second, nil)))))
		}, attempts: []int{1, 1}, gap: 3 * time.Second, outcome: esm.OutcomeThrottled},
		{name: "throttled without a time", script: func(i *esmtest.Invoker) { i.Throttle(1, 0) }, attempts: []int{1, 1}, gap: backoff, outcome: esm.OutcomeThrottled},
		{name: "the sentinel alone", script: func(i *esmtest.Invoker) { i.Return(esm.ErrThrottled) }, attempts: []int{1, 1}, gap: backoff, outcome: esm.OutcomeThrottled},
		{name: "halt in a join with a throttle", script: func(i *esmtest.Invoker) {
			i.Return(errors.Join(esm.Throttled(time.Second, nil), esm.Halt(errBilling)))
		}, attempts: []int{1}, outcome: esm.OutcomeHalt},
		{name: "timeout", opts: []esm.Option{esm.WithInvokeTimeout(2 * time.Second)}, script: func(i *esmtest.Invoker) { i.Block() }, attempts: []int{1, 2}, gap: 2*time.Second + backoff, outcome: esm.OutcomeFailure},
		{name: "halt after the timeout is a failure", opts: []esm.Option{esm.WithInvokeTimeout(2 * time.Second)}, script: func(i *esmtest.Invoker) {
			i.Then(func(ctx context.Context, _ *esm.Batch) error { <-ctx.Done(); return esm.Halt(nil) })
		}, attempts: []int{1, 2}, gap: 2*time.Second + backoff, outcome: esm.OutcomeFailure},
		{name: "success after the timeout", opts: []esm.Option{esm.WithInvokeTimeout(2 * time.Second)}, script: func(i *esmtest.Invoker) {
			i.Then(func(ctx context.Context, _ *esm.Batch) error { <-ctx.Done(); return nil })
		}, attempts: []int{1}, outcome: esm.OutcomeSuccess},
		{name: "an error that panics when it is looked at", script: func(i *esmtest.Invoker) { i.Return(nastyError{}) }, attempts: []int{1, 2}, gap: backoff, outcome: esm.OutcomeFailure},
		{name: "a back-off that panics", opts: []esm.Option{esm.WithBackoff(func(int) time.Duration { panic("oh") })}, script: func(i *esmtest.Invoker) { i.Fail(1, errBilling) }, attempts: []int{1, 2}, outcome: esm.OutcomeFailure},
		{name: "a back-off that exits", opts: []esm.Option{esm.WithBackoff(func(int) time.Duration { runtime.Goexit(); return 0 })}, script: func(i *esmtest.Invoker) { i.Fail(1, errBilling) }, attempts: []int{1, 2}, outcome: esm.OutcomeFailure},
		{name: "a back-off that is negative", opts: []esm.Option{esm.WithBackoff(esm.Constant(-time.Hour))}, script: func(i *esmtest.Invoker) { i.Fail(1, errBilling) }, attempts: []int{1, 2}, outcome: esm.OutcomeFailure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				inv := esmtest.NewInvoker(t)
				tt.script(inv)
				var seen list[esm.Outcome]
				opts := append([]esm.Option{esm.WithBackoff(esm.Constant(backoff)), esm.WithHooks(esm.Hooks{
					InvokeEnded: func(i esm.Invocation) { seen.add(i.Outcome) },
				})}, tt.opts...)
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, opts...)
				k.Produce("orders", "a", "b", "c")
				time.Sleep(time.Second)
				calls := inv.Calls()
				if tt.gap > time.Second && len(calls) > 0 && k.Committed("billing", "orders", 0) > 0 {
					t.Errorf("committed %d before the batch is settled", k.Committed("billing", "orders", 0))
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				calls = inv.Calls()
				var attempts []int
				for _, c := range calls {
					attempts = append(attempts, c.Batch.Attempt)
					if got := strings.Join(c.Values(), ""); got != "abc" {
						t.Errorf("a call got %q", got)
					}
				}
				if !slices.Equal(attempts, tt.attempts) {
					t.Fatalf("attempts %v, want %v: %v", attempts, tt.attempts, calls)
				}
				if tt.gap > 0 && calls[1].At.Sub(calls[0].At) != tt.gap {
					t.Errorf("the second call came %s after the first, want %s", calls[1].At.Sub(calls[0].At), tt.gap)
				}
				outcomes := seen.all()
				// In any order: each call is told by the goroutine that made it.
				if len(outcomes) != len(calls) || !slices.Contains(outcomes, tt.outcome) {
					t.Errorf("the calls were %v, want one to be %s", outcomes, tt.outcome)
				}
				if tt.outcome == esm.OutcomeHalt {
					<-m.Done()
					return
				}
				if got := k.Committed("billing", "orders", 0); got != 3 {
					t.Errorf("committed %d", got)
				}
			})
		})
	}
}

// nastyError panics when anybody asks what it is.
type nastyError struct{}

func (nastyError) Error() string { panic("do not look at me") }
func (nastyError) Is(error) bool { panic("do not compare me") }

func TestBatchesOfAPartitionFollowEachOtherInOrder(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
		fill(k, "orders", 3, 500)
		var n atomic.Int64
		inv := esmtest.NewInvoker(t).Takes(10 * time.Millisecond).Always(func(context.Context, *esm.Batch) error {
			if n.Add(1)%3 == 0 {
				return errBilling
			}
			return nil
		})
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(7), esm.WithBackoff(esm.Constant(time.Second)))
		time.Sleep(30 * time.Minute)
		next := map[int32]int64{}
		last := map[int32]*esm.Batch{}
		for _, c := range inv.Calls() {
			for tp, records := range c.Batch.ByPartition() {
				first := records[0].Offset
				if b := last[tp.Partition]; b != nil && len(c.Batch.Records) > len(records) {
					continue // a combined batch is first attempts only
				} else if b != nil && (first != b.Records[0].Offset || len(records) != len(b.Records)) {
					t.Errorf("partition %d: a batch of %d at %d failed, and then %d at %d came", tp.Partition, len(b.Records), b.Records[0].Offset, len(records), first)
				}
				if first != next[tp.Partition] {
					t.Errorf("partition %d: offset %d came when %d was next", tp.Partition, first, next[tp.Partition])
				}
				delete(last, tp.Partition)
				if c.Err == nil {
					next[tp.Partition] = records[len(records)-1].Offset + 1
				} else if len(c.Batch.Records) == len(records) {
					last[tp.Partition] = c.Batch
				}
			}
		}
		for p, at := range next {
			if at != 500 {
				t.Errorf("partition %d: handled to %d", p, at)
			}
		}
	})
}

func TestPoisonInACombinedBatchHoldsUpItsOwnPartitionOnly(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 16
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			for _, r := range b.Records {
				if string(r.Value) == "poison" {
					return errBilling
				}
			}
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBackoff(esm.Constant(time.Hour)),
			esm.WithBatchWindow(500*time.Millisecond))
		for p := range int32(partitions) {
			v := "good"
			if p == 5 {
				v = "poison"
			}
			k.ProduceTo("orders", p, v)
		}
		time.Sleep(2 * time.Second)
		calls := inv.Calls()
		if len(calls[0].Batch.Records) != partitions {
			t.Errorf("the first batch has %d records: thin partitions were not combined", len(calls[0].Batch.Records))
		}
		for _, c := range calls {
			if c.Batch.Attempt != 1 {
				t.Errorf("searching for the poison counted as attempt %d", c.Batch.Attempt)
			}
		}
		// Halves: 16, 8, 8, 4, 4, 2, 2, 1, 1.
		if len(calls) != 9 {
			t.Errorf("%d calls to find one of 16", len(calls))
		}
		for p := range int32(partitions) {
			want := int64(1)
			if p == 5 {
				want = -1
			}
			if got := k.Committed("billing", "orders", p); got != want {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
		if s := m.Stats(); s.WaitingPartitions != 1 || s.BusySlots != 0 {
			t.Errorf("waiting %d, busy %d: a partition in back-off holds a poller", s.WaitingPartitions, s.BusySlots)
		}
		for _, p := range m.AppendPartitions(nil) {
			if (p.Blocker != nil) != (p.Partition == 5) {
				t.Errorf("partition %d: blocker %+v", p.Partition, p.Blocker)
			}
			if b := p.Blocker; b != nil && (b.Offset != 0 || b.Attempts != 1 || !errors.Is(b.Err, errBilling) || b.Next.IsZero()) {
				t.Errorf("%+v", b)
			}
		}
		// The others go on together.
		for p := range int32(partitions) {
			k.ProduceTo("orders", p, "good")
		}
		time.Sleep(2 * time.Second)
		if got := len(inv.Values()); got != 2*(partitions-1) {
			t.Errorf("handled %d", got)
		}
	})
}

func TestThrottleHoldsBackTheWholeMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 8))
		fill(k, "orders", 8, 100)
		inv := esmtest.NewInvoker(t).Throttle(1, time.Minute).Takes(time.Second)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(8), esm.WithPollerConcurrency(1))
		time.Sleep(30 * time.Second)
		if s := m.Stats(); s.BusySlots != 0 || s.ThrottledUntil.IsZero() || s.ThrottleCount != 1 {
			t.Errorf("%d busy, throttled until %s, %d times", s.BusySlots, s.ThrottledUntil, s.ThrottleCount)
		}
		time.Sleep(time.Minute)
		if got := len(inv.Values()); got != 800 {
			t.Errorf("handled %d", got)
		}
	})
}

func TestManyThrottlesAtOnceAreOneRound(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 50))
		fill(k, "orders", 50, 100)
		var mu sync.Mutex
		var rounds []int
		inv := esmtest.NewInvoker(t).Takes(100*time.Millisecond).Throttle(50, 0)
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(50), esm.WithBackoff(func(n int) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			rounds = append(rounds, n)
			return time.Duration(n) * time.Second
		}))
		time.Sleep(20 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if most := slices.Max(rounds); most > 2 {
			t.Errorf("50 throttles at once were counted as %d in a row", most)
		}
		if got := len(inv.Values()); got != 5000 {
			t.Errorf("handled %d", got)
		}
	})
}

func TestFunctionThatMisusesItsBatch(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		var kept []*kgo.Record
		var calls atomic.Int64
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			slices.Reverse(b.Records) // in place
			kept = append(kept, b.Records...)
			b.Records, b.ID, b.Attempt = nil, "", 99
			if calls.Add(1)%2 == 1 {
				return errBilling
			}
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10), esm.WithBackoff(esm.Constant(time.Second)),
			esm.WithHooks(esm.Hooks{InvokeEnded: func(i esm.Invocation) {
				if i.Records == 0 || i.BatchID == "" || i.Attempt == 99 || len(i.Partitions) == 0 {
					t.Errorf("%+v", i)
				}
			}}))
		fill(k, "orders", 2, 100)
		time.Sleep(10 * time.Minute)
		for p := range int32(2) {
			if got := k.Committed("billing", "orders", p); got != 100 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
		for _, r := range kept {
			if len(r.Value) == 0 {
				t.Fatal("a record that was kept lost its value")
			}
		}
		if s := m.Stats(); s.HeldBytes != 0 {
			t.Errorf("%d bytes are held", s.HeldBytes)
		}
	})
}

func TestCallThatOutlivesItsTimeoutKeepsItsPartition(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		inv := esmtest.NewInvoker(t)
		release := inv.Hang()
		var seen list[esm.Invocation]
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithInvokeTimeout(5*time.Second), esm.WithMinPollers(2),
			esm.WithBackoff(esm.Constant(0)), esm.WithHooks(esm.Hooks{InvokeStuck: seen.add}))
		k.ProduceTo("orders", 0, "slow")
		time.Sleep(time.Second)
		k.ProduceTo("orders", 0, "next")
		k.ProduceTo("orders", 1, "other")
		time.Sleep(10 * time.Minute)
		if got := strings.Join(inv.Values(), " "); got != "other" {
			t.Errorf("handled %q beside a call that goes on", got)
		}
		if s := m.Stats(); s.StuckSlots != 1 || s.BusySlots != 1 {
			t.Errorf("stuck %d, busy %d", s.StuckSlots, s.BusySlots)
		}
		stuck := seen.all()
		if len(stuck) != 1 || !errors.Is(stuck[0].Err, esm.ErrInvokeTimeout) || len(stuck[0].Partitions) != 1 {
			t.Errorf("%+v", stuck)
		}
		if err := m.Healthy(); err == nil {
			t.Error("healthy with a stuck call")
		}
		release()
		time.Sleep(time.Minute)
		if got := strings.Join(inv.Values(), " "); got != "other slow next" {
			t.Errorf("handled %q", got)
		}
		if err := m.Healthy(); err != nil {
			t.Error(err)
		}
	})
}

func TestSlowCallIsMentionedOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var seen list[esm.Invocation]
		inv := esmtest.NewInvoker(t).Takes(10 * time.Minute)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.Hooks{InvokeStuck: seen.add}))
		k.Produce("orders", "a")
		time.Sleep(9 * time.Minute)
		stuck := seen.all()
		if len(stuck) != 1 || stuck[0].Err != nil {
			t.Errorf("%+v", stuck)
		}
		if err := m.Healthy(); err != nil {
			t.Errorf("a call that takes its time: %v", err)
		}
		time.Sleep(2 * time.Minute)
	})
}

func TestEachNamesTheRecordThatFailed(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var failed atomic.Bool
		var seen []string
		var ended list[error]
		esmtest.Start(t, k.Source("orders", "billing"), esm.Each(func(_ context.Context, r *kgo.Record) error {
			seen = append(seen, string(r.Value))
			if string(r.Value) == "b" && !failed.Swap(true) {
				return errBilling
			}
			return nil
		}), quiet(), esm.WithHooks(esm.Hooks{InvokeEnded: func(i esm.Invocation) { ended.add(i.Err) }}))
		k.Produce("orders", "a", "b", "c")
		time.Sleep(time.Minute)
		if got := strings.Join(seen, ""); got != "abbc" {
			t.Errorf("saw %q", got)
		}
		errs := ended.all()
		if len(errs) != 3 || !errors.Is(errs[0], errBilling) || !strings.Contains(errs[0].Error(), "orders/0 offset 1") {
			t.Errorf("%v", errs)
		}
	})
}
