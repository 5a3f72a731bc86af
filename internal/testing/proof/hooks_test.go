package proof_test

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/scaling"
)

// TestEveryHookFires is a life with everything in it.
func TestEveryHookFires(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var mu sync.Mutex
		fired := map[string]int{}
		hooks := esm.AllHooks(func(name string, info any) {
			mu.Lock()
			defer mu.Unlock()
			fired[name]++
			v := reflect.Indirect(reflect.ValueOf(info))
			if f := v.FieldByName("Mapping"); f.IsValid() && f.String() != "billing" {
				t.Errorf("%s is told of mapping %q", name, f.String())
			}
			if text, err := json.Marshal(info); err != nil || bytes.Contains(text, []byte(`Err":{`)) {
				t.Errorf("%s gets %s as JSON: %v", name, text, err)
			}
		})
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 40))
		inv := esmtest.NewInvoker(t)
		inv.Fail(1, errBilling).Throttle(1, time.Second)
		release := inv.Hang()
		inv.Takes(time.Millisecond)
		var delivered atomic.Bool
		dest := esm.DestinationFunc(func(context.Context, *esm.Discard) error {
			if !delivered.Swap(true) {
				return errBilling
			}
			return nil
		})
		m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet(), esm.WithHooks(hooks), esm.WithInvokeTimeout(5*time.Second),
			esm.WithMemoryBudget(2<<20), esm.WithBatchBytes(1<<20), esm.WithBackoff(esm.Constant(time.Second)), esm.WithDestination(dest))
		k.ProduceTo("orders", 0, "fails, is throttled, hangs")
		time.Sleep(2 * time.Minute)
		release()
		load(k, "orders", 40, 10, 1000)
		time.Sleep(10 * time.Second) // it is read, so that there is a way back
		loss := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Partitions: []int32{1}, Err: kerr.OffsetOutOfRange, Count: -1})
		load(k, "orders", 40, 10, 1000)
		time.Sleep(time.Second)
		loss.Remove()
		time.Sleep(time.Minute)
		load(k, "orders", 40, 200, 5000)
		time.Sleep(time.Minute)
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
		time.Sleep(time.Minute)
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Resume(); err != nil {
			t.Fatal(err)
		}
		// What retention takes while the position stands still.
		stuck := inv.Hang()
		load(k, "orders", 40, 100, 20_000)
		time.Sleep(10 * time.Second)
		for p := range int32(40) {
			if err := k.Cluster().DeleteRecords("orders", p, k.End("orders", p)-1); err != nil {
				t.Fatal(err)
			}
		}
		stuck()
		time.Sleep(time.Minute)
		inv.Return(esm.Permanent(errBilling))
		k.ProduceTo("orders", 2, "is given up")
		time.Sleep(10 * time.Second)
		stop(t, m)

		mu.Lock()
		defer mu.Unlock()
		for f := range reflect.TypeFor[esm.Hooks]().Fields() {
			if fired[f.Name] == 0 {
				t.Errorf("%s was never called", f.Name)
			}
		}
	})
}

// TestHooksThatMisbehaveHarmNothing: they panic, exit their goroutine, or call
// the Mapping.
func TestHooksThatMisbehaveHarmNothing(t *testing.T) {
	for name, do := range map[string]func(*esm.Mapping){
		"panic":     func(*esm.Mapping) { panic("a hook") },
		"panic nil": func(*esm.Mapping) { panic(nil) },
		"goexit":    func(*esm.Mapping) { runtime.Goexit() },
		"ask": func(m *esm.Mapping) {
			if m != nil {
				_, _, _ = m.Stats(), m.State(), m.AppendPartitions(nil)
				_, _ = m.Ready(), m.Healthy()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
				inv := esmtest.NewInvoker(t).Fail(3, errBilling)
				var m *esm.Mapping
				m = esmtest.New(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.AllHooks(func(string, any) { do(m) })))
				if err := m.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				fill(k, "orders", 4, 500)
				time.Sleep(5 * time.Minute)
				if got := len(inv.Values()); got != 2000 {
					t.Errorf("handled %d", got)
				}
				for p := range int32(4) {
					if got := k.Committed("billing", "orders", p); got != 500 {
						t.Errorf("partition %d: committed %d", p, got)
					}
				}
				stop(t, m)
			})
		})
	}
}

// TestRecordedTraceIsReplayed: what the scaler was told, written down as JSON,
// makes it decide the same again.
func TestRecordedTraceIsReplayed(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 30))
		fill(k, "orders", 30, 3000)
		inv := esmtest.NewInvoker(t).Takes(200*time.Millisecond).Return(slices.Repeat([]error{nil}, 300)...).Throttle(5, time.Second)
		var trace bytes.Buffer
		out := json.NewEncoder(&trace)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.Hooks{Sampled: func(d scaling.Decision) {
			if err := out.Encode(d); err != nil {
				t.Error(err)
			}
		}}))
		time.Sleep(10 * time.Second)
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := m.Resume(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Minute)
		stop(t, m)

		var decided []scaling.Decision
		for in := json.NewDecoder(&trace); in.More(); {
			var d scaling.Decision
			if err := in.Decode(&d); err != nil {
				t.Fatal(err)
			}
			decided = append(decided, d)
		}
		samples := func(yield func(scaling.Sample) bool) {
			for _, d := range decided {
				if !yield(d.Sample) {
					return
				}
			}
		}
		pollers, causes, n := map[int]bool{}, map[scaling.Cause]bool{}, 0
		for got := range scaling.Replay(samples, scaling.Provisioned) {
			want := decided[n]
			if want.Mapping != "billing" || got.From != want.From || got.To != want.To || got.Reason != want.Reason || got.Short != want.Short {
				t.Fatalf("sample %d of %q: decided %d to %d (%s), and then %d to %d (%s)", n, want.Mapping, want.From, want.To, want.Reason, got.From, got.To, got.Reason)
			}
			pollers[got.To], causes[got.Reason.Cause] = true, true
			n++
		}
		if n < 200 || len(pollers) < 3 || !causes[scaling.Throttles] {
			t.Errorf("%d samples with %d numbers of pollers: %v", n, len(pollers), causes)
		}
	})
}
