package fleet_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// One broker: these tests break hosts, and no brokers.
var realKafka = &kafkatest.Shared{Config: kafkatest.Config{Fast: true, Memory: "512m", Properties: map[string]string{
	"log.cleaner.backoff.ms": "200", // the pause of the compaction
}}}

// TestMain makes this program a child if a test has started it as one.
func TestMain(m *testing.M) {
	if text := os.Getenv(partVariable); text != "" {
		os.Exit(play(text))
	}
	os.Exit(kafkatest.Main(m, realKafka))
}

// A kafka is a Kafka of either kind. Its brokers listen on TCP, so that children reach it.
type kafka struct {
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	real    bool
}

// everyKafka runs a test on a Kafka in this process, and with ESM_KAFKA=1 on a real one.
func everyKafka(t *testing.T, f func(t *testing.T, k *kafka)) {
	t.Run("memory", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		f(t, connect(t, cluster.ListenAddrs(), false))
	})
	t.Run("real", func(t *testing.T) { f(t, connect(t, realKafka.Get(t).Addrs, true)) })
}

func connect(t *testing.T, brokers []string, real bool) *kafka {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &kafka{brokers, cl, kadm.NewClient(cl), real}
}

// either is what differs between the kinds of Kafka.
func either[T any](k *kafka, memory, real T) T {
	if k.real {
		return real
	}
	return memory
}

var topics atomic.Int64

// topic is the name of a topic that no other test has.
func topic(t *testing.T) string {
	return fmt.Sprintf("%s-%d", strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()), topics.Add(1))
}

// compacted makes a topic for a Store that a real Kafka compacts all the time, while the
// Store is written and read: with the settings that a Store gives it, no test would see that.
func (k *kafka) compacted(t *testing.T) string {
	name := topic(t)
	if k.real {
		settings := map[string]*string{"cleanup.policy": new("compact"), "segment.ms": new("300"), "min.cleanable.dirty.ratio": new("0.01"), "delete.retention.ms": new("100")}
		if _, err := k.admin.CreateTopic(t.Context(), 1, 1, settings, name); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

// raw is what is committed in a topic of a Store, without the Store: the last of each key,
// from so many records. aborted are those that are not committed.
func (k *kafka) raw(t *testing.T, topic string) (last map[string]string, records, aborted int) {
	t.Helper()
	ends, err := k.admin.ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	ctx, done := context.WithTimeout(t.Context(), within)
	defer done()
	read := func(isolation kgo.IsolationLevel) (last map[string]string, records int) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		last = map[string]string{}
		for next := int64(0); next < end.Offset; {
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				next = r.Offset + 1
				switch {
				case r.Attrs.IsControl():
					return
				case len(r.Value) == 0:
					delete(last, string(r.Key))
				default:
					last[string(r.Key)] = string(r.Value)
				}
				records++
			})
		}
		return last, records
	}
	_, all := read(kgo.ReadUncommitted())
	last, records = read(kgo.ReadCommitted())
	return last, records, all - records
}

// within is how long anything may take that does not take long.
const within = 30 * time.Second

// until waits for something.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), within)
	defer done()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
