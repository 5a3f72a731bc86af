package kafkadest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
	"github.com/seed429fd032/esm/kafkadest"
)

// The tests run on the Kafka in memory, and with ESM_KAFKA=1 on a real one of
// three brokers too.

var realKafka = &kafkatest.Shared{Config: kafkatest.Config{Brokers: 3, Properties: map[string]string{
	"log.message.timestamp.before.max.ms": "3600000", // what is old must not be sent as old
}}}

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m, realKafka)) }

// An anyKafka is a cluster of either kind.
type anyKafka struct {
	t       *testing.T
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	fake    *kfake.Cluster     // nil if it is real
	real    *kafkatest.Cluster // nil if it is not
}

func everyKafka(t *testing.T, f func(t *testing.T, k *anyKafka)) {
	t.Run("memory", func(t *testing.T) { f(t, fakeKafka(t)) })
	t.Run("real", func(t *testing.T) { f(t, theRealKafka(t)) })
}

func fakeKafka(t *testing.T, opts ...kfake.Opt) *anyKafka {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	k := connectTo(t, cluster.ListenAddrs())
	k.fake = cluster
	return k
}

func theRealKafka(t *testing.T) *anyKafka {
	t.Helper()
	cluster := realKafka.Get(t)
	k := connectTo(t, cluster.Addrs)
	k.real = cluster
	return k
}

func connectTo(t *testing.T, brokers []string, opts ...kgo.Opt) *anyKafka {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &anyKafka{t: t, brokers: brokers, client: cl, admin: kadm.NewClient(cl)}
}

// in is the cluster for a subtest.
func (k anyKafka) in(t *testing.T) *anyKafka {
	k.t = t
	return &k
}

var names atomic.Int64

// name is a topic that is not there.
func name() string { return fmt.Sprintf("failed-%d", names.Add(1)) }

// make makes a topic, with settings in pairs.
func (k *anyKafka) make(topic string, partitions int32, settings ...string) string {
	k.t.Helper()
	configs := map[string]*string{}
	for i := 0; i < len(settings); i += 2 {
		configs[settings[i]] = &settings[i+1]
	}
	resp, err := k.admin.CreateTopic(k.t.Context(), partitions, -1, configs, topic)
	if err = errors.Join(err, resp.Err); err != nil {
		k.t.Fatal(err)
	}
	// The controller has it by now, and the broker hears of it.
	for range 500 {
		topics, err := k.admin.ListTopics(k.t.Context(), topic)
		if err == nil && topics.Error() == nil {
			return topic
		}
		<-time.After(20 * time.Millisecond)
	}
	k.t.Fatalf("the broker does not hear of %s", topic)
	return ""
}

// dest makes a Destination that is closed at the end of the test.
func (k *anyKafka) dest(c kafkadest.Config) *kafkadest.Destination {
	k.t.Helper()
	if c.Brokers == nil {
		c.Brokers = k.brokers
	}
	d, err := kafkadest.New(c)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(d.Close)
	return d
}

// discard is one of a record with this offset, of another cluster.
func discard(offset int64, value string) *esm.Discard {
	return &esm.Discard{
		Record: &kgo.Record{Topic: "orders", Partition: 4, Offset: offset, Timestamp: time.UnixMilli(1_700_000_000_000 + offset),
			Key: fmt.Appendf(nil, "key-%d", offset), Value: []byte(value)},
		Reason: esm.ReasonRetriesExhausted, Attempts: 3, Err: errors.New("no such account"),
		Mapping: "billing", Group: "billing", Brokers: []string{"elsewhere.test:9092"}, BatchID: "b-1", BatchRecords: 1, Delivery: 1,
	}
}

// deliver delivers, and fails the test if that takes a minute.
func deliver(t *testing.T, d esm.Destination, g *esm.Discard) error {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	err := d.Deliver(ctx, g)
	if ctx.Err() != nil {
		t.Fatalf("it took a minute: %v", err)
	}
	return err
}

// must delivers what must be taken.
func must(t *testing.T, d esm.Destination, g *esm.Discard) {
	t.Helper()
	if err := deliver(t, d, g); err != nil {
		t.Fatal(err)
	}
}

// wantError fails the test unless an error is this one, and says this.
func wantError(t *testing.T, err, target error, says string) {
	t.Helper()
	if !errors.Is(err, target) || !strings.Contains(err.Error(), says) {
		t.Fatalf("got the error %v, want %v that says %q", err, target, says)
	}
}

// count is how many records a topic has.
func (k *anyKafka) count(topic string) (n int64) {
	k.t.Helper()
	ends, err := k.admin.ListEndOffsets(k.t.Context(), topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		k.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// read returns all records of a topic, of which there must be this many.
func (k *anyKafka) read(topic string, want int) []*kgo.Record {
	k.t.Helper()
	if n := k.count(topic); n != int64(want) {
		k.t.Fatalf("%s has %d records, want %d", topic, n, want)
	}
	cl, err := kgo.NewClient(append(k.client.Opts(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(100<<20))...)
	if err != nil {
		k.t.Fatal(err)
	}
	defer cl.Close()
	ctx, done := context.WithTimeout(k.t.Context(), time.Minute)
	defer done()
	var records []*kgo.Record
	for len(records) < want {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			k.t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// headers returns the headers of a record, "key=value" each.
func headers(r *kgo.Record) (all []string) {
	for _, h := range r.Headers {
		all = append(all, h.Key+"="+string(h.Value))
	}
	return all
}
