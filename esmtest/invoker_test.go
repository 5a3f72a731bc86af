package esmtest_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

var errBilling = errors.New("billing is down")

// batchOf makes a batch of records of one partition of orders.
func batchOf(partition int32, first int64, values ...string) *esm.Batch {
	b := &esm.Batch{Attempt: 1, ID: "id", Mapping: "billing"}
	for i, v := range values {
		b.Records = append(b.Records, &kgo.Record{Topic: "orders", Partition: partition, Offset: first + int64(i), Value: []byte(v)})
	}
	return b
}

func TestScriptIsFollowedInItsOrder(t *testing.T) {
	errOther := errors.New("another")
	inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
		if string(b.Records[0].Value) == "poison" {
			return errOther
		}
		return nil
	})
	inv.Fail(2, errBilling).Return(nil, errOther).Throttle(2, time.Second).Then(func(_ context.Context, b *esm.Batch) error {
		return errors.New(b.ID)
	})
	errThrottled := esm.ErrThrottled
	want := []error{errBilling, errBilling, nil, errOther, errThrottled, errThrottled}
	for n, w := range want {
		if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); !errors.Is(err, w) {
			t.Errorf("call %d returned %v, want %v", n, err, w)
		}
	}
	if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); err == nil || err.Error() != "id" {
		t.Errorf("Then: %v", err)
	}
	if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); err != nil {
		t.Errorf("after the script: %v", err)
	}
	if err := inv.Invoke(t.Context(), batchOf(0, 0, "poison")); !errors.Is(err, errOther) {
		t.Errorf("Always: %v", err)
	}
	inv.Fail(1, errBilling)
	if err := inv.Invoke(t.Context(), batchOf(0, 0, "poison")); !errors.Is(err, errBilling) {
		t.Errorf("a script that goes on: %v", err)
	}
	var got []error
	for _, c := range inv.Calls() {
		got = append(got, c.Err)
	}
	if len(got) != len(want)+4 || !errors.Is(got[4], errThrottled) || got[7] != nil {
		t.Errorf("%v", got)
	}
}

func TestPanicAndGoexitReachTheMapping(t *testing.T) {
	inv := esmtest.NewInvoker(t).Panic("oh").Goexit().Panic(errBilling).Panic(nil)
	var recovered []any
	for range 4 {
		alone(func() {
			defer func() { recovered = append(recovered, recover()) }()
			_ = inv.Invoke(t.Context(), batchOf(0, 0, "a"))
		})
	}
	if recovered[0] != "oh" || recovered[1] != nil || recovered[2] != errBilling {
		t.Errorf("%v", recovered)
	}
	if _, ok := recovered[3].(*runtime.PanicNilError); !ok {
		t.Errorf("panic(nil) became %v", recovered[3])
	}
	calls := inv.Calls()
	if len(calls) != 4 {
		t.Fatalf("%v", calls)
	}
	for n, goexit := range []bool{false, true, false, false} {
		if p := (*esm.PanicError)(nil); !errors.As(calls[n].Err, &p) || p.Goexit != goexit || len(p.Stack) == 0 {
			t.Errorf("call %d: %v", n, calls[n].Err)
		}
	}
	if !errors.Is(calls[2].Err, errBilling) {
		t.Errorf("%v", calls[2].Err)
	}
	if now, most := inv.Running(); now != 0 || most != 1 {
		t.Errorf("%d run, at most %d", now, most)
	}
}

func TestBlockEndsWithReleaseOrWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv := esmtest.NewInvoker(t)
		first, second := inv.Block(), inv.Block()
		time.AfterFunc(time.Minute, first)
		second() // before its call
		second()
		began := time.Now()
		if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if err := inv.Invoke(t.Context(), batchOf(0, 1, "b")); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		inv.Block()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, esm.ErrRevoked)
		defer cancel()
		if err := inv.Invoke(ctx, batchOf(0, 2, "c")); !errors.Is(err, esm.ErrRevoked) {
			t.Errorf("a context that ended: %v", err)
		}
	})
}

func TestHangIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv := esmtest.NewInvoker(t)
		release := inv.Hang()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		time.AfterFunc(time.Hour, release)
		if err := inv.Invoke(ctx, batchOf(0, 0, "a")); err != nil || time.Since(began) != time.Hour {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestHangEndsWithTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan error, 1)
		failures := watch(t, func(t testing.TB) {
			inv := esmtest.NewInvoker(t)
			inv.Hang()
			go func() { done <- inv.Invoke(t.Context(), batchOf(0, 0, "a")) }()
			synctest.Wait()
			if now, _ := inv.Running(); now != 1 {
				t.Errorf("%d run", now)
			}
		})
		if err := <-done; err != nil || len(failures) > 0 {
			t.Errorf("%v, %q", err, failures)
		}
	})
}

func TestTakesIsHowLongCallsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv := esmtest.NewInvoker(t).Takes(time.Minute).Fail(1, errBilling)
		began := time.Now()
		if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); !errors.Is(err, errBilling) {
			t.Error(err)
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, esm.ErrInvokeTimeout)
		defer cancel()
		if err := inv.Invoke(ctx, batchOf(0, 0, "a")); !errors.Is(err, esm.ErrInvokeTimeout) {
			t.Error(err)
		}
		want := [][2]time.Duration{{0, time.Minute}, {61 * time.Second, 71 * time.Second}}
		for n, c := range inv.Calls() {
			if at, ended := c.At.Sub(began), c.Ended.Sub(began); at != want[n][0] || ended != want[n][1] {
				t.Errorf("call %d ran from %s to %s", n, at, ended)
			}
		}
	})
}

func TestCallsAreCopiesInTheOrderInWhichTheyEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv := esmtest.NewInvoker(t)
		release := inv.Block()
		inv.Fail(1, errBilling)
		slow := batchOf(0, 0, "a", "b")
		slow.Records[0].Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("1")}}
		done := make(chan error)
		go func() { done <- inv.Invoke(t.Context(), slow) }()
		synctest.Wait()
		if now, most := inv.Running(); now != 1 || most != 1 || len(inv.Calls()) != 0 {
			t.Errorf("%d run, at most %d; %v", now, most, inv.Calls())
		}
		_ = inv.Invoke(t.Context(), batchOf(1, 7, "c"))
		if err := inv.Invoke(t.Context(), batchOf(1, 7, "c")); err != nil {
			t.Error(err)
		}
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
		slow.Records[0].Value[0], slow.Records[0].Headers[0].Value[0] = 'x', 'x'
		slow.Records[1], slow.Attempt = nil, 9

		calls := inv.Calls()
		var got []string
		for _, c := range calls {
			got = append(got, strings.Join(c.Values(), "")+": "+c.String())
		}
		want := []string{
			"c: call at 00:00:00.000, attempt 1, 1 records, billing is down",
			"c: call at 00:00:00.000, attempt 1, 1 records, <nil>",
			"ab: call at 00:00:00.000, attempt 1, 2 records, <nil>",
		}
		for i := range got { // the clock of a bubble begins at midnight in UTC
			got[i] = strings.Replace(got[i], calls[i].At.Format("15:04"), "00:00", 1)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if v := calls[2].Batch.Records[0].Headers[0].Value; string(v) != "1" {
			t.Errorf("a copy changed to %q", v)
		}
		if got := strings.Join(inv.Values(), ""); got != "cab" {
			t.Errorf("values of what succeeded: %q", got)
		}
		if now, most := inv.Running(); now != 0 || most != 2 {
			t.Errorf("%d run, at most %d", now, most)
		}
	})
}

func TestWaitWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv := esmtest.NewInvoker(t).Takes(20 * time.Second)
		began := time.Now()
		inv.Wait(0)
		for n := range int64(2) {
			go func() { _ = inv.Invoke(t.Context(), batchOf(int32(n), n, "a")) }()
		}
		time.AfterFunc(30*time.Second, func() { _ = inv.Invoke(t.Context(), batchOf(0, 5, "b")) })
		inv.Wait(2)
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("two calls after %s", took)
		}
		inv.Wait(3)
		if took := time.Since(began); took != 50*time.Second {
			t.Errorf("three calls after %s", took)
		}
		inv.Wait(1)
	})
}

func TestWaitFailsAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		failures := watch(t, func(t testing.TB) {
			inv := esmtest.NewInvoker(t)
			_ = inv.Invoke(t.Context(), batchOf(0, 0, "a"))
			inv.Wait(2)
			t.Error("it went on")
		})
		wantFailure(t, failures, "after a minute there were 1 calls, not 2")
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it failed after %s", took)
		}
	})
}

// TestWhatAMappingMustNotDoFailsTheTest makes the calls of a Mapping that does
// not keep its promises.
func TestWhatAMappingMustNotDoFailsTheTest(t *testing.T) {
	mixed := func(batches ...*esm.Batch) *esm.Batch {
		all := batchOf(0, 0)
		for _, b := range batches {
			all.Records = append(all.Records, b.Records...)
		}
		return all
	}
	for _, tt := range []struct {
		name  string
		calls []*esm.Batch // all at once
		fails []string
	}{
		{"a partition each", []*esm.Batch{batchOf(0, 0, "a"), batchOf(1, 0, "a"), batchOf(2, 0, "a")}, nil},
		{"several partitions each", []*esm.Batch{mixed(batchOf(0, 5, "a", "b"), batchOf(1, 0, "a")), mixed(batchOf(3, 9, "a"), batchOf(2, 0, "a"))}, nil},
		{"a gap", []*esm.Batch{mixed(batchOf(0, 5, "a"), batchOf(0, 50, "a"))}, nil},
		{"two calls at once", []*esm.Batch{batchOf(0, 0, "a"), batchOf(0, 1, "b")}, []string{"two calls at once for orders/0"}},
		{"two calls at once for one of several", []*esm.Batch{mixed(batchOf(0, 0, "a"), batchOf(1, 0, "a")), mixed(batchOf(2, 0, "a"), batchOf(1, 1, "b"))}, []string{"two calls at once for orders/1"}},
		{"backward", []*esm.Batch{mixed(batchOf(0, 5, "a", "b"), batchOf(0, 4, "c"), batchOf(0, 1, "d"))}, []string{"orders/0 are not in order: offset 4 comes after 6"}},
		{"backward by more than 32 bits hold", []*esm.Batch{mixed(batchOf(0, 1<<33, "a"), batchOf(0, 0, "b"))}, []string{"orders/0 are not in order"}},
		{"one record twice", []*esm.Batch{mixed(batchOf(0, 5, "a"), batchOf(0, 5, "a"))}, []string{"orders/0 are not in order: offset 5 comes after 5"}},
		{"torn apart", []*esm.Batch{mixed(batchOf(0, 5, "a"), batchOf(1, 5, "a"), batchOf(0, 6, "a"))}, []string{"orders/0 do not stand together"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failures := watch(t, func(t testing.TB) {
					inv := esmtest.NewInvoker(t).Takes(time.Second)
					var all sync.WaitGroup
					for _, b := range tt.calls {
						all.Go(func() { _ = inv.Invoke(t.Context(), b) })
						synctest.Wait() // one begins after the other
					}
					all.Wait()
					// What is over is over.
					for _, b := range tt.calls {
						_ = inv.Invoke(t.Context(), b.With(b.Records[:1]))
					}
				})
				if len(failures) != len(tt.fails) {
					t.Fatalf("%q", failures)
				}
				for i, f := range failures {
					if !strings.Contains(f, tt.fails[i]) {
						t.Errorf("%q", f)
					}
				}
			})
		})
	}
}

func TestThirdCallAtOnceIsSeenAfterOneOfTwoEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) {
			inv := esmtest.NewInvoker(t)
			first, second := inv.Block(), inv.Block()
			var all sync.WaitGroup
			call := func() {
				all.Go(func() { _ = inv.Invoke(t.Context(), batchOf(0, 0, "a")) })
				synctest.Wait()
			}
			call()
			call()
			first()
			synctest.Wait()
			call()
			second()
			all.Wait()
		})
		if len(failures) != 2 {
			t.Errorf("%q", failures)
		}
	})
}
