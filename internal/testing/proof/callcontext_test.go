package proof_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// inACall runs f in an invocation, and returns what it returned.
func inACall(t *testing.T, f func(ctx context.Context, m *esm.Mapping) error, opts ...esm.Option) {
	t.Helper()
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var m atomic.Pointer[esm.Mapping]
		var called atomic.Bool
		done := make(chan struct{})
		mapping := esmtest.New(t, k.Source("orders", "billing"), esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
			if called.Swap(true) {
				return nil
			}
			defer close(done)
			return f(ctx, m.Load())
		}), append([]esm.Option{quiet(), esm.WithBatchWindow(0)}, opts...)...)
		m.Store(mapping)
		if err := mapping.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.Produce("orders", "a")
		<-done
		time.Sleep(time.Minute)
	})
}

// TestTimeOfACallIsThatOfItsContext, and of those that are made of it.
func TestTimeOfACallIsThatOfItsContext(t *testing.T) {
	inACall(t, func(ctx context.Context, _ *esm.Mapping) error {
		began := time.Now()
		at, has := ctx.Deadline()
		if !has || !at.Equal(began.Add(3*time.Second)) {
			t.Errorf("it ends after %s, %v", at.Sub(began), has)
		}
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		valued := context.WithValue(ctx, someKey{}, 1)
		longer, cancelLonger := context.WithTimeout(child, time.Hour)
		defer cancelLonger()
		var told atomic.Int64
		context.AfterFunc(longer, func() { told.Add(1) })
		untold := context.AfterFunc(ctx, func() { told.Add(100) })
		if !untold() || untold() {
			t.Error("it cannot be taken back once")
		}
		if ctx.Err() != nil || context.Cause(ctx) != nil {
			t.Errorf("%v, %v", ctx.Err(), context.Cause(ctx))
		}
		<-longer.Done()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it took %s", took)
		}
		synctest.Wait()
		for name, c := range map[string]context.Context{"it": ctx, "child": child, "with a value": valued, "with a longer time": longer} {
			select {
			case <-c.Done():
			default:
				t.Errorf("%s is not done", name)
			}
			if c.Err() != context.DeadlineExceeded || !errors.Is(context.Cause(c), esm.ErrInvokeTimeout) {
				t.Errorf("%s: %v, %v", name, c.Err(), context.Cause(c))
			}
		}
		if told.Load() != 1 {
			t.Errorf("told %d", told.Load())
		}
		late, cancelLate := context.WithCancel(ctx)
		defer cancelLate()
		if late.Err() != context.DeadlineExceeded {
			t.Errorf("one that is made late: %v", late.Err())
		}
		return nil
	}, esm.WithInvokeTimeout(3*time.Second))
}

func TestEndOfACallIsTheEndOfItsContext(t *testing.T) {
	for name, opts := range map[string][]esm.Option{"timed": {esm.WithInvokeTimeout(time.Hour)}, "not timed": nil} {
		t.Run(name, func(t *testing.T) {
			inACall(t, func(ctx context.Context, m *esm.Mapping) error {
				kept, cancel := context.WithCancel(ctx)
				defer cancel()
				if _, has := kept.Deadline(); has != (name == "timed") {
					t.Error(kept.Deadline())
				}
				go func() {
					stop, done := context.WithTimeout(context.Background(), time.Second)
					defer done()
					_ = m.Stop(stop)
				}()
				<-kept.Done()
				if kept.Err() != context.Canceled || context.Cause(kept) != esm.ErrStopping {
					t.Errorf("%v, %v", kept.Err(), context.Cause(kept))
				}
				time.AfterFunc(time.Second, func() {
					if ctx.Err() != context.Canceled {
						t.Errorf("kept: %v", ctx.Err())
					}
				})
				return nil
			}, opts...)
		})
	}
}

func TestWaitingForAPlaceIsNoTime(t *testing.T) {
	inACall(t, func(ctx context.Context, m *esm.Mapping) error {
		began := time.Now()
		time.Sleep(time.Second)
		a := esm.Waiting(ctx)
		time.Sleep(10 * time.Second)
		b := esm.Waiting(context.WithValue(ctx, someKey{}, 1)) // on another goroutine, say
		if _, has := ctx.Deadline(); has {
			t.Error("it ends while it waits")
		}
		a()
		a()
		time.Sleep(10 * time.Second)
		if ctx.Err() != nil {
			t.Errorf("it ended while it waited: %v", ctx.Err())
		}
		b()
		if at, has := ctx.Deadline(); !has || at.Sub(began) != 23*time.Second {
			t.Errorf("it ends after %s, %v", at.Sub(began), has)
		}
		<-ctx.Done()
		if took := time.Since(began); took != 23*time.Second {
			t.Errorf("it took %s", took)
		}
		esm.Waiting(ctx)() // too late
		esm.Waiting(context.Background())()
		return nil
	}, esm.WithInvokeTimeout(3*time.Second))
}

// TestCallsThatWaitForAPlace: a handler with one place, as often found behind a
// pool of connections, gets no pollers that would only wait, and no record is
// given up because its call waited for long.
func TestCallsThatWaitForAPlace(t *testing.T) {
	for name, says := range map[string]bool{"and say so": true, "and say that they were not called": false} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 20))
				fill(k, "orders", 20, 50)
				places := make(chan struct{}, 1)
				var handled atomic.Int64
				inv := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
					done := func() {}
					if says {
						done = esm.Waiting(ctx)
					}
					select {
					case places <- struct{}{}:
						done()
					case <-ctx.Done():
						return esm.Throttled(0, context.Cause(ctx))
					}
					time.Sleep(400 * time.Millisecond)
					<-places
					handled.Add(int64(len(b.Records)))
					return nil
				})
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10), esm.WithInvokeTimeout(3*time.Second),
					esm.WithMaxRetries(1), esm.WithDestination(esm.Drop))
				most := 0
				for end := time.Now().Add(time.Hour); handled.Load() < 1000 && time.Now().Before(end); time.Sleep(time.Second) {
					most = max(most, m.Stats().ProvisionedPollers)
				}
				time.Sleep(10 * time.Second)
				s := m.Stats()
				if handled.Load() != 1000 || s.DroppedEventCount > 0 || s.ThrottleCount > 0 || s.InvokeErrorCount > 0 {
					t.Errorf("%d handled, %d dropped, %d throttles, %d errors", handled.Load(), s.DroppedEventCount, s.ThrottleCount, s.InvokeErrorCount)
				}
				if says && most > 1 {
					t.Errorf("%d pollers for a function with one place", most)
				}
				if says && (s.InvokeDuration != 400*time.Millisecond || s.AbandonedCount > 0) {
					t.Errorf("a call takes %s; %d were cut short", s.InvokeDuration, s.AbandonedCount)
				}
				stop(t, m)
			})
		})
	}
}
