package proof_test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/esmtest"
)

// TestNotHealthyWhileNothingIsCommittedForMinutes, however well calls go: all of it
// would come again. A refusal that a rebalance brings is named later than one that
// stays, and counts as much once it lasts.
func TestNotHealthyWhileNothingIsCommittedForMinutes(t *testing.T) {
	for _, tt := range []struct {
		refusal *kerr.Error
		passing bool
	}{{kerr.RebalanceInProgress, true}, {kerr.UnknownServerError, false}} {
		t.Run(tt.refusal.Message, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				inv := esmtest.NewInvoker(t)
				m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet())
				fault := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: tt.refusal, Count: -1})
				began := time.Now()
				until := func(after time.Duration) { // records go on meanwhile
					for time.Since(began) < after {
						k.Produce("orders", "tea")
						time.Sleep(min(10*time.Second, after-time.Since(began)))
					}
				}
				until(20 * time.Second)
				if p := problemWith(m, "commit"); (p == nil) != tt.passing || p != nil && !errors.Is(p.Err, tt.refusal) {
					t.Errorf("after 20 s: %+v", p)
				}
				until(4 * time.Minute)
				if p := problemWith(m, "commit"); p == nil || !errors.Is(p.Err, tt.refusal) {
					t.Errorf("after four minutes: %+v", p)
				}
				if err := m.Healthy(); err != nil {
					t.Errorf("after four minutes: %v", err)
				}
				until(6 * time.Minute)
				if err := m.Healthy(); !errors.Is(err, tt.refusal) {
					t.Errorf("after six minutes healthy says: %v", err)
				}
				if got := len(inv.Values()); got < 30 {
					t.Errorf("%d records were handled: they did not go on", got)
				}
				fault.Remove()
				waitFor(t, 10*time.Second, "over", func() bool { return problemWith(m, "commit") == nil && m.Healthy() == nil })
				if at, all := k.Committed("billing", "orders", 0), int64(len(inv.Values())); at != all {
					t.Errorf("committed %d of %d", at, all)
				}
				stop(t, m)
			})
		})
	}
}
