package proof_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// lists calls a function, on the goroutine of the cluster, with each request for the
// ends of partitions, and the broker that got it. The answer is made when the function
// has returned.
func lists(k *esmtest.Kafka, f func(node int32)) {
	k.Cluster().ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		if req.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].Timestamp == -1 {
			f(k.Cluster().CurrentNode())
		}
		return nil, nil, false
	})
}

// spread has the brokers lead the partitions of a topic in turn: kfake draws them.
func spread(t *testing.T, k *esmtest.Kafka, topic string, partitions int) (brokers int) {
	t.Helper()
	brokers = len(k.Cluster().ListenAddrs())
	for p := range int32(partitions) {
		if err := k.Cluster().MoveTopicPartition(topic, p, p%int32(brokers)); err != nil {
			t.Fatal(err)
		}
	}
	return brokers
}

// TestBrokersAreAskedForEndsOnceASecond, and early only for partitions of which nobody
// was asked yet: after a rebalance too, and however long the brokers take.
func TestBrokersAreAskedForEndsOnceASecond(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions, seconds = 6, 30
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions), esmtest.Brokers(3))
		brokers := spread(t, k, "orders", partitions)
		fill(k, "orders", partitions, 1) // so that there are commits, and only ends are asked for
		coordinator := k.Cluster().CoordinatorFor("billing")
		var asked [3]atomic.Int64
		lists(k, func(node int32) {
			asked[node].Add(1)
			takes := time.Duration(600+100*node) * time.Millisecond
			if node == coordinator { // heartbeats wait behind it: the others are to be busy when news comes
				takes = 100 * time.Millisecond
			}
			k.Cluster().SleepControl(func() { time.Sleep(takes) })
		})
		source := quick(k.Source("orders", "billing"))
		m := esmtest.Start(t, source, esmtest.NewInvoker(t), quiet())
		for i := range 6 { // each hits the brokers in another moment
			second := esmtest.Start(t, source, esmtest.NewInvoker(t), quiet(), esm.WithName("second"))
			time.Sleep(5*time.Second + time.Duration(i)*170*time.Millisecond)
			stop(t, second)
			waitFor(t, time.Minute, "all partitions are back", func() bool { return m.Stats().Partitions == partitions })
			time.Sleep(2 * time.Second)
			var before [3]int64
			for node := range brokers {
				before[node] = asked[node].Load()
			}
			time.Sleep(seconds * time.Second)
			for node := range brokers {
				if n := asked[node].Load() - before[node]; n < seconds-1 || n > seconds+1 {
					t.Errorf("after rebalance %d, broker %d was asked %d times in %d s", i+1, node, n, seconds)
				}
			}
			if lag, known := m.Stats().OffsetLag.Sum(); !known || lag != 0 {
				t.Errorf("the lag is %d, known: %v", lag, known)
			}
		}
		stop(t, m)
		time.Sleep(time.Second) // kfake waits for no answer that is under way
	})
}

// TestEndsOfNewPartitionsAreAskedForAtOnce, and not a second later.
func TestEndsOfNewPartitionsAreAskedForAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2)) // empty: no fetch says where they end
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		time.Sleep(100 * time.Millisecond)
		if n := m.Stats().OffsetLag.Unknown(); n != 0 {
			t.Errorf("100 ms after the start the lag of %d partitions is unknown", n)
		}
	})
}
