package proof_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// lagMaxAge is how old the end of a partition may be for its lag to be known.
const lagMaxAge = 5 * time.Second

// delayed has the broker that leads orders/0 answer where it ends after so long, with
// what was true when it was asked. A negative time is a refusal. f is called on the
// goroutine of the cluster.
func delayed(k *esmtest.Kafka, f func() time.Duration) {
	k.Cluster().ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		if req.Topics[0].Partitions[0].Timestamp != -1 {
			return nil, nil, false
		}
		takes := f()
		p := kmsg.NewListOffsetsResponseTopicPartition()
		p.Offset = k.Cluster().PartitionInfo("orders", 0).HighWatermark
		if takes < 0 {
			p.Offset, p.ErrorCode = -1, kerr.UnknownServerError.Code
		}
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic, topic.Partitions = "orders", append(topic.Partitions, p)
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		resp.Topics = append(resp.Topics, topic)
		if takes > 0 {
			k.Cluster().SleepControl(func() { time.Sleep(takes) })
		}
		return resp, nil, true
	})
}

// oneLeader is a cluster whose orders/0 is led by another broker than the group's
// coordinator, so that answers about the one hold up none about the other.
func oneLeader(t *testing.T) *esmtest.Kafka {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1), esmtest.Brokers(2))
	if err := k.Cluster().MoveTopicPartition("orders", 0, 1-k.Cluster().CoordinatorFor("billing")); err != nil {
		t.Fatal(err)
	}
	return k
}

// judgeEnds writes a record of so many bytes ten times a second for so long, and holds
// what the Mapping says to this: an end that is known was one in the last five seconds,
// and goes back never. It returns for how much of the time it was known.
func judgeEnds(t *testing.T, k *esmtest.Kafka, m *esm.Mapping, long time.Duration, bytes int) (known time.Duration) {
	t.Helper()
	const step = 100 * time.Millisecond
	ends, last := []int64{k.End("orders", 0)}, int64(-1) // one a step
	for range int(long / step) {
		time.Sleep(step)
		ends = append(ends, ends[len(ends)-1]+1)
		r := m.AppendPartitions(nil)[0] // before the record: it says what was
		if r.LagKnown {
			known += step
			if i := len(ends) - 2 - int(lagMaxAge/step); i >= 0 && r.End < ends[i] {
				t.Errorf("the end is known to be %d: it was %d %s ago and is %d", r.End, ends[i], lagMaxAge, ends[len(ends)-2])
			}
		}
		if r.End < last {
			t.Errorf("the end was %d and is %d", last, r.End)
		}
		last = r.End
		k.ProduceRecords(esmtest.At(0, &kgo.Record{Topic: "orders", Value: make([]byte, bytes)}))
		if t.Failed() {
			return known
		}
	}
	return known
}

// TestAnEndIsAsOldAsItsQuestion: an answer that was long under way says what was, and
// takes nothing back of what a fetch has said meanwhile.
func TestAnEndIsAsOldAsItsQuestion(t *testing.T) {
	for name, tt := range map[string]struct {
		takes  []time.Duration // the answers, in turn
		paused bool            // nothing is fetched
		known  func(time.Duration) bool
	}{
		"at once":          {[]time.Duration{0}, true, func(d time.Duration) bool { return d == time.Minute }},
		"in four seconds":  {[]time.Duration{4 * time.Second}, true, func(d time.Duration) bool { return d > 10*time.Second && d < 30*time.Second }},
		"in eight seconds": {[]time.Duration{8 * time.Second}, true, func(d time.Duration) bool { return d < 6*time.Second }},
		"one takes long":   {[]time.Duration{0, 7 * time.Second, 0, 3 * time.Second}, true, func(d time.Duration) bool { return d > 20*time.Second }},
		"beside fetches":   {[]time.Duration{0, 7 * time.Second, 0, 3 * time.Second}, false, func(d time.Duration) bool { return d == time.Minute }},
		"refused":          {[]time.Duration{-1}, true, func(d time.Duration) bool { return d < 6*time.Second }},
		"refused, fetched": {[]time.Duration{-1}, false, func(d time.Duration) bool { return d == time.Minute }},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := oneLeader(t)
				var begun atomic.Bool
				i := 0
				delayed(k, func() time.Duration {
					if !begun.Load() {
						return 0
					}
					i++
					return tt.takes[(i-1)%len(tt.takes)]
				})
				k.Produce("orders", "a")
				m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
				time.Sleep(5 * time.Second)
				if tt.paused {
					if err := m.Pause(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(5 * time.Second)
				begun.Store(true)
				if known := judgeEnds(t, k, m, time.Minute, 10); !tt.known(known) {
					t.Errorf("the lag was known for %s of a minute", known)
				}
				stop(t, m)
				time.Sleep(10 * time.Second) // kfake waits for no answer that is under way
			})
		})
	}
}

// TestAFetchThatWaitsForMemoryMakesNoEndYoung: it says what was when the broker sent it.
func TestAFetchThatWaitsForMemoryMakesNoEndYoung(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := oneLeader(t)
		var refused atomic.Bool
		delayed(k, func() time.Duration {
			if refused.Load() {
				return -1
			}
			return 0
		})
		inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(20 * time.Second); return nil })
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMemoryBudget(1<<20), esm.WithBatchBytes(200_000))
		judgeEnds(t, k, m, time.Minute, 10_000)
		refused.Store(true)
		judgeEnds(t, k, m, 5*time.Minute, 10_000)
		if limited := m.Stats().MemoryLimited; !limited {
			t.Error("the fetches did not wait for memory")
		}
		stop(t, m)
	})
}
