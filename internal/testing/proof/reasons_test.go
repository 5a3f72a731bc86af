package proof_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/turns"
	"github.com/seed429fd032/esm/scaling"
)

// because waits until the reason is this one, and returns it.
func because(t *testing.T, m *esm.Mapping, cause scaling.Cause, most time.Duration) scaling.Reason {
	t.Helper()
	var r scaling.Reason
	for end := time.Now().Add(most); ; time.Sleep(100 * time.Millisecond) {
		if r = m.Stats().ScaleReason; r.Cause == cause {
			return r
		}
		if time.Now().After(end) {
			t.Fatalf("the reason is not %q after %s: %q (%s)", cause, most, r.Cause, r)
		}
	}
}

// TestReasonsAreTrueInEachState of a Mapping.
func TestReasonsAreTrueInEachState(t *testing.T) {
	for _, test := range []struct {
		name string
		of   func(t *testing.T, k *esmtest.Kafka)
	}{
		{"no lag, and a pause", func(t *testing.T, k *esmtest.Kafka) {
			m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), free()...)
			because(t, m, scaling.NoLag, 2*time.Second)
			if err := m.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			fill(k, "orders", 20, 10)
			time.Sleep(2 * time.Second)
			if r := m.Stats().ScaleReason; r.Cause != scaling.Idle {
				t.Errorf("paused: %s", r)
			}
			m.Resume()
			time.Sleep(30 * time.Second)
			if r := m.Stats().ScaleReason; r.Cause != scaling.NoLag {
				t.Errorf("all is done: %s", r)
			}
		}},
		{"back-off", func(t *testing.T, k *esmtest.Kafka) {
			inv := esmtest.NewInvoker(t).Fail(1000, errBilling)
			m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(esm.WithBackoff(esm.Constant(time.Hour)))...)
			for p := range int32(3) {
				k.ProduceTo("orders", p, "a", "b")
				time.Sleep(100 * time.Millisecond) // they are not combined
			}
			time.Sleep(5 * time.Second)
			if r := because(t, m, scaling.Backoff, time.Second); r.Partitions != 3 || r.Lag != 6 {
				t.Errorf("%+v", r)
			}
		}},
		{"throttles", func(t *testing.T, k *esmtest.Kafka) {
			fill(k, "orders", 20, 2000)
			inv := &crowd{takes: func(running int) (time.Duration, error) {
				if running > 4 {
					return 0, esm.Throttled(500*time.Millisecond, errors.New("429"))
				}
				return 100 * time.Millisecond, nil
			}}
			m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(esm.WithBatchSize(2), esm.WithPollerConcurrency(1))...)
			// It may be said as what limits a backlog, which the throttles do.
			time.Sleep(20 * time.Second)
			if r := m.Stats().ScaleReason; (r.Cause != scaling.Throttles && r.Limit != scaling.Throttles) || r.Allowed != m.Stats().ProvisionedPollers || r.Allowed > 4 {
				t.Errorf("%d pollers: %s (%+v)", m.Stats().ProvisionedPollers, r, r)
			}
		}},
		{"the byte rate, and which one would do", func(t *testing.T, k *esmtest.Kafka) {
			const rate = 100_000
			load(k, "orders", 20, 5000, 1000) // 100 MB
			inv := esmtest.NewInvoker(t).Takes(10 * time.Millisecond)
			m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(esm.WithPollerByteRate(rate), esm.WithMaxPollers(2))...)
			r := because(t, m, scaling.ByteRate, 20*time.Second)
			if r.NeededByteRate <= rate || !strings.Contains(r.String(), fmt.Sprint("byte rate of ", r.NeededByteRate)) {
				t.Fatalf("%s (%+v)", r, r)
			}
			// With that number it is no limit any more.
			if err := m.Update(esm.WithPollerByteRate(r.NeededByteRate)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if got := m.Stats().ScaleReason; got.Cause == scaling.ByteRate {
				t.Errorf("with a byte rate of %d: %s", r.NeededByteRate, got)
			}
		}},
		{"memory", func(t *testing.T, k *esmtest.Kafka) {
			load(k, "orders", 20, 200, 100_000)
			turns.Take(k.Cluster())
			hold := make(chan struct{})
			inv := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
				select {
				case <-hold:
				case <-ctx.Done():
				}
				return nil
			})
			m := esmtest.Start(t, k.Source("orders", "billing"), inv, free(esm.WithMemoryBudget(2<<20), esm.WithBatchBytes(1<<20), esm.WithMinPollers(20))...)
			because(t, m, scaling.Memory, 30*time.Second)
			s := m.Stats()
			if !s.MemoryLimited || s.ScaleReason.NeededMemory <= s.MemoryBudget {
				t.Errorf("%+v", s)
			}
			// Who does as it says, a few times, is rid of it.
			for i := 0; s.ScaleReason.Cause == scaling.Memory && i < 4; i++ {
				if err := m.Update(esm.WithMemoryBudget(s.ScaleReason.NeededMemory)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				s = m.Stats()
			}
			if s.ScaleReason.Cause == scaling.Memory {
				t.Errorf("with a budget of %d: %s", s.MemoryBudget, s.ScaleReason)
			}
			for _, p := range m.AppendPartitions(nil) {
				if p.InFlight == 0 { // they may share calls
					t.Errorf("with a budget of %d: %+v", s.MemoryBudget, p)
				}
			}
			close(hold)
		}},
		{"an unknown lag", func(t *testing.T, k *esmtest.Kafka) {
			var sick atomic.Bool
			k.Cluster().ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
				k.Cluster().KeepControl()
				if !sick.Load() {
					return nil, nil, false
				}
				return nil, errors.New("no answer"), true
			})
			k.Cluster().ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
				k.Cluster().KeepControl()
				if !sick.Load() {
					return nil, nil, false
				}
				return nil, errors.New("no answer"), true
			})
			m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), free()...)
			because(t, m, scaling.NoLag, 2*time.Second)
			sick.Store(true)
			if r := because(t, m, scaling.UnknownLag, time.Minute); r.Partitions != 20 || !strings.Contains(r.String(), "20 partitions is unknown") {
				t.Errorf("%s (%+v)", r, r)
			}
			sick.Store(false)
			because(t, m, scaling.NoLag, time.Minute)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) { test.of(t, esmtest.NewKafka(t, esmtest.Topic("orders", 20))) })
		})
	}
}
