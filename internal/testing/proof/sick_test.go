package proof_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/scaling"
)

// A sickConn is a connection to a broker that takes requests, and answers none
// while it is sick.
type sickConn struct {
	net.Conn
	sick *atomic.Bool
}

func (c sickConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.sick.Load() {
			return n, err
		}
	}
}

// TestASickBrokerDoesNotStopScaling: a broker that takes requests and does not
// answer holds up what is asked of it, and nothing else. What the others lead has
// a lag that is known, and pollers for it.
func TestASickBrokerDoesNotStopScaling(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 12
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions), esmtest.Brokers(3))
		brokers := k.Cluster().ListenAddrs()
		for p := range int32(partitions) { // kfake draws the leaders: one broker in a hundred runs would lead nothing
			if err := k.Cluster().MoveTopicPartition("orders", p, p%int32(len(brokers))); err != nil {
				t.Fatal(err)
			}
		}
		var node int32 // another one than the coordinator, without which there is no group
		for node = range int32(len(brokers)) {
			if node != k.Cluster().CoordinatorFor("billing") {
				break
			}
		}
		source := k.Source("orders", "billing")
		var sick atomic.Bool
		source.Client = append(source.Client, kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := k.Dial(ctx, network, addr)
			if err == nil && addr == brokers[node] {
				return sickConn{conn, &sick}, nil
			}
			return conn, err
		}))
		inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(time.Second); return nil })
		m := esmtest.Start(t, source, inv, quiet(), esm.WithPollerConcurrency(1), esm.WithBatchSize(10))
		fill(k, "orders", partitions, 10) // so that it is known how long a call takes
		time.Sleep(2 * time.Minute)       // one poller is enough again
		sick.Store(true)
		time.Sleep(10 * time.Second)
		fill(k, "orders", partitions, 600)
		time.Sleep(20 * time.Second)

		healthy := 0
		for _, p := range m.AppendPartitions(nil) {
			well := k.Cluster().LeaderFor(p.Topic, p.Partition) != node
			if well {
				healthy++
			}
			if p.LagKnown != well {
				t.Errorf("partition %d, whose broker is well: %v, has a lag that is known: %v", p.Partition, well, p.LagKnown)
			}
		}
		if healthy == 0 || healthy == partitions {
			t.Fatalf("the sick broker leads %d of %d partitions", partitions-healthy, partitions)
		}
		if s := m.Stats(); s.ProvisionedPollers < healthy || s.ScaleReason.Cause == scaling.UnknownLag {
			t.Errorf("%d pollers for %d partitions of healthy brokers that lag: %s", s.ProvisionedPollers, healthy, s.ScaleReason)
		}
	})
}
