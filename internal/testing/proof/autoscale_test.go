package proof_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
	"github.com/seed429fd032/esm/scaling"
)

// A crowd is a function that knows how many calls of it run at once.
type crowd struct {
	takes func(running int) (time.Duration, error)

	mu            sync.Mutex
	running, most int
	calls         []crowdCall
}

// A crowdCall is a call that has ended.
type crowdCall struct {
	began   time.Time
	took    time.Duration
	records int
	running int // at its beginning, with this one
	err     error
}

func (c *crowd) Invoke(ctx context.Context, b *esm.Batch) error {
	call := crowdCall{began: time.Now(), records: len(b.Records)}
	c.mu.Lock()
	c.running++
	c.most = max(c.most, c.running)
	call.running = c.running
	var d time.Duration
	d, call.err = c.takes(c.running)
	c.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		call.err = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	call.took = time.Since(call.began)
	c.calls = append(c.calls, call)
	return call.err
}

// between are the calls that began in that time.
func (c *crowd) between(from, to time.Time) (in []crowdCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		if !call.began.Before(from) && call.began.Before(to) {
			in = append(in, call)
		}
	}
	return in
}

func (c *crowd) now() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// p99 is the time that one of a hundred calls exceeds.
func p99(calls []crowdCall) time.Duration {
	if len(calls) == 0 {
		return 0
	}
	took := make([]time.Duration, len(calls))
	for i := range calls {
		took[i] = calls[i].took
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// handled sums up the records of the calls that succeeded.
func handled(calls []crowdCall) (n int) {
	for _, call := range calls {
		if call.err == nil {
			n += call.records
		}
	}
	return n
}

// steps are what a Mapping's number of pollers did.
type steps struct{ list[scaling.Decision] }

func (s *steps) hook() esm.Option { return esm.WithHooks(esm.Hooks{Scaled: s.add}) }

// turns counts the changes of direction of the steps in that time.
func (s *steps) turns(from, to time.Time) (turns int) {
	last := 0
	for _, d := range s.all() {
		if at := d.Sample.At; at.Before(from) || !at.Before(to) {
			continue
		}
		way := 1
		if d.To < d.From {
			way = -1
		}
		if last != 0 && way != last {
			turns++
		}
		last = way
	}
	return turns
}

func (s *steps) String() string {
	var text string
	for _, d := range s.all() {
		text += fmt.Sprintf("\n  %s %d -> %d: %s", d.Sample.At.Format("15:04:05.000"), d.From, d.To, d.Reason)
	}
	return text
}

// free are the options of a Mapping that nothing but its function holds back.
func free(opts ...esm.Option) []esm.Option {
	return append([]esm.Option{quiet(), esm.WithBatchWindow(0), esm.WithPollerByteRate(esm.Unlimited)}, opts...)
}

// withPollersOf runs a test with pollers of one call at once, and of five.
func withPollersOf(t *testing.T, f func(t *testing.T, concurrency int)) {
	for _, concurrency := range []int{5, 1}[:build.Volume(2, 1)] {
		t.Run(fmt.Sprintf("pollers of %d", concurrency), func(t *testing.T) {
			virtual(t, func(t *testing.T) { f(t, concurrency) })
		})
	}
}

// TestFindsTheKneeOfAFunction that takes longer the more calls run at once, from
// eight on, then from sixteen, then from four: it gets as much out of it as there
// is, without its latency.
func TestFindsTheKneeOfAFunction(t *testing.T) {
	const least, batch, within, watched = 100 * time.Millisecond, 2, 30 * time.Second, 30 * time.Second
	withPollersOf(t, func(t *testing.T, concurrency int) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 40))
		fill(k, "orders", 40, 1500)
		knee := 8
		inv := &crowd{}
		inv.takes = func(running int) (time.Duration, error) { // under its lock
			return least * time.Duration(max(knee, running)) / time.Duration(knee), nil
		}
		var scaled steps
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(scaled.hook(), esm.WithBatchSize(batch), esm.WithPollerConcurrency(concurrency))...)
		for _, next := range []int{8, 16, 4} {
			inv.mu.Lock()
			knee = next
			inv.mu.Unlock()
			time.Sleep(within)
			from := time.Now()
			time.Sleep(watched)
			calls := inv.between(from, time.Now())
			best := float64(next) / least.Seconds() * batch
			if got := float64(handled(calls)) / watched.Seconds(); got < 0.75*best {
				t.Errorf("a knee at %d: %.0f records a second, and there could be %.0f", next, got, best)
			}
			if got := p99(calls); got > 2*least {
				t.Errorf("a knee at %d: p99 is %s, and at best a call takes %s", next, got, least)
			}
			if n := scaled.turns(from, time.Now()); n > 1 {
				t.Errorf("a knee at %d: %d changes of direction", next, n)
			}
		}
		if lag, known := m.Stats().OffsetLag.Sum(); lag == 0 || !known {
			t.Fatalf("a lag of %d (%v): there was too little to do", lag, known)
		}
		if t.Failed() {
			t.Log(&scaled)
		}
	})
}

// TestCallsOfAMinuteAreNotWaitedFor: all partitions have a slot long before any
// call has ended.
func TestCallsOfAMinuteAreNotWaitedFor(t *testing.T) {
	withPollersOf(t, func(t *testing.T, concurrency int) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 40))
		fill(k, "orders", 40, 20)
		inv := &crowd{takes: func(int) (time.Duration, error) { return time.Minute, nil }}
		var scaled steps
		began := time.Now()
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(scaled.hook(), esm.WithBatchSize(10), esm.WithPollerConcurrency(concurrency))...)
		time.Sleep(10 * time.Second)
		if n := inv.now(); n != 40 {
			t.Fatalf("%d calls at once after 10 s:%s", n, &scaled)
		}
		t.Logf("all partitions have a slot after %s:%s", time.Since(began), &scaled)
		waitFor(t, 3*time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 800 })
		if took := time.Since(began); took > 2*time.Minute+12*time.Second {
			t.Errorf("two calls of a minute of each partition took %s:%s", took, &scaled)
		}
		for _, d := range scaled.all() {
			if d.To < d.From && d.Sample.At.Before(began.Add(time.Minute)) {
				t.Errorf("pollers went while they were needed:%s", &scaled)
				break
			}
		}
	})
}

// TestColdStartsAreNoReasonToStop: each call for which there is no warm instance
// takes three seconds longer.
func TestColdStartsAreNoReasonToStop(t *testing.T) {
	withPollersOf(t, func(t *testing.T, concurrency int) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 40))
		fill(k, "orders", 40, 1200)
		inv, warm, cold := &crowd{}, 0, 0
		inv.takes = func(running int) (time.Duration, error) {
			if running > warm {
				warm, cold = running, cold+1
				return 3100 * time.Millisecond, nil
			}
			return 100 * time.Millisecond, nil
		}
		var scaled steps
		began := time.Now()
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(scaled.hook(), esm.WithBatchSize(4), esm.WithPollerConcurrency(concurrency))...)
		waitFor(t, 15*time.Second, "40 calls at once", func() bool { return inv.now() == 40 })
		t.Logf("all partitions have a slot after %s", time.Since(began))
		for m.Stats().SettledEventCount < 40_000 {
			time.Sleep(100 * time.Millisecond)
		}
		for _, d := range scaled.all() {
			if d.To < d.From {
				t.Errorf("pollers went while they were needed:%s", &scaled)
				break
			}
		}
		if cold != 40 {
			t.Fatalf("%d cold starts", cold)
		}
	})
}

// TestAWaveOfErrorsIsNoReasonForMorePollers, and leaves nothing behind: what comes
// after it is done as soon as what came before it.
func TestAWaveOfErrorsIsNoReasonForMorePollers(t *testing.T) {
	withPollersOf(t, func(t *testing.T, concurrency int) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 40))
		sick := false
		inv := &crowd{}
		inv.takes = func(int) (time.Duration, error) {
			if sick {
				return 10 * time.Millisecond, errBilling // errors are quick
			}
			return 100 * time.Millisecond, nil
		}
		set := func(to bool) {
			inv.mu.Lock()
			defer inv.mu.Unlock()
			sick = to
		}
		var scaled steps
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(scaled.hook(), esm.WithBatchSize(5),
			esm.WithPollerConcurrency(concurrency), esm.WithBackoff(esm.Constant(time.Second)))...)
		total := int64(0)
		burst := func() time.Duration {
			began := time.Now()
			fill(k, "orders", 40, 50)
			total += 2000
			waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == total })
			return time.Since(began)
		}
		burst() // the first calls are measured
		trickle := func(n int) {
			for range n {
				fill(k, "orders", 40, 1)
				total += 40
				time.Sleep(500 * time.Millisecond)
			}
		}
		trickle(120)
		before := burst()
		trickle(240)
		pollers := m.Stats().ProvisionedPollers
		from := time.Now()
		set(true)
		trickle(120)
		for _, d := range scaled.all() {
			if d.To > d.From && !d.Sample.At.Before(from) {
				t.Errorf("more pollers while all calls fail:%s", &scaled)
				break
			}
		}
		if n := m.Stats().InvokeErrorCount; n < 100 {
			t.Fatalf("only %d calls failed", n)
		}
		set(false)
		trickle(240)
		if n := m.Stats().ProvisionedPollers; n > pollers {
			t.Errorf("%d pollers before the wave, and %d after it:%s", pollers, n, &scaled)
		}
		// A partition has ten calls, and up to three more where its records came one by
		// one. With the time of a failed call for that of one, it were half of the pollers.
		if after := burst(); after > before*3/2 {
			t.Errorf("a burst takes %s before the wave, and %s after it:%s", before, after, &scaled)
		}
	})
}

// TestStaysBelowWhereAFunctionThrottles, most of the time, and uses what there is.
func TestStaysBelowWhereAFunctionThrottles(t *testing.T) {
	const at, takes, watched = 10, 200 * time.Millisecond, 6 * time.Minute
	withPollersOf(t, func(t *testing.T, concurrency int) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 40))
		fill(k, "orders", 40, 1000)
		inv := &crowd{takes: func(running int) (time.Duration, error) {
			if running > at {
				return 0, esm.Throttled(500*time.Millisecond, errors.New("429"))
			}
			return takes, nil
		}}
		book := newLedger()
		var scaled steps
		began := time.Now()
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			err := inv.Invoke(ctx, b)
			if err == nil {
				book.handled("m", b)
			}
			return err
		}), free(scaled.hook(), esm.WithBatchSize(2), esm.WithPollerConcurrency(concurrency))...)
		time.Sleep(watched)
		calls := inv.between(began, time.Now())
		throttled := 0
		for _, call := range calls {
			if call.err != nil {
				throttled++
			}
		}
		best := at / takes.Seconds() * 2
		if got := float64(handled(calls)) / watched.Seconds(); got < 0.6*best {
			t.Errorf("%.0f records a second, and there could be %.0f:%s", got, best, &scaled)
		}
		if throttled == 0 || throttled*50 > len(calls) {
			t.Errorf("%d of %d calls were throttled:%s", throttled, len(calls), &scaled)
		}
		if s := m.Stats(); s.RetryCount != 0 || s.InvokeErrorCount != 0 {
			t.Errorf("throttles were charged: %d retries, %d errors", s.RetryCount, s.InvokeErrorCount)
		}
		stop(t, m)
		settled := m.Stats().SettledEventCount
		if book.different() != settled || book.repeated() != 0 || book.backward != 0 {
			t.Errorf("%d settled: %s", settled, book)
		}
	})
}

// TestABurstAfterAnIdleHourIsDoneSoon: the last record is handled within twice the
// time that it takes with all pollers from the beginning. A quarter of an hour is longer
// than anything is remembered; an hour takes the nightly run.
func TestABurstAfterAnIdleHourIsDoneSoon(t *testing.T) {
	type burst struct {
		partitions, batch int
		takes             time.Duration
	}
	bursts := []burst{
		{20, 10, 20 * time.Millisecond},
		{20, 10, 100 * time.Millisecond},
		{20, 100, 20 * time.Millisecond},
		{20, 100, 100 * time.Millisecond},
		{100, 10, 20 * time.Millisecond},
		{100, 10, 100 * time.Millisecond},
		{100, 100, 20 * time.Millisecond},
		{100, 100, 100 * time.Millisecond},
	}
	if raceEnabled && !nightly {
		bursts = []burst{bursts[0], bursts[len(bursts)-1]} // the same races
	}
	for _, test := range bursts {
		t.Run(fmt.Sprintf("%d partitions, batches of %d, %s a call", test.partitions, test.batch, test.takes), func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				idle := 2 * time.Minute
				switch {
				case nightly:
					idle = time.Hour
				case test.partitions == 20 && test.batch == 10:
					idle = 15 * time.Minute
				}
				k := esmtest.NewKafka(t, esmtest.Topic("orders", test.partitions))
				var scaled steps
				last := map[string]time.Time{}
				var mu sync.Mutex
				start := func(group string, opts ...esm.Option) *esm.Mapping {
					return esmtest.Start(t, k.Source("orders", group), esm.InvokerFunc(func(context.Context, *esm.Batch) error {
						time.Sleep(test.takes)
						mu.Lock()
						defer mu.Unlock()
						last[group] = time.Now()
						return nil
					}), free(append(opts, esm.WithBatchSize(test.batch))...)...)
				}
				ours := start("ours", scaled.hook())
				full := start("full", esm.WithMinPollers(test.partitions))
				for n, what := range []string{"the first burst", "a later burst"} {
					time.Sleep(idle)
					began := time.Now()
					fill(k, "orders", test.partitions, int64(1000/test.partitions))
					waitFor(t, time.Minute, "handled", func() bool {
						return ours.Stats().SettledEventCount == int64(n+1)*1000 && full.Stats().SettledEventCount == int64(n+1)*1000
					})
					a, b := last["ours"].Sub(began), last["full"].Sub(began)
					if a > 2*b {
						t.Errorf("%s: the last record is handled after %s, and after %s with all pollers:%s", what, a, b, &scaled)
					}
				}
			})
		})
	}
}

// TestPollersGoSoonWhenAllIsDone, as what lags is known to be nothing.
func TestPollersGoSoonWhenAllIsDone(t *testing.T) {
	withPollersOf(t, func(t *testing.T, concurrency int) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 40))
		fill(k, "orders", 40, 500)
		var scaled steps
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t).Takes(100*time.Millisecond),
			free(scaled.hook(), esm.WithBatchSize(10), esm.WithPollerConcurrency(concurrency))...)
		began := time.Now()
		waitFor(t, time.Minute, "drained", func() bool { return m.Stats().SettledEventCount == 20_000 })
		took := time.Since(began)
		if n := m.Stats().Slots; n < 40 {
			t.Fatalf("%d slots at the end:%s", n, &scaled)
		}
		time.Sleep(took/10 + 2*time.Second)
		if n := m.Stats().ProvisionedPollers; n != 1 {
			t.Errorf("%d pollers %s after the end of %s:%s", n, took/10+2*time.Second, took, &scaled)
		}
	})
}

// TestASteadyLoadDoesNotFlap: with a fifth of noise there is at most one change of
// direction a minute.
func TestASteadyLoadDoesNotFlap(t *testing.T) {
	const partitions, minutes = 40, 10
	withPollersOf(t, func(t *testing.T, concurrency int) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		var scaled steps
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t).Takes(time.Second),
			free(scaled.hook(), esm.WithBatchSize(2), esm.WithPollerConcurrency(concurrency))...)
		random := rand.New(rand.NewPCG(1, 2))
		began := time.Now()
		for range minutes * 120 { // 20 records a second: 10 slots
			var rs []*kgo.Record
			for range 8 + random.IntN(5) {
				rs = append(rs, esmtest.At(random.Int32N(partitions), &kgo.Record{Topic: "orders", Value: []byte("x")}))
			}
			k.ProduceRecords(rs...)
			time.Sleep(500 * time.Millisecond)
		}
		turns := 0
		for minute := 2; minute < minutes; minute++ {
			from := began.Add(time.Duration(minute) * time.Minute)
			n := scaled.turns(from, from.Add(time.Minute))
			turns += n
			if n > 1 {
				t.Errorf("%d changes of direction in minute %d", n, minute)
			}
		}
		if lag, known := m.Stats().OffsetLag.Sum(); lag > 60 || !known {
			t.Errorf("a lag of %d (%v) at the end", lag, known)
		}
		if t.Failed() || turns > minutes/2 {
			t.Errorf("%d changes of direction in %d minutes:%s", turns, minutes, &scaled)
		}
	})
}

// TestMorePollersAreNotForSmallerBatches: a thousand records a second, one at a
// time to each of a hundred partitions. One poller does, with batches of many.
func TestMorePollersAreNotForSmallerBatches(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 100
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		var scaled steps
		inv := &crowd{takes: func(int) (time.Duration, error) { return 10 * time.Millisecond, nil }}
		esmtest.Start(t, k.Source("orders", "billing"), inv, free(scaled.hook())...)
		time.Sleep(time.Second)
		began := time.Now()
		random := rand.New(rand.NewPCG(1, 2))
		phase := make([]time.Duration, partitions)
		order := make([]int32, partitions)
		for p := range order {
			order[p], phase[p] = int32(p), time.Duration(random.Int64N(int64(100*time.Millisecond)))
		}
		slices.SortFunc(order, func(a, b int32) int { return int(phase[a] - phase[b]) })
		rounds := build.Volume(80, 30)
		for round := range rounds {
			for _, p := range order {
				time.Sleep(time.Until(began.Add(time.Duration(round)*100*time.Millisecond + phase[p])))
				k.Client().Produce(t.Context(), esmtest.At(p, &kgo.Record{Context: t.Context(), Topic: "orders", Value: []byte("x")}), func(_ *kgo.Record, err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
		}
		time.Sleep(time.Second)
		for _, d := range scaled.all() {
			if d.To > 1 {
				t.Errorf("more than one poller:%s", &scaled)
				break
			}
		}
		calls := inv.between(began, time.Now())
		t.Logf("%d records in %d calls: %.0f a second", handled(calls), len(calls), float64(len(calls))/float64(rounds)*10)
		if n := handled(calls); n != rounds*partitions {
			t.Errorf("%d records were handled", n)
		}
	})
}
