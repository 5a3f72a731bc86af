package proof_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

var errBusy = errors.New("503")

// has reports whether a batch has a record with this value.
func has(b *esm.Batch, value string) bool {
	return slices.ContainsFunc(b.Records, func(r *kgo.Record) bool { return string(r.Value) == value })
}

// taken is a destination that keeps what it took.
func taken(into *list[*esm.Discard]) esm.Option {
	return esm.WithDestination(esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error {
		into.add(d)
		return nil
	}))
}

// each produces a record to each of ten partitions, every second, for so long. The
// first of partition 0 is the poison.
func each(k *esmtest.Kafka, most time.Duration) {
	for n := range int(most / time.Second) {
		var records []*kgo.Record
		for p := range int32(10) {
			value := fmt.Sprintf("%d/%d", p, n)
			if p == 0 && n == 0 {
				value = "poison"
			}
			records = append(records, esmtest.At(p, &kgo.Record{Topic: "orders", Value: []byte(value)}))
		}
		k.ProduceRecords(records...)
		time.Sleep(time.Second)
	}
}

// TestOneRecordThatIsThrottledForEver beside TestOutageCostsNothing: the same
// Mapping, the same records. One is answered as the function being busy, always;
// the others flow meanwhile, and it goes the way of a failure.
func TestOneRecordThatIsThrottledForEver(t *testing.T) {
	whole := func(f func(b *esm.Batch) error) esm.Invoker {
		return esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error { return f(b) })
	}
	one := func(f func(b *esm.Batch) error) esm.Invoker {
		return esm.Each(func(_ context.Context, r *kgo.Record) error { return f(&esm.Batch{Records: []*kgo.Record{r}}) })
	}
	for _, tt := range []struct {
		name  string
		err   error
		inv   func(func(b *esm.Batch) error) esm.Invoker
		slots int
		most  time.Duration
	}{
		{"503", esm.Throttled(0, errBusy), whole, 50, 20 * time.Minute},
		{"503, one call at a time", esm.Throttled(0, errBusy), whole, 1, 8 * time.Minute},
		{"503, later", esm.Throttled(time.Second, errBusy), whole, 50, 8 * time.Minute},
		{"503 of one record", esm.Throttled(0, errBusy), one, 1, 8 * time.Minute},
		{"403", esm.Refused(errBusy), whole, 50, 8 * time.Minute},
		{"403 of one record", esm.Refused(errBusy), one, 50, 8 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
				var dead list[*esm.Discard]
				var poisoned atomic.Int64
				var retries list[esm.Blocker]
				m := esmtest.Start(t, k.Source("orders", "billing"), tt.inv(func(b *esm.Batch) error {
					if has(b, "poison") {
						poisoned.Add(1)
						return tt.err
					}
					return nil
				}), quiet(), taken(&dead), esm.WithMaxRetries(5), esm.WithMaxConcurrency(tt.slots), esm.WithHooks(esm.Hooks{RetryScheduled: retries.add}))
				each(k, tt.most)
				time.Sleep(3 * time.Second)
				s := m.Stats()
				if s.SettledEventCount != int64(10*tt.most/time.Second) {
					t.Errorf("%d settled; %v", s.SettledEventCount, m.State())
				}
				got := dead.all()
				if len(got) != 1 || string(got[0].Record.Value) != "poison" || got[0].Reason != esm.ReasonRetriesExhausted || got[0].Attempts != 6 {
					t.Fatalf("%+v", got)
				}
				if !errors.Is(got[0].Err, errBusy) || !strings.Contains(got[0].Err.Error(), "again and again while others are answered") {
					t.Errorf("%v", got[0].Err)
				}
				if after := got[0].LastFailed.Sub(got[0].Record.Timestamp); after > 10*time.Minute {
					t.Errorf("it took %s, and %d calls", after, poisoned.Load())
				}
				told := retries.all()
				if len(told) < 8 || told[0].Throttles != 2 || told[0].Attempts != 0 || told[len(told)-1].Throttles < 9 || told[len(told)-1].Attempts != 5 {
					t.Errorf("%+v", told)
				}
			})
		})
	}
}

// TestOutageCostsNothing: all are throttled for an hour.
func TestOutageCostsNothing(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
		var dead list[*esm.Discard]
		var down atomic.Bool
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			if down.Load() {
				return esm.Throttled(0, errBusy)
			}
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), taken(&dead), esm.WithMaxRetries(0), esm.WithBisect(true))
		each(k, time.Minute)
		down.Store(true)
		for range 60 {
			each(k, time.Second)
			time.Sleep(time.Minute)
		}
		if p := problemWith(m, "function"); p == nil || !strings.Contains(p.Err.Error(), "it is throttled: ") {
			t.Errorf("%+v", p)
		}
		down.Store(false)
		time.Sleep(2 * time.Minute)
		s := m.Stats()
		if s.SettledEventCount != 1200 || len(dead.all()) > 0 || s.InvokeErrorCount > 0 {
			t.Errorf("%d settled, %d given up, %d errors", s.SettledEventCount, len(dead.all()), s.InvokeErrorCount)
		}
		for _, c := range inv.Calls() {
			if c.Batch.Attempt != 1 {
				t.Fatalf("%v", c)
			}
		}
	})
}

// TestFunctionThatThrottlesAtRandom costs no attempt, whatever the odds are.
func TestFunctionThatThrottlesAtRandom(t *testing.T) {
	for odds, most := range map[float64]time.Duration{0.02: 10 * time.Minute, 0.05: 10 * time.Minute, 0.2: 10 * time.Minute, 0.5: 10 * time.Minute, 0.95: time.Hour} {
		t.Run(fmt.Sprint(odds), func(t *testing.T) {
			if raceEnabled && odds != 0.5 {
				t.Skip("takes minutes with the race detector, which one of them is enough for")
			}
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
				rng := rand.New(rand.NewPCG(1, uint64(odds*100)))
				inv := esmtest.NewInvoker(t).Takes(50 * time.Millisecond)
				var lock = make(chan struct{}, 1)
				inv.Always(func(context.Context, *esm.Batch) error {
					lock <- struct{}{}
					defer func() { <-lock }()
					if rng.Float64() < odds {
						return esm.Throttled(200*time.Millisecond, errBusy)
					}
					return nil
				})
				var dead list[*esm.Discard]
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), taken(&dead), esm.WithMaxRetries(0), esm.WithBatchSize(1))
				each(k, most)
				if s := m.Stats(); s.InvokeErrorCount > 0 || s.ThrottleCount < 100 || s.InvokeCount-s.ThrottleCount < 1000 || len(dead.all()) > 0 {
					t.Errorf("%d errors, %d throttles of %d calls, %d given up", s.InvokeErrorCount, s.ThrottleCount, s.InvokeCount, len(dead.all()))
				}
			})
		})
	}
}

// TestQuotaThatTheSameCallsUseUp: the record that comes last each second is not
// to blame for it.
func TestQuotaThatTheSameCallsUseUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
		fill(k, "orders", 10, 2000)
		left, second := 9, time.Now()
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			if now := time.Now(); now.Sub(second) >= time.Second {
				left, second = 9, now
			}
			if left--; left < 0 {
				return esm.Throttled(time.Until(second.Add(time.Second)), errBusy)
			}
			return nil
		})
		var dead list[*esm.Discard]
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), taken(&dead), esm.WithMaxRetries(0), esm.WithBatchSize(10), esm.WithMaxConcurrency(1))
		time.Sleep(5 * time.Minute)
		if s := m.Stats(); s.SettledEventCount != 20_000 || s.InvokeErrorCount > 0 || s.RetryCount > 0 || s.ThrottleCount < 100 {
			t.Errorf("%d settled, %d errors, %d retries, %d throttles", s.SettledEventCount, s.InvokeErrorCount, s.RetryCount, s.ThrottleCount)
		}
	})
}

// TestTwoRecordsThatAreThrottledForEver do not excuse each other, nor does a
// batch hide them.
func TestTwoRecordsThatAreThrottledForEver(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			if has(b, "poison") || has(b, "1/50") {
				return esm.Throttled(0, errBusy)
			}
			return nil
		})
		var dead list[*esm.Discard]
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), taken(&dead), esm.WithMaxRetries(1), esm.WithBisect(true))
		k.ProduceTo("orders", 1, slices.Collect(func(yield func(string) bool) {
			for i := range 100 {
				if !yield(fmt.Sprintf("1/%d", i)) {
					return
				}
			}
		})...)
		each(k, 30*time.Minute)
		time.Sleep(3 * time.Second)
		if s := m.Stats(); s.SettledEventCount != 18_100 {
			t.Errorf("%d settled", s.SettledEventCount)
		}
		var values []string
		for _, d := range dead.all() {
			values = append(values, string(d.Record.Value))
		}
		slices.Sort(values)
		// Two records have the value 1/50.
		if fmt.Sprint(values) != "[1/50 1/50 poison]" {
			t.Errorf("given up: %v", values)
		}
	})
}

// TestBusyNeverCounts, however long the same record gets it.
func TestBusyNeverCounts(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
		var over atomic.Bool
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			if has(b, "poison") && !over.Load() {
				return esm.Busy(100*time.Millisecond, errBusy)
			}
			return nil
		})
		var dead list[*esm.Discard]
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), taken(&dead), esm.WithMaxRetries(0), esm.WithBatchWindow(0))
		each(k, 20*time.Minute)
		over.Store(true)
		time.Sleep(10 * time.Second)
		if s := m.Stats(); s.SettledEventCount != 12_000 || len(dead.all()) > 0 || s.InvokeErrorCount > 0 {
			t.Errorf("%d settled, %d given up, %d errors", s.SettledEventCount, len(dead.all()), s.InvokeErrorCount)
		}
	})
}

// TestThrottleWithNothingToCompareWith stays one, and is a Problem.
func TestThrottleWithNothingToCompareWith(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			if has(b, "poison") {
				return esm.Throttled(0, errBusy)
			}
			return nil
		})
		var dead list[*esm.Discard]
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), taken(&dead), esm.WithMaxRetries(0), esm.WithBatchSize(1))
		for i := range 100 {
			k.Produce("orders", fmt.Sprint(i))
		}
		k.Produce("orders", "poison", "more", "and more")
		time.Sleep(10 * time.Minute)
		p := problemWith(m, "function")
		if p == nil || !strings.Contains(p.Err.Error(), "it is throttled: ") || !strings.Contains(p.Err.Error(), "503") {
			t.Errorf("%+v", p)
		}
		if s := m.Stats(); s.SettledEventCount != 100 || s.InvokeErrorCount > 0 || len(dead.all()) > 0 {
			t.Errorf("%d settled, %d errors", s.SettledEventCount, s.InvokeErrorCount)
		}
	})
}

// TestRefusalHaltsIfItLasts and nothing is answered meanwhile.
func TestRefusalHaltsIfItLasts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		down  time.Duration
		takes time.Duration
		halts time.Duration // after so long, 0 if it does not
	}{
		{"a deploy without a route", esm.Refused(errBusy), 45 * time.Second, 0, 0},
		{"it was deleted", esm.Refused(errBusy), time.Hour, 0, time.Minute},
		{"it was deleted, and takes its time", esm.Refused(errBusy), time.Hour, 5 * time.Minute, 10 * time.Minute},
		{"it says so itself", esm.Halt(errBusy), time.Hour, 0, time.Second},
		{"both", errors.Join(esm.Refused(errBusy), esm.Halt(errBusy)), time.Hour, 0, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 10))
				var down atomic.Bool
				inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
					if down.Load() {
						return tt.err
					}
					time.Sleep(tt.takes)
					return nil
				})
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet())
				each(k, time.Minute)
				time.Sleep(10 * tt.takes)
				down.Store(true)
				began := time.Now()
				go func() {
					time.Sleep(tt.down)
					down.Store(false)
				}()
				for p := range int32(10) {
					k.ProduceTo("orders", p, "a", "b")
				}
				if tt.halts == 0 {
					time.Sleep(2 * time.Minute)
					if s := m.Stats(); s.SettledEventCount != 620 || s.InvokeErrorCount > 0 || m.State().Phase != esm.PhaseRunning {
						t.Errorf("%d settled, %d errors, %v", s.SettledEventCount, s.InvokeErrorCount, m.State())
					}
					return
				}
				<-m.Done()
				var halt *esm.HaltError
				if !errors.As(m.Err(), &halt) || !errors.Is(m.Err(), errBusy) {
					t.Errorf("%v", m.Err())
				}
				if took := time.Since(began); took < tt.halts-time.Second || took > tt.halts+30*time.Second {
					t.Errorf("it took %s", took)
				}
				time.Sleep(tt.down)
			})
		})
	}
}
