package esmtest

import (
	"cmp"
	"context"
	"hash/fnv"
	"math"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A Kafka is a cluster in memory. Its methods fail the test when something
// goes wrong; those that may be called on any goroutine say so.
type Kafka struct {
	t        testing.TB
	bubble   string // where it was made
	cluster  *kfake.Cluster
	network  kfake.VirtualNetwork
	brokers  []string
	client   *kgo.Client
	producer *kgo.Client // of Produce: see producing
}

// A KafkaOption is an option of [NewKafka].
type KafkaOption func(*kafkaConfig)

type kafkaConfig struct {
	t       testing.TB
	brokers int
	opts    []kfake.Opt
}

// Topic makes a topic with so many partitions: 1 or more.
func Topic(name string, partitions int) KafkaOption {
	return func(c *kafkaConfig) {
		c.t.Helper()
		needPartition(c.t, name, partitions)
		c.opts = append(c.opts, kfake.SeedTopics(int32(partitions), name))
	}
}

// needPartition fails the test at once for a topic without a partition, of
// which the fake cluster would make one with as many as it likes.
func needPartition(t testing.TB, topic string, partitions int) {
	t.Helper()
	if partitions < 1 {
		t.Fatalf("esmtest: topic %q with %d partitions: it must have 1 or more", topic, partitions)
	}
}

// Brokers sets the number of brokers: 1 or more, default 1.
func Brokers(n int) KafkaOption {
	return func(c *kafkaConfig) {
		c.t.Helper()
		if n < 1 {
			c.t.Fatalf("esmtest: %d brokers: there must be 1 or more", n)
		}
		c.brokers = n
	}
}

// With passes options to the fake cluster, for TLS, SASL, ACLs and broker
// settings.
func With(opts ...kfake.Opt) KafkaOption {
	return func(c *kafkaConfig) { c.opts = append(c.opts, opts...) }
}

// NewKafka makes a cluster, which is closed at the end of the test. Inside a
// testing/synctest bubble it must be called in the bubble, with its t.
func NewKafka(t testing.TB, opts ...KafkaOption) *Kafka {
	t.Helper()
	if inBubble() && !tagged {
		t.Fatal("esmtest: a Kafka in a testing/synctest bubble needs the build tag synctests, or the clock may stand still: run go test -tags synctests")
	}
	needOwn(t, "NewKafka")
	watchClock(t)
	c := kafkaConfig{t: t, brokers: 1}
	for _, o := range opts {
		o(&c)
	}
	k := &Kafka{t: t, bubble: bubbleHere()}
	ports := make([]int, c.brokers)
	for i := range ports {
		ports[i] = 9092 + i
	}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(c.brokers), kfake.Ports(ports...), kfake.ListenFn(k.network.Listen),
		kfake.GroupMinSessionTimeout(time.Second),
	}, c.opts...)...)
	if err != nil {
		t.Fatalf("esmtest: %v", err)
	}
	t.Cleanup(cluster.Close)
	k.cluster, k.brokers = cluster, cluster.ListenAddrs()
	return k
}

// Source returns a Source that reads a topic of this cluster from its
// beginning. Change what it returns to read otherwise.
func (k *Kafka) Source(topic, group string) esm.Source {
	k.t.Helper()
	needSame(k.t, "this Kafka", k.bubble)
	return esm.Source{Brokers: k.Brokers(), Topics: []string{topic}, Group: group, Client: []kgo.Opt{k.Dialer()}}
}

// Brokers returns the addresses of the brokers. They can be reached with
// [Kafka.Dialer] only.
func (k *Kafka) Brokers() []string { return append([]string(nil), k.brokers...) }

// Dialer is the client option that makes a client reach the cluster.
func (k *Kafka) Dialer() kgo.Opt { return kgo.Dialer(k.network.DialContext) }

// Dial connects to a broker. It is for dialers that do something on the way,
// and may be called on any goroutine.
func (k *Kafka) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return k.network.DialContext(ctx, network, address)
}

// Cluster is the fake cluster itself: for faults, leader changes, retention,
// and whatever else its package has.
func (k *Kafka) Cluster() *kfake.Cluster { return k.cluster }

// Client returns a client of the cluster, the same one each time, which is
// closed at the end of the test. It produces without waiting for others
// (linger 0), and to the partition that a record names.
func (k *Kafka) Client() *kgo.Client {
	k.t.Helper()
	needSame(k.t, "this Kafka", k.bubble)
	if k.client == nil {
		k.client = k.newClient(kgo.ProducerLinger(0))
	}
	return k.client
}

// producing is a client that sends what it has when it is flushed.
func (k *Kafka) producing() *kgo.Client {
	k.t.Helper()
	needSame(k.t, "this Kafka", k.bubble)
	if k.producer == nil {
		k.producer = k.newClient(kgo.ManualFlushing(), kgo.MaxBufferedRecords(math.MaxInt32))
	}
	return k.producer
}

func (k *Kafka) newClient(opts ...kgo.Opt) *kgo.Client {
	k.t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.brokers...), k.Dialer(), kgo.RecordPartitioner(partitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		k.t.Fatalf("esmtest: %v", err)
	}
	k.t.Cleanup(cl.Close)
	return cl
}

// partitioner spreads the records of a topic without a key over its partitions
// in turn, and those with one by the key, unless they name a partition: [At].
func partitioner() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		next := 0 // guarded by the client, which asks for one record at a time
		return func(r *kgo.Record, n int) int {
			if p, ok := r.Context.Value(atKey{}).(int32); ok {
				return int(p)
			}
			if r.Key != nil {
				h := fnv.New32a()
				_, _ = h.Write(r.Key) // never fails
				return int(h.Sum32() % uint32(n))
			}
			next++
			return (next - 1) % n
		}
	})
}

type atKey struct{}

// Produce writes records with these values to a topic, to its partitions in
// turn, from partition 0 on, and waits until they are written.
func (k *Kafka) Produce(topic string, values ...string) {
	k.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Value: []byte(v)}
	}
	k.ProduceRecords(records...)
}

// ProduceTo writes records with these values to one partition, and waits until
// they are written.
func (k *Kafka) ProduceTo(topic string, partition int32, values ...string) {
	k.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = At(partition, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
	k.ProduceRecords(records...)
}

// At makes [Kafka.ProduceRecords] write a record to this partition.
func At(partition int32, r *kgo.Record) *kgo.Record {
	ctx := r.Context
	if ctx == nil {
		ctx = context.Background()
	}
	r.Context = context.WithValue(ctx, atKey{}, partition)
	return r
}

// ProduceRecords writes records, and waits until they are written. Those of a
// partition are one record batch, as far as they fit. A record without a topic is an
// error.
func (k *Kafka) ProduceRecords(records ...*kgo.Record) {
	k.t.Helper()
	for _, r := range records {
		if r.Context == nil {
			r.Context = context.Background()
		}
	}
	// All are there when the first is sent, so that those of a partition are one batch,
	// and one poll brings them.
	failures := make(chan error, len(records))
	for _, r := range records {
		k.producing().Produce(context.Background(), r, func(_ *kgo.Record, err error) { failures <- err })
	}
	err := k.producing().Flush(context.Background())
	for range records {
		err = cmp.Or(err, <-failures)
	}
	if err != nil {
		k.t.Fatalf("esmtest: produce: %v", err)
	}
}

// Committed returns the committed offset of a group for a partition, and -1 if
// there is none. It may be called on any goroutine.
func (k *Kafka) Committed(group, topic string, partition int32) int64 {
	info := k.cluster.GroupInfo(group)
	if info == nil {
		return -1
	}
	c, ok := info.Commits[topic][partition]
	if !ok {
		return -1
	}
	return c.Offset
}

// End returns the end of a partition: the offset that its next record will
// have. It may be called on any goroutine.
func (k *Kafka) End(topic string, partition int32) int64 {
	k.t.Helper()
	info := k.cluster.PartitionInfo(topic, partition)
	if info == nil {
		k.t.Errorf("esmtest: there is no %s/%d", topic, partition)
		return -1
	}
	return info.HighWatermark
}

// CreateTopic makes a topic with so many partitions: 1 or more.
func (k *Kafka) CreateTopic(topic string, partitions int) {
	k.t.Helper()
	needPartition(k.t, topic, partitions)
	if err := k.cluster.CreateTopic(topic, int32(partitions), nil); err != nil {
		k.t.Fatalf("esmtest: create topic %q: %v", topic, err)
	}
	if k.producer != nil {
		k.producer.PurgeTopicsFromClient(topic) // it may know one of that name, which was deleted
	}
}
