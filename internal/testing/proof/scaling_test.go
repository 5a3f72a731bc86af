package proof_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/scaling"
)

// TestBacklogIsAnsweredAtOnceAndWithoutARebalance is AWS's published run with a
// tenth of the records in batches of a tenth: it begins with one poller, and
// ends hardly later than with all.
func TestBacklogIsAnsweredAtOnceAndWithoutARebalance(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 100))
		fill(k, "orders", 100, 2000)
		inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(100 * time.Millisecond); return nil })
		var scaled list[scaling.Decision]
		rebalances := 0
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10), esm.WithHooks(esm.Hooks{
			Scaled:   scaled.add,
			Assigned: func(esm.Rebalance) { rebalances++ },
		}))
		began := time.Now()
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 200_000 })
		if took := time.Since(began); took > 21600*time.Millisecond { // 20 s with 100 slots from the beginning
			t.Errorf("it took %s: %+v", took, scaled.all())
		}
		if s := m.Stats(); s.ProvisionedPollers != 20 || s.Slots != 100 || s.ActivePollers != 20 {
			t.Errorf("%d pollers with %d slots, %d active; the reason is %q", s.ProvisionedPollers, s.Slots, s.ActivePollers, s.ScaleReason)
		}
		time.Sleep(3 * time.Minute)
		if s := m.Stats(); s.ProvisionedPollers != 1 || s.ActivePollers != 20 || s.ScaleReason.Cause != scaling.NoLag {
			t.Errorf("%d pollers three minutes later, %d active in the last five; the reason is %q", s.ProvisionedPollers, s.ActivePollers, s.ScaleReason)
		}
		time.Sleep(5 * time.Minute)
		if s := m.Stats(); s.ActivePollers != 0 || s.RebalanceCount != 0 || rebalances != 1 {
			t.Errorf("%d active, %d rebalances, %d assignments", s.ActivePollers, s.RebalanceCount, rebalances)
		}
		for _, i := range scaled.all() {
			if i.Reason.Cause == scaling.NoCause {
				t.Errorf("%d to %d for no reason", i.From, i.To)
			}
		}
	})
}

// TestScalesUpForSteadyArrivals: no backlog is needed to see that a poller is
// not enough.
func TestScalesUpForSteadyArrivals(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 20))
		inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(500 * time.Millisecond); return nil })
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithPollerConcurrency(1), esm.WithBatchSize(10))
		for range 120 {
			fill(k, "orders", 20, 5)
			time.Sleep(500 * time.Millisecond)
		}
		s := m.Stats()
		if lag, known := s.OffsetLag.Sum(); !known || lag > 600 {
			t.Errorf("a lag of %d (%v) with %d pollers: %s", lag, known, s.ProvisionedPollers, s.ScaleReason)
		}
	})
}

func TestOnDemandStartsWithOneAndStepsOnceAMinute(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 50))
		fill(k, "orders", 50, 2000)
		inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(time.Second); return nil })
		var scaled []time.Time
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithOnDemand(true), esm.WithHooks(esm.Hooks{
			Scaled: func(i scaling.Decision) {
				if i.Reason.Cause != scaling.Assignment {
					scaled = append(scaled, time.Now())
				}
			},
		}))
		time.Sleep(50 * time.Second)
		if s := m.Stats(); s.ProvisionedPollers != 1 {
			t.Errorf("%d pollers in the first minute", s.ProvisionedPollers)
		}
		time.Sleep(30 * time.Second)
		if s := m.Stats(); s.ProvisionedPollers != 10 {
			t.Errorf("%d pollers after it: %s", s.ProvisionedPollers, s.ScaleReason)
		}
		time.Sleep(5 * time.Minute)
		for i := range scaled {
			if i > 0 && scaled[i].Sub(scaled[i-1]) < time.Minute {
				t.Errorf("scaled at %v", scaled)
			}
		}
	})
}

func TestThrottlesLowerTheNumberOfPollers(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 50))
		fill(k, "orders", 50, 4000)
		var running, charged atomic.Int64
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			defer running.Add(-1)
			if b.Attempt > 1 {
				charged.Add(1)
			}
			if running.Add(1) > 20 { // what the function bears
				return esm.Throttled(500*time.Millisecond, errors.New("429"))
			}
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(10), esm.WithMaxPollers(10))
		time.Sleep(time.Second)
		if err := m.Update(esm.WithMinPollers(1)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, 5*time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 200_000 })
		s := m.Stats()
		if s.ThrottleCount == 0 || s.ThrottleCount*20 > s.InvokeCount {
			t.Errorf("%d throttles of %d invocations", s.ThrottleCount, s.InvokeCount)
		}
		// Not RetryCount: a batch that is throttled twice while others are answered
		// may wait by itself.
		if n := charged.Load(); n != 0 || s.InvokeErrorCount != 0 {
			t.Errorf("throttles were charged: %d second attempts, %d errors", n, s.InvokeErrorCount)
		}
	})
}

// TestBoundsChangedUnderLoad: pollers come and go in the middle of it, and no
// partition notices.
func TestBoundsChangedUnderLoad(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions, each = 30, 3000
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		fill(k, "orders", partitions, each)
		book := newLedger()
		watch := esmtest.NewInvoker(t) // fails the test at two calls at once
		inv := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			book.handled("m", b)
			return watch.Invoke(ctx, b)
		})
		watch.Takes(50 * time.Millisecond)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithPollerConcurrency(1))
		for i := 0; m.Stats().SettledEventCount < partitions*each; i++ {
			if i > 10_000 {
				t.Fatal("it does not end")
			}
			n := 1 + i*7%25
			if err := m.Update(esm.WithMinPollers(n), esm.WithMaxPollers(n), esm.WithPollerConcurrency(1+i%3), esm.WithBatchSize(50+i%100)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			if s := m.Stats(); s.ProvisionedPollers != n || s.Slots != n*(1+i%3) {
				t.Fatalf("%d pollers with %d slots, want %d with %d", s.ProvisionedPollers, s.Slots, n, n*(1+i%3))
			}
		}
		if n := book.missing("orders", partitions, each); n != 0 || book.repeats != 0 || book.backward != 0 {
			t.Errorf("%d missing: %s", n, book)
		}
		if s := m.Stats(); s.RebalanceCount != 0 {
			t.Errorf("%d rebalances", s.RebalanceCount)
		}
	})
}

// TestLagThatGrowsUnderALimitNamesIt in State.
func TestLagThatGrowsUnderALimitNamesIt(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(),
			esm.WithMaxPollers(1), esm.WithPollerByteRate(20_000), esm.WithBatchSize(10))
		for range 180 {
			load(k, "orders", 10, 10, 1000) // 100 kB a second
			time.Sleep(time.Second)
		}
		problems := m.State().Problems
		if len(problems) != 1 || problems[0].With != "lag" || !strings.Contains(problems[0].Err.Error(), "WithPollerByteRate, which is 20000") {
			t.Errorf("%+v", problems)
		}
		if err := m.Healthy(); err != nil {
			t.Error(err)
		}
		if err := m.Update(esm.WithPollerByteRate(esm.Unlimited)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if problems := m.State().Problems; len(problems) != 0 {
			t.Errorf("%+v", problems)
		}
	})
}

// TestByteRateIsKept: as many bytes as the pollers may move, and no more.
func TestByteRateIsKept(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
		load(k, "orders", 10, 2000, 1000) // 20 MB
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(),
			esm.WithMinPollers(2), esm.WithMaxPollers(2), esm.WithPollerByteRate(500_000))
		began := time.Now()
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 20_000 })
		if took := time.Since(began); took < 19*time.Second || took > 21*time.Second {
			t.Errorf("it took %s, and 20 MB at 1 MB/s take 20 s", took)
		}
	})
}

func TestMaxConcurrencyIsKept(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 30))
		fill(k, "orders", 30, 1000)
		inv := esmtest.NewInvoker(t).Takes(100 * time.Millisecond)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(30), esm.WithMaxConcurrency(7))
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 30_000 })
		if _, most := inv.Running(); most != 7 {
			t.Errorf("%d invocations at once", most)
		}
	})
}

// TestTwoMappingsInOneProcess share nothing, also where they read the same.
func TestTwoMappingsInOneProcess(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 3), esmtest.Topic("refunds", 2))
		billing, audit := esmtest.NewInvoker(t).Fail(2, errBilling), esmtest.NewInvoker(t)
		both := k.Source("orders", "audit")
		both.Topics = []string{"orders", "refunds"}
		var mu sync.Mutex
		told := map[string]int{}
		hooks := esm.WithHooks(esm.Hooks{InvokeEnded: func(i esm.Invocation) {
			mu.Lock()
			defer mu.Unlock()
			told[i.Mapping]++
		}})
		m1 := esmtest.Start(t, k.Source("orders", "billing"), billing, quiet(), hooks, esm.WithBackoff(esm.Constant(time.Hour)))
		m2 := esmtest.Start(t, both, audit, quiet(), hooks, esm.WithName("the audit"))
		k.Produce("orders", "a", "b", "c")
		k.Produce("refunds", "x", "y")
		time.Sleep(5 * time.Second)
		stop(t, m1)
		k.Produce("orders", "d")
		time.Sleep(5 * time.Second)
		got := audit.Values()
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b", "c", "d", "x", "y"}) {
			t.Errorf("the audit got %v", got)
		}
		if err := m2.Ready(); err != nil {
			t.Error(err)
		}
		if mu.Lock(); told["billing"] == 0 || told["the audit"] == 0 || len(told) != 2 {
			t.Errorf("%v", told)
		}
		mu.Unlock()
	})
}

// TestStatsAddUp: what was polled is settled, what was settled is committed,
// and what is shown of a partition is what it is.
func TestStatsAddUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		inv := esmtest.NewInvoker(t)
		m := esmtest.New(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBackoff(esm.Constant(time.Hour)), esm.WithBatchSize(10), esm.WithBatchWindow(0))
		if s := m.Stats(); s.Phase != esm.PhaseNew || len(m.AppendPartitions(nil)) != 0 {
			t.Errorf("%+v", s)
		}
		if _, known := m.Stats().OffsetLag.Sum(); known {
			t.Error("the lag of a mapping that was not started is known")
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		fill(k, "orders", 4, 1000)
		time.Sleep(10 * time.Second)
		s := m.Stats()
		lag, known := s.OffsetLag.Sum()
		if s.PolledEventCount != 4000 || s.InvokedEventCount != 4000 || s.SettledEventCount != 4000 || s.CommittedEventCount != 4000 ||
			s.FailedInvokeEventCount != 0 || lag != 0 || !known || s.HeldBytes != 0 || s.BusySlots != 0 || s.Partitions != 4 {
			t.Errorf("after all is done: %+v", s)
		}
		if s.InvokeCount < 400 || s.PolledByteCount == 0 || s.FetchedByteCount <= s.PolledByteCount || s.EventPollerUnits != 1 {
			t.Errorf("after all is done: %+v", s)
		}

		// A record that holds its partition up, with some behind it.
		inv.Fail(1, errBilling)
		k.ProduceTo("orders", 2, "poison")
		time.Sleep(time.Second)
		k.ProduceTo("orders", 2, "b", "c", "d")
		time.Sleep(5 * time.Second)
		s = m.Stats()
		if lag, known := s.OffsetLag.Sum(); lag != 4 || !known {
			t.Errorf("a lag of %d, %v", lag, known)
		}
		if most, _ := s.OffsetLag.Max(); most != 4 || s.FailedInvokeEventCount != 1 || s.InvokeErrorCount != 1 || s.RetryCount != 1 || s.WaitingPartitions != 1 || s.CommittedEventCount != 4000 {
			t.Errorf("with a poison record: %+v", s)
		}
		for _, p := range m.AppendPartitions(nil) {
			if p.Partition != 2 {
				if p.State != "idle" || p.Frontier != 1000 || p.Committed != 1000 || p.End != 1000 || p.Blocker != nil {
					t.Errorf("%+v", p)
				}
				continue
			}
			b := p.Blocker
			if p.State != "waiting" || p.Frontier != 1000 || p.Position != 1004 || p.End != 1004 || p.Lag != 4 || p.Queued != 4 || b == nil {
				t.Errorf("%+v", p)
			} else if b.Offset != 1000 || b.Records != 1 || b.Attempts != 1 || !errors.Is(b.Err, errBilling) || b.Next.Sub(b.Since) != time.Hour {
				t.Errorf("%+v", *b)
			}
		}
		if st := m.State(); st.AWSState() != "Enabled" || !strings.HasPrefix(st.LastResult, "PROBLEM: Function call failed: billing is down") {
			t.Errorf("%+v", st)
		}
	})
}

// TestNothingIsScaledBeforeTheFirstAssignment: there is nothing to decide on, and
// the first number of pollers is that of the partitions.
func TestNothingIsScaledBeforeTheFirstAssignment(t *testing.T) {
	for _, group := range []bool{false, true} {
		t.Run(fmt.Sprintf("of the group=%t", group), func(t *testing.T) { nothingScaled(t, group) })
	}
}

func nothingScaled(t *testing.T, group bool) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
		k.Cluster().ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
			time.Sleep(5 * time.Second)
			return nil, nil, false
		})
		var told list[string]
		esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(), esm.WithMinPollers(3), esm.WithGroupBounds(group), esm.WithHooks(esm.Hooks{
			Assigned: func(esm.Rebalance) { told.add("assigned") },
			Sampled:  func(scaling.Decision) { told.add("sampled") },
			Scaled:   func(d scaling.Decision) { told.add(fmt.Sprintf("scaled from %d to %d", d.From, d.To)) },
		}))
		time.Sleep(5 * time.Second)
		got := told.all()
		slices.Sort(got[:min(2, len(got))]) // they are told of one assignment
		if len(got) < 5 || !slices.Equal(got[:3], []string{"assigned", "scaled from 0 to 3", "sampled"}) {
			t.Errorf("%q", got)
		}
	})
}

// TestStopNamesAScalerThatIsHeldUp by more hooks that hang than it has time for.
func TestStopNamesAScalerThatIsHeldUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		release := make(chan struct{})
		opts := []esm.Option{quiet(), esm.WithStopTimeout(time.Second)}
		for range 8 {
			opts = append(opts, esm.WithHooks(esm.Hooks{Sampled: func(scaling.Decision) { <-release }}))
		}
		m := esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), opts...)
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		err := m.Stop(t.Context())
		var drain *esm.DrainError
		if !errors.As(err, &drain) || !slices.Contains(drain.Waiting, "the scaler of the Mapping") {
			t.Errorf("%v", err)
		} else if all := slices.Sorted(slices.Values(drain.Waiting)); len(slices.Compact(all)) != len(drain.Waiting) {
			t.Errorf("named twice: %q", drain.Waiting)
		}
		close(release)
		time.Sleep(time.Minute)
	})
}
