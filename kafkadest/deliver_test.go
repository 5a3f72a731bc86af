package kafkadest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/kafkadest"
)

// TestRecordToTheByte: the format is the default.
func TestRecordToTheByte(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic})
		g := discard(17, "\x00\xffvalue")
		g.Record.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte{1, 2}}, {Key: "esm-other", Value: []byte("kept")}, {Key: "trace", Value: []byte("again")}, {Key: "none"}}
		must(t, dest, g)
		tombstone := discard(18, "")
		tombstone.Record.Key, tombstone.Record.Value = nil, nil
		tombstone.Reason, tombstone.Attempts, tombstone.Err = esm.ReasonTooOld, 0, nil
		must(t, dest, tombstone)

		records := k.read(topic, 2)
		if string(records[0].Key) != "key-17" || string(records[0].Value) != "\x00\xffvalue" {
			t.Errorf("%q %q", records[0].Key, records[0].Value)
		}
		want := []string{"trace=\x01\x02", "esm-other=kept", "trace=again", "none=", "esm-reason=retries-exhausted", "esm-attempts=3", "esm-error=no such account",
			"esm-source-topic=orders", "esm-source-partition=4", "esm-source-offset=17", "esm-source-timestamp=1700000000017"}
		if got := headers(records[0]); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if records[1].Key != nil || records[1].Value != nil {
			t.Errorf("%q %q: both should be null", records[1].Key, records[1].Value)
		}
		want = []string{"esm-reason=too-old", "esm-attempts=0", "esm-source-topic=orders", "esm-source-partition=4", "esm-source-offset=18", "esm-source-timestamp=1700000000018"}
		if got := headers(records[1]); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if age := time.Since(records[0].Timestamp); age > time.Hour {
			t.Errorf("the message is %s old: retention would take it too early", age)
		}
	})
}

func TestDocumentToTheByte(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic, Format: kafkadest.FormatDocument})
		g := discard(17, "value")
		g.Record.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte{1, 255}}}
		must(t, dest, g)

		r := k.read(topic, 1)[0]
		var doc struct{ Timestamp string }
		if err := json.Unmarshal(r.Value, &doc); err != nil {
			t.Fatal(err)
		}
		if at, err := time.Parse("2006-01-02T15:04:05.000Z", doc.Timestamp); err != nil || time.Since(at) > time.Hour {
			t.Errorf("timestamp %q: %v", doc.Timestamp, err)
		}
		payload := `{"bootstrapServers":"elsewhere.test:9092","eventSource":"SelfManagedKafka","records":{"orders-4":[` +
			`{"headers":[{"trace":[1,-1]}],"key":"a2V5LTE3","offset":17,"partition":4,"timestamp":1700000000017,"timestampType":"CREATE_TIME","topic":"orders","value":"dmFsdWU="}]}}`
		want := `{"requestContext":{"requestId":"b-1","functionArn":"billing","condition":"RetriesExhausted","approximateInvokeCount":3},` +
			`"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},"version":"1.0","timestamp":"` + doc.Timestamp + `",` +
			`"KafkaBatchInfo":{"batchSize":1,"bootstrapServers":"elsewhere.test:9092","payloadSize":` + strconv.Itoa(len(payload)) + `,` +
			`"recordInfo":{"offset":"17","timestamp":"2023-11-14T22:13:20.017Z"}},"payload":` + payload + `}`
		if string(r.Value) != want {
			t.Errorf("got  %s\nwant %s", r.Value, want)
		}
		if string(r.Key) != "key-17" {
			t.Errorf("key %q", r.Key)
		}
		wantHeaders := []string{"esm-reason=retries-exhausted", "esm-attempts=3", "esm-error=no such account",
			"esm-source-topic=orders", "esm-source-partition=4", "esm-source-offset=17", "esm-source-timestamp=1700000000017"}
		if got := headers(r); !slices.Equal(got, wantHeaders) {
			t.Errorf("got  %q\nwant %q", got, wantHeaders)
		}
	})
}

// TestReplayPilesNothingUp: a record that went through several such topics has
// each header once, of the last time.
func TestReplayPilesNothingUp(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic})
		g := discard(0, "v")
		g.Record.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("t")}}
		for i := range 3 {
			must(t, dest, g)
			again := k.read(topic, i+1)[i]
			again.Topic = fmt.Sprintf("round-%d", i) // else it is the source topic
			g = discard(0, "")
			g.Record, g.Attempts = again, 10+i
		}
		want := []string{"trace=t", "esm-reason=retries-exhausted", "esm-attempts=11", "esm-error=no such account",
			"esm-source-topic=round-1", "esm-source-partition=0", "esm-source-offset=1", "esm-source-timestamp="}
		got := headers(g.Record)
		if len(got) != len(want) || !slices.Equal(got[:7], want[:7]) || !strings.HasPrefix(got[7], want[7]) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// TestDeliveriesAtOnceAreSentTogether, each once, and a key's always to the
// same partition.
func TestDeliveriesAtOnceAreSentTogether(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		const n = 2000
		topic := k.make(name(), 3)
		var written batches
		dest := k.dest(kafkadest.Config{Topic: topic, Client: []kgo.Opt{kgo.WithHooks(&written)}})
		var wg sync.WaitGroup
		for i := range n {
			g := discard(int64(i), "v")
			g.Record.Partition = int32(i)
			g.Record.Key = fmt.Appendf(nil, "key-%d", i%7)
			if i%8 == 7 {
				g.Record.Key = nil
			}
			wg.Go(func() {
				if err := deliver(t, dest, g); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		of := map[string]int32{}
		spread := map[int32]bool{}
		for _, r := range k.read(topic, n) {
			if r.Key == nil {
				spread[r.Partition] = true
				continue
			}
			if p, ok := of[string(r.Key)]; ok && p != r.Partition {
				t.Fatalf("key %s went to partitions %d and %d", r.Key, p, r.Partition)
			}
			of[string(r.Key)] = r.Partition
		}
		if got := written.count(); got > n/4 {
			t.Errorf("%d records went in %d batches", n, got)
		}
		if len(of) != 7 || len(spread) == 0 {
			t.Errorf("%d keys, %d partitions without one", len(of), len(spread))
		}
	})
}

// batches counts them.
type batches struct {
	mu sync.Mutex
	n  int
}

func (b *batches) OnProduceBatchWritten(kgo.BrokerMetadata, string, int32, kgo.ProduceBatchMetrics) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
}

func (b *batches) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

func TestSourceTopicIsRefused(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic, Brokers: k.brokers[:1]})
		from := func(brokers ...string) *esm.Discard {
			g := discard(1, "v")
			g.Record.Topic, g.Brokers = topic, brokers
			return g
		}
		for what, g := range map[string]*esm.Discard{
			"the same seeds":               from(k.brokers[0]),
			"one of them":                  from("elsewhere.test:9092", k.brokers[0]),
			"other brokers of the cluster": from(k.brokers[2]),
			"nobody knows where":           from(),
		} {
			if err := deliver(t, dest, g); !errors.Is(err, kafkadest.ErrSourceTopic) || !strings.Contains(err.Error(), topic) {
				t.Errorf("%s: %v", what, err)
			}
		}
		must(t, dest, from("elsewhere.test:9092"))
		other := discard(2, "v")
		other.Brokers = k.brokers
		must(t, dest, other)
		k.read(topic, 2)
	})
}

func TestAddressesAreComparedAsTheyAreMeant(t *testing.T) {
	dest, err := kafkadest.New(kafkadest.Config{Brokers: []string{"Kafka-A.test", "kafka-b.test:9093"}, Topic: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	defer dest.Close()
	for _, same := range []string{"kafka-a.test:9092", "KAFKA-B.test:9093", "kafka-a.test"} {
		g := discard(1, "v")
		g.Brokers = []string{same}
		if err := dest.Deliver(t.Context(), g); !errors.Is(err, kafkadest.ErrSourceTopic) {
			t.Errorf("%s: %v", same, err)
		}
	}
}

func TestAfterClose(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic})
		must(t, dest, discard(1, "v"))
		dest.Close()
		dest.Close()
		if err := deliver(t, dest, discard(2, "v")); !errors.Is(err, kafkadest.ErrClosed) {
			t.Error(err)
		}
		if err := deliver(t, dest, discard(3, strings.Repeat("v", 2_000_000))); !errors.Is(err, kafkadest.ErrClosed) {
			t.Error(err)
		}
		k.read(topic, 1)
	})
}

func TestContextThatIsOver(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic})
		errAway := errors.New("the partition moved away")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errAway)
		wantError(t, dest.Deliver(ctx, discard(1, "v")), errAway, topic)
		must(t, dest, discard(1, "v")) // and it arrives once
		k.read(topic, 1)
	})
}
