package proof_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestPartitionsThatMoveStandStillForLessThanASecond: members come and go, at
// moments that have nothing to do with the heartbeats. Partitions that stay
// go on as if nothing was.
func TestPartitionsThatMoveStandStillForLessThanASecond(t *testing.T) {
	for _, protocol := range []string{"cooperative", "kip-848"} {
		t.Run(protocol, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				const partitions, call = 8, 100 * time.Millisecond
				k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
				fill(k, "orders", partitions, 8000)
				var (
					mu     sync.Mutex
					owners = map[int32]string{}
					ended  = map[int32]time.Time{}
					next   = map[int32]int64{}
					moved  int
				)
				start := func(name string) *esm.Mapping {
					s := k.Source("orders", "billing")
					s.Client = append(s.Client, assignors[protocol]...)
					return esmtest.Start(t, s, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
						p := b.Records[0].Partition
						mu.Lock()
						if owner, ok := owners[p]; ok {
							pause, most := time.Since(ended[p]), 10*time.Millisecond
							if owner != name {
								most = time.Second - call
								moved++
							}
							if pause > most {
								t.Errorf("partition %d of %s stands still for %v on its way to %s", p, owner, pause, name)
							}
						}
						if b.Records[0].Offset != next[p] {
							t.Errorf("partition %d goes on at %d, and %d is next", p, b.Records[0].Offset, next[p])
						}
						owners[p] = name
						mu.Unlock()
						time.Sleep(call)
						mu.Lock()
						defer mu.Unlock()
						ended[p], next[p] = time.Now(), b.Records[len(b.Records)-1].Offset+1
						return nil
					}), quiet(), esm.WithName(name), esm.WithBatchSize(10), esm.WithMinPollers(partitions))
				}
				start("first")
				for i := range 6 {
					time.Sleep(5*time.Second + time.Duration(i)*170*time.Millisecond)
					m := start(fmt.Sprint("guest ", i))
					time.Sleep(5*time.Second + time.Duration(i)*130*time.Millisecond)
					stop(t, m)
				}
				time.Sleep(2 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				if moved != 6*partitions {
					t.Errorf("partitions moved %d times", moved)
				}
			})
		})
	}
}

// TestWhoAsksForKIP848AndDoesNotGetItIsLeftAlone: the client falls back to a classic
// group, in which to be asked as often begins a rebalance.
func TestWhoAsksForKIP848AndDoesNotGetItIsLeftAlone(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2), esmtest.With(kfake.MaxVersions(kversion.V3_9_0())))
		s := k.Source("orders", "billing")
		s.Client = append(s.Client, assignors["kip-848"]...)
		inv := esmtest.NewInvoker(t)
		m := esmtest.Start(t, s, inv, quiet())
		k.Produce("orders", "a", "b")
		time.Sleep(30 * time.Second)
		if n := m.Stats().RebalanceCount; n != 0 || len(inv.Values()) != 2 {
			t.Errorf("%d rebalances, %d records", n, len(inv.Values()))
		}
	})
}
