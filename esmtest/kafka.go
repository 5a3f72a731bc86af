package esmtest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A Kafka is a cluster in memory. Its methods fail the test when something
// goes wrong; those that may be called on any goroutine say so.
type Kafka struct {
	t       testing.TB
	bubble  string // where it was made
	cluster *kfake.Cluster
	network kfake.VirtualNetwork
	brokers []string
	client  *kgo.Client
	turns   sync.Map // by topic: how many records were placed in turn, by Produce and by the client

	producers map[[16]byte]*producer // by topic
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
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), k.Dialer(), kgo.RecordPartitioner(k.partitioner()),
			kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
		if err != nil {
			k.t.Fatalf("esmtest: %v", err)
		}
		k.t.Cleanup(cl.Close)
		k.client = cl
	}
	return k.client
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
	k.turns.Delete(topic) // there may have been one of that name
}
