package proof_test

import (
	"context"
	"errors"
	"slices"
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
				var called list[string]
				inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error { called.add(b.ID); return nil })
				var started, ended list[esm.Invocation]
				hook := make(chan struct{})
				m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet(), esm.WithHooks(esm.Hooks{
					InvokeStarted: func(i esm.Invocation) { started.add(i); <-hook },
					InvokeEnded:   ended.add,
				}))
				k.Produce("orders", "a")
				time.Sleep(600 * time.Millisecond)
				end(t, k, m)
				close(hook)
				// A partition that was lost may be here again, with a call of its own.
				first := started.all()[0].BatchID
				isFirst := func(i esm.Invocation) bool { return i.BatchID == first }
				waitFor(t, time.Second, "ended", func() bool { return slices.ContainsFunc(ended.all(), isFirst) })
				all := ended.all()
				if o := all[slices.IndexFunc(all, isFirst)].Outcome; o != esm.OutcomeAbandoned || slices.Contains(called.all(), first) {
					t.Errorf("the outcome is %s, and these were called: %v", o, called.all())
				}
			})
		})
	}
}
