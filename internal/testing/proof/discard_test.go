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

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// A bin is a destination that keeps what it takes, and can be out of order.
type bin struct {
	list[string]
	down atomic.Pointer[func(ctx context.Context) error]
}

// Deliver is for the Mapping.
func (b *bin) Deliver(ctx context.Context, d *esm.Discard) error {
	if down := b.down.Load(); down != nil {
		if err := (*down)(ctx); err != nil {
			return err
		}
	}
	b.add(fmt.Sprintf("%s/%d/%d %s after %d", d.Record.Topic, d.Record.Partition, d.Record.Offset, d.Reason, d.Attempts))
	return nil
}

// breaks makes the destination do this, and work again if it is nil.
func (b *bin) breaks(how func(ctx context.Context) error) {
	if how == nil {
		b.down.Store(nil)
		return
	}
	b.down.Store(&how)
}

// fails makes an Invoker that fails every batch with a record that is poison,
// and does not say which.
func fails(poison func(r *kgo.Record) bool) func(context.Context, *esm.Batch) error {
	return func(_ context.Context, b *esm.Batch) error {
		if slices.ContainsFunc(b.Records, poison) {
			return errBilling
		}
		return nil
	}
}

func isPoison(r *kgo.Record) bool { return string(r.Value) == "poison" }

// TestNothingIsDeliveredOfAPartitionThatWasLost: a hook hears of the record
// before, and meanwhile the partition goes.
func TestNothingIsDeliveredOfAPartitionThatWasLost(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		for range 5 {
			k.Produce("orders", "poison")
		}
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error { return esm.Permanent(errBilling) })
		var delivered, late atomic.Int64
		dest := esm.DestinationFunc(func(ctx context.Context, _ *esm.Discard) error {
			delivered.Add(1)
			if ctx.Err() != nil {
				late.Add(1)
			}
			return nil
		})
		var once sync.Once
		var revoked list[esm.Rebalance]
		esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet(), esm.WithDestination(dest), esm.WithHooks(esm.Hooks{
			Revoked: revoked.add,
			Discarded: func(*esm.Discard) {
				once.Do(func() {
					k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
					time.Sleep(3 * time.Second)
				})
			},
		}))
		time.Sleep(time.Minute)
		if got := revoked.all(); len(got) == 0 || !got[0].Lost {
			t.Fatalf("it was not lost: %+v", got)
		}
		if late.Load() > 0 {
			t.Errorf("%d of %d were delivered although the partition was lost", late.Load(), delivered.Load())
		}
		if got := delivered.Load(); got != 6 { // the first is delivered again
			t.Errorf("%d were delivered", got)
		}
		if got := k.Committed("billing", "orders", 0); got != 5 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestStopWaitsForTheHookOfTheLastDiscard, which is told after the partition
// has nothing left to wait for.
func TestStopWaitsForTheHookOfTheLastDiscard(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		k.Produce("orders", "poison")
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error { return esm.Permanent(errBilling) })
		var took bin
		began, told := make(chan struct{}), atomic.Bool{}
		m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet(), esm.WithDestination(&took), esm.WithHooks(esm.Hooks{
			Discarded: func(*esm.Discard) {
				close(began)
				time.Sleep(100 * time.Millisecond)
				told.Store(true)
			},
		}))
		<-began
		if err := m.Stop(t.Context()); err != nil || !told.Load() {
			t.Errorf("it stopped with %v, and the hook has returned: %v", err, told.Load())
		}
	})
}

// TestPoisonAmongTenThousand: bisection finds it, and nobody else waits.
func TestPoisonAmongTenThousand(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const each = 10_000
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 5))
		fill(k, "orders", 5, 7_000)
		k.ProduceTo("orders", 3, "poison")
		var rest []*kgo.Record
		for range each - 7_001 {
			rest = append(rest, esmtest.At(3, &kgo.Record{Topic: "orders", Value: []byte("x")}))
		}
		k.ProduceRecords(rest...)
		var took bin
		var others time.Time // when the last of the other partitions' records was handled
		var calls atomic.Int64
		inv := esmtest.NewInvoker(t).Always(func(ctx context.Context, b *esm.Batch) error {
			if b.Records[0].Partition == 3 {
				calls.Add(1)
			}
			time.Sleep(10 * time.Millisecond)
			return fails(isPoison)(ctx, b)
		})
		began := time.Now()
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(each), esm.WithMemoryBudget(256<<20),
			esm.WithMaxRetries(3), esm.WithBisect(true), esm.WithDestination(&took), esm.WithMinPollers(5))
		waitFor(t, time.Minute, "the others are settled", func() bool {
			for _, p := range []int32{0, 1, 2, 4} {
				if k.Committed("billing", "orders", p) != 7_000 {
					return false
				}
			}
			others = time.Now()
			return true
		})
		waitFor(t, 5*time.Minute, "all is settled", func() bool { return k.Committed("billing", "orders", 3) == each })
		if got := took.all(); !slices.Equal(got, []string{"orders/3/7000 retries-exhausted after 4"}) {
			t.Errorf("given up: %v", got)
		}
		if waited := others.Sub(began); waited > 5*time.Second {
			t.Errorf("the others took %s", waited)
		}
		// 1 attempt, 1 that begins the search, 14 levels of two halves at
		// most, 3 more attempts of the poison alone.
		if n := calls.Load(); n > 2+2*14+3+2 {
			t.Errorf("%d invocations", n)
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(inv.Values())))); n < 3 {
			t.Errorf("%d values", n)
		}
		s := m.Stats()
		if s.SettledEventCount != 4*7_000+each || s.OnFailureDestinationDeliveredEventCount != 1 || s.DroppedEventCount != 0 {
			t.Errorf("%+v", s)
		}
		t.Logf("%d invocations of the partition, in %s", calls.Load(), time.Since(began))
	})
}

// TestDeployDiscardsNothing: calls that a stop cuts short are no attempts.
func TestDeployDiscardsNothing(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		fill(k, "orders", 4, 2_000)
		var took bin
		for range 60 {
			inv := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
				select {
				case <-time.After(3 * time.Second):
					return nil
				case <-ctx.Done():
					return errors.New("it was cut short, and does not say so")
				}
			})
			m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMaxRetries(3), esm.WithBisect(true),
				esm.WithDestination(&took), esm.WithStopTimeout(time.Second), esm.WithBatchSize(10))
			time.Sleep(9 * time.Second)
			_ = m.Stop(context.Background()) // it cuts calls short, and says so
		}
		if got := took.all(); len(got) != 0 {
			t.Errorf("given up: %v", got)
		}
		if got := k.Committed("billing", "orders", 0); got < 300 {
			t.Errorf("only %d records in ten minutes", got)
		}
	})
}

// TestOutageThatRetriesSurvive is the table in the documentation of
// WithMaxRetries: with the shortest pauses that the default back-off can have.
func TestOutageThatRetriesSurvive(t *testing.T) {
	shortest := func(attempt int) time.Duration {
		return min(time.Second<<min(attempt-1, 10), time.Minute) / 2
	}
	standard := esm.Exponential(time.Second, time.Minute)
	for attempt := 1; attempt < 20; attempt++ {
		for range 200 {
			if got := standard(attempt); got < shortest(attempt) {
				t.Fatalf("attempt %d: a pause of %s, less than %s", attempt, got, shortest(attempt))
			}
		}
	}
	for retries, outage := range map[int]time.Duration{
		1: 500 * time.Millisecond, 2: 1500 * time.Millisecond, 3: 3500 * time.Millisecond, 5: 15500 * time.Millisecond, 6: 31500 * time.Millisecond, 10: 151 * time.Second, 20: 451 * time.Second,
	} {
		for _, bisect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d retries bisect=%v", retries, bisect), func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					for _, longer := range []time.Duration{-time.Millisecond, time.Second} {
						k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
						var took bin
						var over time.Time
						inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
							if over.IsZero() {
								over = time.Now().Add(outage + longer) // it begins with the first call
							}
							if time.Now().Before(over) {
								return errBilling
							}
							return nil
						})
						m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBackoff(shortest),
							esm.WithMaxRetries(retries), esm.WithBisect(bisect), esm.WithDestination(&took))
						k.Produce("orders", strings.Split(strings.Repeat("x", 40), "")...)
						waitFor(t, time.Hour, "settled", func() bool { return k.Committed("billing", "orders", 0) == 40 })
						if got := len(took.all()); longer < 0 && got != 0 || longer > 0 && got == 0 {
							t.Errorf("an outage of %s: %d given up", outage+longer, got)
						}
						stop(t, m)
					}
				})
			})
		}
	}
}

// TestOutageWithBisectionGivesUpFew: the search stops at the first record, so an
// outage does not become a full dead-letter topic.
func TestOutageWithBisectionGivesUpFew(t *testing.T) {
	for bisect, most := range map[bool]int{false: 100, true: 2} {
		t.Run(fmt.Sprintf("bisect=%v", bisect), func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				fill(k, "orders", 1, 1000)
				var took bin
				over := time.Now().Add(30 * time.Second)
				inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
					if time.Now().Before(over) {
						return errBilling
					}
					return nil
				})
				esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMaxRetries(5), esm.WithBisect(bisect), esm.WithDestination(&took))
				waitFor(t, 10*time.Minute, "settled", func() bool { return k.Committed("billing", "orders", 0) == 1000 })
				if got := len(took.all()); got > most || bisect && len(inv.Values()) < 998 {
					t.Errorf("%d given up, %d handled", got, len(inv.Values()))
				}
			})
		})
	}
}

// TestDestinationThatIsDownLosesNothing, whatever down means.
func TestDestinationThatIsDownLosesNothing(t *testing.T) {
	for name, how := range map[string]func(ctx context.Context) error{
		"error":  func(context.Context) error { return errors.New("full") },
		"panic":  func(context.Context) error { panic("oh") },
		"goexit": func(context.Context) error { runtime.Goexit(); return nil },
		"blocks": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
				var took bin
				took.breaks(how)
				var failed list[*esm.Discard]
				inv := esmtest.NewInvoker(t).Always(fails(isPoison))
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMaxRetries(0), esm.WithDestination(&took), esm.WithBatchSize(1),
					esm.WithHooks(esm.Hooks{DeliveryFailed: failed.add}))
				k.ProduceTo("orders", 0, "a", "poison", "b", "poison", "c")
				minutes := build.Volume(60, 20)
				for n := range minutes {
					k.ProduceTo("orders", 1, fmt.Sprint(n))
					time.Sleep(time.Minute)
				}
				if got := k.Committed("billing", "orders", 1); got < int64(minutes) {
					t.Errorf("the other partition is at %d", got)
				}
				if got := k.Committed("billing", "orders", 0); got != 1 {
					t.Errorf("committed %d, and 1 was not delivered", got)
				}
				st, s := m.State(), m.Stats()
				if len(st.Problems) != 1 || st.Problems[0].With != "destination" || !strings.Contains(st.Problems[0].Err.Error(), "orders/0 offset 1") {
					t.Errorf("%+v", st.Problems)
				}
				if n := s.DeliveryFailureCount; n < int64(minutes)/3 || int(n) != len(failed.all()) || s.OnFailureDestinationDeliveredEventCount != 0 {
					t.Errorf("%+v", s)
				}
				if err := m.Healthy(); err != nil {
					t.Error(err)
				}
				rows := m.AppendPartitions(nil)
				i := slices.IndexFunc(rows, func(p esm.PartitionStats) bool { return p.Partition == 0 })
				if b := rows[i].Blocker; b == nil || b.Reason != esm.ReasonRetriesExhausted || b.Deliveries < minutes/3 || !strings.HasPrefix(b.String(), "orders/0 is held up at offset 1 (1 record, 1 attempt since ") {
					t.Errorf("%v", b)
				}
				took.breaks(nil)
				time.Sleep(3 * time.Minute)
				if got := k.Committed("billing", "orders", 0); got != 5 {
					t.Errorf("committed %d after it is back", got)
				}
				if got := took.all(); !slices.Equal(got, []string{"orders/0/1 retries-exhausted after 1", "orders/0/3 retries-exhausted after 1"}) {
					t.Errorf("given up: %v", got)
				}
				if st := m.State(); len(st.Problems) != 0 {
					t.Errorf("%+v", st.Problems)
				}
			})
		})
	}
}

// TestCrashBetweenDeliveryAndCommit delivers once more, and no oftener.
func TestCrashBetweenDeliveryAndCommit(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var took bin
		k.Produce("orders", "poison", "b")
		inv := esmtest.NewInvoker(t).Always(fails(isPoison))
		for range 3 {
			network := &cutNetwork{k: k}
			source := quick(k.Source("orders", "billing"))
			source.Client = append(source.Client, kgo.Dialer(network.dial))
			m := esmtest.Start(t, source, inv, quiet(), esm.WithMaxRetries(0), esm.WithDestination(&took), esm.WithBatchSize(1), esm.WithStopTimeout(time.Second),
				esm.WithHooks(esm.Hooks{Discarded: func(*esm.Discard) { network.cut(true) }}))
			time.Sleep(2 * time.Second)
			_ = m.Stop(context.Background()) // nobody hears it
			time.Sleep(time.Minute)
		}
		if got := k.Committed("billing", "orders", 0); got > 0 {
			t.Fatalf("committed %d, and no crash came before it", got)
		}
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMaxRetries(0), esm.WithDestination(&took), esm.WithBatchSize(1))
		time.Sleep(5 * time.Second)
		if got := len(took.all()); got != 4 {
			t.Errorf("delivered %d times, with three crashes", got)
		}
		if got := k.Committed("billing", "orders", 0); got != 2 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestUpdateOfWhatIsDoneWithFailures holds for what fails already.
func TestUpdateOfWhatIsDoneWithFailures(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var first, second bin
		inv := esmtest.NewInvoker(t).Always(fails(isPoison))
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBackoff(esm.Constant(time.Minute)))
		k.Produce("orders", "a", "poison", "b", "c")
		time.Sleep(150 * time.Second) // two attempts and a half
		update := func(opts ...esm.Option) {
			t.Helper()
			if err := m.Update(opts...); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Update(esm.WithMaxRetries(3)); err == nil || !strings.Contains(err.Error(), "esm.Drop") {
			t.Errorf("limits without a destination: %v", err)
		}
		first.breaks(func(context.Context) error { return errors.New("full") })
		update(esm.WithBisect(true), esm.WithMaxRetries(4), esm.WithDestination(&first))
		time.Sleep(10 * time.Minute)
		if got := k.Committed("billing", "orders", 0); got != 1 {
			t.Errorf("committed %d: bisection did not find the poison", got)
		}
		if n := m.Stats().DeliveryFailureCount; n == 0 {
			t.Error("nothing was given up")
		}
		update(esm.WithDestination(&second))
		time.Sleep(2 * time.Minute)
		if got := second.all(); len(got) != 1 || !strings.HasPrefix(got[0], "orders/0/1 retries-exhausted") || len(first.all()) != 0 {
			t.Errorf("given up: %v and %v", first.all(), got)
		}
		if got := k.Committed("billing", "orders", 0); got != 4 {
			t.Errorf("committed %d", got)
		}
		// What is too old now was not when it came, and neither was what waits
		// behind it.
		k.Produce("orders", "poison", "d")
		time.Sleep(10 * time.Second)
		update(esm.WithMaxRetries(esm.Unlimited), esm.WithMaxRecordAge(5*time.Minute))
		time.Sleep(10 * time.Minute)
		if got := second.all(); len(got) != 3 || !strings.HasPrefix(got[1], "orders/0/4 too-old") || !strings.HasPrefix(got[2], "orders/0/5 too-old") {
			t.Errorf("given up: %v", got)
		}
	})
}

func TestDropSaysWhatItThrowsAway(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		var dropped list[*esm.Discard]
		inv := esm.Each(func(_ context.Context, r *kgo.Record) error {
			if isPoison(r) {
				return esm.Permanent(errBilling)
			}
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithDestination(esm.Drop), esm.WithHooks(esm.Hooks{Discarded: dropped.add}))
		k.ProduceTo("orders", 0, "a", "poison", "b")
		k.ProduceTo("orders", 1, "c")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := dropped.all(); len(got) != 1 || !got[0].Dropped || got[0].Record.Offset != 1 || got[0].Reason != esm.ReasonPermanent || !errors.Is(got[0].Err, errBilling) {
			t.Errorf("%+v", got)
		}
		if s := m.Stats(); s.DroppedEventCount != 1 || s.OnFailureDestinationDeliveredEventCount != 0 || s.SettledEventCount != 4 || s.InvokeCount > 2 {
			t.Errorf("%+v", s)
		}
		if got := k.Committed("billing", "orders", 0); got != 3 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestBacklogThatIsTooOld is given up untried, and what is young enough is
// handled.
func TestBacklogThatIsTooOld(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 500)
		time.Sleep(2 * time.Hour)
		k.Produce("orders", "young")
		var took bin
		inv := esmtest.NewInvoker(t)
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMaxRecordAge(time.Hour), esm.WithDestination(&took))
		time.Sleep(10 * time.Second)
		if got := took.all(); len(got) != 500 || got[0] != "orders/0/0 too-old after 0" || got[499] != "orders/0/499 too-old after 0" {
			t.Errorf("%d given up", len(got))
		}
		if got := inv.Values(); !slices.Equal(got, []string{"young"}) {
			t.Errorf("handled %v", got)
		}
		if got := k.Committed("billing", "orders", 0); got != 501 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestStopAndPauseWithADelivery: a delivery is a call like any other.
func TestStopAndPauseWithADelivery(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var took bin
		took.breaks(func(context.Context) error { time.Sleep(8 * time.Second); return nil })
		inv := esmtest.NewInvoker(t).Always(fails(isPoison))
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMaxRetries(0), esm.WithDestination(&took), esm.WithStopTimeout(4*time.Second))
		k.Produce("orders", "poison", "poison", "poison") // one batch
		time.Sleep(time.Second)
		began := time.Now()
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 3*time.Second || len(took.all()) != 1 {
			t.Errorf("paused after %s, with %d delivered", waited, len(took.all()))
		}
		time.Sleep(time.Minute)
		if got := len(took.all()); got != 1 {
			t.Errorf("%d delivered while paused", got)
		}
		if err := m.Resume(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		err := m.Stop(context.Background())
		var drain *esm.DrainError
		if !errors.As(err, &drain) || drain.Cancelled != 1 || len(drain.Stuck) != 1 || !drain.Stuck[0].Delivery || !strings.Contains(err.Error(), "delivery ") {
			t.Errorf("%v", err)
		}
		if got := k.Committed("billing", "orders", 0); got != 2 {
			t.Errorf("committed %d with %v", got, took.all())
		}
		time.Sleep(time.Minute)
	})
}

// TestHeldUpIsToldOnce a batch.
func TestHeldUpIsToldOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		var told list[esm.Blocker]
		var healed atomic.Bool
		inv := esmtest.NewInvoker(t).Always(func(ctx context.Context, b *esm.Batch) error {
			if healed.Load() {
				return nil
			}
			return fails(isPoison)(ctx, b)
		})
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.Hooks{HeldUp: told.add}))
		k.ProduceTo("orders", 0, "a", "poison")
		k.ProduceTo("orders", 1, "b")
		time.Sleep(50 * time.Second)
		if got := told.all(); len(got) != 0 {
			t.Errorf("told after less than a minute: %v", got)
		}
		time.Sleep(10 * time.Minute)
		if got := told.all(); len(got) != 1 || got[0].Partition != 0 || got[0].Offset != 0 || got[0].Records != 2 {
			t.Errorf("%v", got)
		}
		healed.Store(true)
		time.Sleep(2 * time.Minute)
		healed.Store(false)
		k.ProduceTo("orders", 0, "poison")
		time.Sleep(2 * time.Minute)
		if got := told.all(); len(got) != 2 || got[1].Offset != 2 {
			t.Errorf("%v", got)
		}
	})
}

// TestWhatAFunctionMayDoWithABatch: sort it, keep it, cut it. What it says of
// records counts by their coordinates.
func TestWhatAFunctionMayDoWithABatch(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var took bin
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			var f esm.Failures
			slices.Reverse(b.Records)
			for _, r := range b.Records {
				if isPoison(r) {
					f.Add(&kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, esm.Permanent(nil))
				}
			}
			clear(b.Records)
			b.Records = nil
			return f.Err()
		})
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithDestination(&took))
		k.Produce("orders", "a", "poison", "b", "poison")
		time.Sleep(5 * time.Second)
		if got := took.all(); !slices.Equal(got, []string{"orders/0/1 permanent after 1", "orders/0/3 permanent after 1"}) {
			t.Errorf("given up: %v", got)
		}
		if got := k.Committed("billing", "orders", 0); got != 4 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestProblemWithADestinationLastsAsLongAsItDoes: a record that it does not take
// is a problem although it takes others, and none once it is somebody else's.
func TestProblemWithADestinationLastsAsLongAsItDoes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		source := quick(k.Source("orders", "billing"))
		var raised, cleared list[esm.Problem]
		dest := esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error {
			if d.Record.Partition == 0 {
				return errors.New("it is too large")
			}
			return nil
		})
		inv := esmtest.NewInvoker(t).Always(fails(isPoison))
		m := esmtest.Start(t, source, inv, quiet(), esm.WithMaxRetries(0), esm.WithDestination(dest), esm.WithHooks(esm.Hooks{
			ProblemRaised: raised.add, ProblemCleared: cleared.add,
		}))
		k.ProduceTo("orders", 0, "poison")
		for range 10 {
			k.ProduceTo("orders", 1, "poison")
			time.Sleep(10 * time.Second)
		}
		if st := m.State(); len(st.Problems) != 1 || st.Problems[0].With != "destination" || len(raised.all()) != 1 || len(cleared.all()) != 0 {
			t.Errorf("%+v, raised %d times", st.Problems, len(raised.all()))
		}
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
		waitFor(t, 10*time.Second, "over", func() bool { return len(cleared.all()) == 1 })
		if got := cleared.all()[0].With; got != "destination" {
			t.Errorf("%s is over", got)
		}
	})
}
