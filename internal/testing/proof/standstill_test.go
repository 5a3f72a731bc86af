package proof_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestACommitThatIsRefusedOnceHoldsNothingUp: the coordinator answers one
// partition with an error, once, when it is assigned. The client drops it then.
func TestACommitThatIsRefusedOnceHoldsNothingUp(t *testing.T) {
	codes := []*kerr.Error{kerr.UnknownServerError, kerr.TopicAuthorizationFailed, kerr.NotCoordinator, kerr.UnstableOffsetCommit}
	if nightly {
		codes = nil
		for code := int16(-1); code < 150; code++ {
			if err, ok := kerr.ErrorForCode(code).(*kerr.Error); ok && code != 0 {
				codes = append(codes, err)
			}
		}
	}
	for name, opts := range protocols {
		for _, code := range codes {
			t.Run(name+"/"+code.Message, func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
					fill(k, "orders", 4, 10)
					source := quick(k.Source("orders", "billing"))
					source.Client = append(source.Client, opts...)
					first := esmtest.Start(t, source, esmtest.NewInvoker(t), quiet())
					time.Sleep(2 * time.Second)
					stop(t, first)
					fill(k, "orders", 4, 10)
					k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Partitions: []int32{1, 2}, Err: code})
					inv := esmtest.NewInvoker(t)
					m := esmtest.Start(t, source, inv, quiet())
					waitFor(t, 30*time.Second, "everything handled", func() bool { return len(inv.Values()) >= 40 })
					time.Sleep(10 * time.Second)
					if ps := m.State().Problems; len(ps) > 0 || len(inv.Values()) != 40 {
						t.Errorf("%d records were handled, and there are problems: %v", len(inv.Values()), ps)
					}
					stop(t, m)
				})
			})
		}
	}
}

// TestWhatStandsStillIsNamedForAsLongAsItDoes: the coordinator refuses two of four
// partitions for ten minutes. They are named all the time, whoever has them, and
// read again when it is over.
func TestWhatStandsStillIsNamedForAsLongAsItDoes(t *testing.T) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
				fill(k, "orders", 4, 10)
				source := quick(k.Source("orders", "billing"))
				source.Client = append(source.Client, opts...)
				fault := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Partitions: []int32{1, 2}, Err: kerr.TopicAuthorizationFailed, Count: -1})
				inv := esmtest.NewInvoker(t)
				m := esmtest.Start(t, source, inv, quiet())
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if got := len(inv.Values()); got != 20 {
					t.Errorf("%d records of the other partitions were handled", got)
				}
				for range 8 {
					for _, p := range []int{1, 2} {
						with := fmt.Sprintf("topic orders partition %d", p)
						if problem := problemWith(m, with); problem == nil || !errors.Is(problem.Err, kerr.TopicAuthorizationFailed) {
							t.Fatalf("%s is not named, or not with its reason: %v", with, problem)
						}
					}
					if err := m.Healthy(); err == nil || !strings.Contains(err.Error(), "orders partition") {
						t.Errorf("healthy says %v", err)
					}
					time.Sleep(time.Minute)
				}
				fault.Remove()
				waitFor(t, 30*time.Second, "everything handled", func() bool { return len(inv.Values()) >= 40 })
				waitFor(t, 10*time.Second, "over", func() bool { return len(m.State().Problems) == 0 && m.Healthy() == nil })
				stop(t, m)
				for p := range int32(4) {
					if at := k.Committed("billing", "orders", p); at != 10 {
						t.Errorf("partition %d is committed at %d", p, at)
					}
				}
			})
		})
	}
}

// A newestClient is the last client that was made with it as a hook: that which
// reads, since those that only look at options come before.
type newestClient struct{ atomic.Pointer[kgo.Client] }

var _ kgo.HookNewClient = (*newestClient)(nil)

// OnNewClient keeps the client.
func (c *newestClient) OnNewClient(cl *kgo.Client) { c.Store(cl) }

// TestAClientThatStopsReadingIsSetBack: whatever made it: here it is told to read
// from the end of a partition.
func TestAClientThatStopsReadingIsSetBack(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
		inv := esmtest.NewInvoker(t)
		source := quick(k.Source("orders", "billing"))
		var client newestClient
		source.Client = append(source.Client, kgo.WithHooks(&client))
		m := esmtest.Start(t, source, inv, quiet())
		time.Sleep(time.Second)
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		fill(k, "orders", 3, 10)
		client.Load().SetOffsets(map[string]map[int32]kgo.EpochOffset{"orders": {0: {Epoch: -1, Offset: 10}, 1: {Epoch: -1, Offset: 10}}})
		time.Sleep(time.Second)
		if err := m.Resume(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := len(inv.Values()); got != 10 {
			t.Fatalf("%d records were handled: the client was not stopped", got)
		}
		waitFor(t, time.Minute, "everything handled", func() bool { return len(inv.Values()) >= 30 })
		time.Sleep(2 * time.Second)
		if err := errors.Join(m.Healthy(), m.Ready()); err != nil || len(m.State().Problems) > 0 {
			t.Errorf("%v, %v", err, m.State().Problems)
		}
		stop(t, m)
	})
}

// TestABatchBeyondTheLimit: the client stops such a partition for good.
func TestABatchBeyondTheLimit(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		setBatchLimit(t, k, "orders", 8<<20)
		k.ProduceRecords(esmtest.At(0, &kgo.Record{Topic: "orders", Value: []byte("before")}))
		squeeze(t, k, "orders", 0, bytes.Repeat([]byte{0}, 2<<20))
		k.ProduceRecords(esmtest.At(0, &kgo.Record{Topic: "orders", Value: []byte("after")}))
		source := quick(k.Source("orders", "billing"))
		source.Client = append(source.Client, kgo.MaxDecompressBatchBytes(1<<20))
		unreadable(t, k, source, 1, 2)
	})
}

// unreadable holds a Mapping to what is promised of a batch that cannot be read.
func unreadable(t *testing.T, k *esmtest.Kafka, source esm.Source, from, to int64) {
	t.Helper()
	var discards list[esm.Discard]
	inv := esmtest.NewInvoker(t)
	refuse := 2
	tp := esm.TopicPartition{Topic: "orders", Partition: 0}
	m := esmtest.Start(t, source, inv, quiet(), esm.WithBackoff(esm.Constant(time.Second)),
		esm.WithDestination(esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error {
			discards.add(*d)
			d.Record.Offset, d.Record.Value = 7, []byte("mine") // as a client does
			if refuse--; refuse >= 0 {
				return errors.New("not now")
			}
			return nil
		})))
	if err := m.SkipUnreadable(tp, from); err == nil {
		t.Error("it passed over what nobody has tried to read")
	}
	waitFor(t, 30*time.Second, "named", func() bool {
		p := problemWith(m, "topic orders partition 0")
		var u *esm.Gap
		return p != nil && errors.As(p.Err, &u) && u.From == from && u.To == to
	})
	fetches := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Observe: true, Count: -1, When: func(r kmsg.Request) bool {
		for _, t := range r.(*kmsg.FetchRequest).Topics {
			for _, p := range t.Partitions {
				if p.Partition == 0 && p.FetchOffset == from {
					return true
				}
			}
		}
		return false
	}})
	k.ProduceRecords(esmtest.At(1, &kgo.Record{Topic: "orders", Value: []byte("meanwhile")}))
	for range 30 {
		time.Sleep(time.Minute)
		p := problemWith(m, "topic orders partition 0")
		var u *esm.Gap
		if err := m.Healthy(); p == nil || err == nil || !errors.As(err, &u) {
			t.Fatalf("it is not named any more: %v, healthy says %v", p, err)
		}
		u.From = 99 // what somebody writes into it is his own
	}
	if got := strings.Join(inv.Values(), " "); got != "before meanwhile" {
		t.Errorf("handled: %q", got)
	}
	if n := fetches.Hits(); n > 12 {
		t.Errorf("it was fetched %d times in half an hour", n)
	}
	for _, wrong := range []error{m.SkipUnreadable(tp, from+1), m.SkipUnreadable(tp, 0), m.SkipUnreadable(esm.TopicPartition{Topic: "orders", Partition: 1}, from), m.SkipUnreadable(esm.TopicPartition{Topic: "others"}, from)} {
		if wrong == nil {
			t.Error("it passed over what is not unreadable")
		}
	}
	if err := m.SkipUnreadable(tp, from); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 30*time.Second, "handled", func() bool { return len(inv.Values()) == 3 })
	if got := inv.Values()[2]; got != "after" {
		t.Errorf("after it came %q", got)
	}
	all := discards.all()
	if len(all) != 3 {
		t.Fatalf("it was delivered %d times", len(all))
	}
	for i, d := range all {
		var u *esm.Gap
		if d.Reason != esm.ReasonUnreadable || d.Delivery != i+1 || d.Record.Topic != "orders" || !errors.As(d.Err, &u) || u.From != from || u.To != to {
			t.Errorf("delivered: %+v", d)
		}
	}
	time.Sleep(2 * time.Second)
	if err := m.Healthy(); err != nil || len(m.State().Problems) > 0 {
		t.Errorf("%v, %v", err, m.State().Problems)
	}
	stop(t, m)
	if at := k.Committed("billing", "orders", 0); at != k.End("orders", 0) {
		t.Errorf("committed at %d", at)
	}
}

// squeeze writes one record as a compressed batch.
func squeeze(t *testing.T, k *esmtest.Kafka, topic string, partition int32, value []byte) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// A spoiler is a network that changes bytes of what a broker sends.
type spoiler struct {
	net.Conn
	mark []byte
}

func (s *spoiler) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	for i := bytes.Index(b[:n], s.mark); i >= 0; i = bytes.Index(b[:n], s.mark) {
		b[i] ^= 0xff
	}
	return n, err
}

// TestACorruptBatch: its checksum is wrong each time that it is read.
func TestACorruptBatch(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		k.ProduceRecords(esmtest.At(0, &kgo.Record{Topic: "orders", Value: []byte("before")}))
		k.ProduceRecords(
			esmtest.At(0, &kgo.Record{Topic: "orders", Value: bytes.Repeat([]byte{0xa7}, 1000)}),
			esmtest.At(0, &kgo.Record{Topic: "orders", Value: bytes.Repeat([]byte{0xa7}, 1000)}))
		k.ProduceRecords(esmtest.At(0, &kgo.Record{Topic: "orders", Value: []byte("after")}))
		source := quick(k.Source("orders", "billing"))
		source.Client = append(source.Client, kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := k.Dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &spoiler{c, []byte{0xa7, 0xa7, 0xa7}}, nil
		}))
		unreadable(t, k, source, 1, 3)
	})
}

// TestAProblemStaysUntilItIsOver: a broker cannot be reached, and then has nothing
// to lead any more, so that the client has no reason to try again.
func TestAProblemStaysUntilItIsOver(t *testing.T) {
	for how, end := range map[string]func(*esmtest.Kafka, *cutNetwork){
		"it can be reached again": func(_ *esmtest.Kafka, n *cutNetwork) { n.refuse("") },
		"it left the cluster": func(k *esmtest.Kafka, _ *cutNetwork) {
			if err := k.Cluster().RemoveNode(2); err != nil {
				panic(err)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 3), esmtest.Brokers(3))
				for p := range int32(3) {
					if err := k.Cluster().MoveTopicPartition("orders", p, p); err != nil {
						t.Fatal(err)
					}
				}
				for k.Cluster().CoordinatorFor("billing") == 2 {
					k.Cluster().RehashCoordinators()
				}
				network := &cutNetwork{k: k}
				source := quick(k.Source("orders", "billing"))
				source.Brokers = source.Brokers[:2]
				source.Client = append(source.Client, kgo.Dialer(func(ctx context.Context, kind, address string) (net.Conn, error) {
					c, err := network.dial(ctx, kind, address)
					if err != nil {
						return nil, err
					}
					return slowConn{c}, nil // or the client asks again in the same moment, and no time passes
				}))
				m := esmtest.Start(t, source, esmtest.NewInvoker(t), quiet())
				network.refuse(k.Brokers()[2])
				with := "connection to " + k.Brokers()[2]
				waitFor(t, time.Minute, "named", func() bool { return problemWith(m, with) != nil })
				if err := k.Cluster().MoveTopicPartition("orders", 2, 0); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					time.Sleep(time.Minute)
					p := problemWith(m, with)
					if p == nil {
						t.Fatal("it is not named any more")
					}
					if age := time.Since(p.Last); age > 2*time.Minute {
						t.Errorf("it was seen last %s ago", age)
					}
				}
				end(k, network)
				waitFor(t, time.Minute, "over", func() bool { return len(m.State().Problems) == 0 })
				stop(t, m)
			})
		})
	}
}
