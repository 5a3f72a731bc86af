package proof_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestOneStuckCallDoesNotKeepTheOtherPartitions: a deploy with a call that
// ignores its context leaves the group, so that the partitions that nothing
// runs for are the next process's at once, and not when the session is over.
func TestOneStuckCallDoesNotKeepTheOtherPartitions(t *testing.T) {
	for name, client := range map[string][]kgo.Opt{"cooperative": nil, "kip-848": {kgo.ServerSideBalancer()}} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 6))
				source := k.Source("orders", "billing")
				source.Client = append(source.Client, client...)
				inv := esmtest.NewInvoker(t)
				release := inv.Hang()
				defer release()
				m := esmtest.Start(t, source, inv, quiet(), esm.WithStopTimeout(8*time.Second))
				k.ProduceTo("orders", 0, "a")
				time.Sleep(5 * time.Second)
				_, assigned := takeover(t, source, esmtest.NewInvoker(t))
				time.Sleep(20 * time.Second)
				had := assigned.Load()
				if had == 0 || had == 6 {
					t.Fatalf("the second member has %d of 6 partitions", had)
				}
				began := time.Now()
				err := m.Stop(context.Background())
				var drain *esm.DrainError
				if !errors.As(err, &drain) || drain.LeaveErr != nil || len(drain.Waiting) > 0 {
					t.Errorf("Stop: %v", err)
				}
				if took := time.Since(began); took > 9*time.Second {
					t.Errorf("Stop took %s of 8s", took)
				}
				time.Sleep(6 * time.Second) // a heartbeat of KIP-848
				if got := assigned.Load(); got != 6 {
					t.Errorf("the second member has %d of 6 partitions", got)
				}
			})
		})
	}
}

// TestNoCallAfterItsContextEnded: between the lease of a batch and its call run
// hooks, and a process can stand still there. What was taken away meanwhile is
// not called for.
func TestNoCallAfterItsContextEnded(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, k *esmtest.Kafka, m *esm.Mapping){
		"stop": func(t *testing.T, _ *esmtest.Kafka, m *esm.Mapping) {
			ctx, done := context.WithCancel(context.Background())
			done()
			_ = m.Stop(ctx) // it says that the hook is in its way
		},
		"lost": func(t *testing.T, k *esmtest.Kafka, m *esm.Mapping) {
			k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
			time.Sleep(500 * time.Millisecond) // a heartbeat
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				var calls atomic.Int64
				inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { calls.Add(1); return nil })
				var ended atomic.Int64
				var outcome atomic.Int64
				hook := make(chan struct{})
				m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet(), esm.WithHooks(esm.Hooks{
					InvokeStarted: func(esm.Invocation) { <-hook },
					InvokeEnded:   func(i esm.Invocation) { outcome.Store(int64(i.Outcome)); ended.Add(1) },
				}))
				k.Produce("orders", "a")
				time.Sleep(600 * time.Millisecond)
				end(t, k, m)
				close(hook)
				waitFor(t, time.Second, "ended", func() bool { return ended.Load() > 0 })
				if calls.Load() != 0 || esm.Outcome(outcome.Load()) != esm.OutcomeAbandoned {
					t.Errorf("%d calls, and the outcome is %s", calls.Load(), esm.Outcome(outcome.Load()))
				}
			})
		})
	}
}
