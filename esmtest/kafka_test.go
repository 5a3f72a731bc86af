package esmtest_test

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

func TestRealTimeNeedsNoTag(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	inv := esmtest.NewInvoker(t).Fail(1, errBilling)
	m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithBackoff(esm.Constant(0)), esm.WithBatchWindow(0))
	k.Produce("orders", "a")
	inv.Wait(2)
	k.Produce("orders", "b", "c")
	for len(inv.Values()) < 3 {
		inv.Wait(len(inv.Calls()) + 1)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := strings.Join(inv.Values(), ""); got != "abc" {
		t.Errorf("handled %q", got)
	}
	if got := k.Committed("billing", "orders", 0); got != 3 {
		t.Errorf("committed %d", got)
	}
}

// consumed reads so many records of a topic, by partition.
func consumed(t *testing.T, k *esmtest.Kafka, topic string, n int) map[int32][]string {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got := map[int32][]string{}
	for n > 0 {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got[r.Partition] = append(got[r.Partition], string(r.Value))
			n--
		})
	}
	return got
}

func wantConsumed(t *testing.T, got map[int32][]string, want ...string) {
	t.Helper()
	for p := range want {
		if g := strings.Join(got[int32(p)], " "); g != want[p] {
			t.Errorf("partition %d has %q, want %q", p, g, want[p])
		}
	}
}

func TestProduceGoesToThePartitionsOfEachTopicInTurn(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 3), esmtest.Topic("users", 2))
	k.Produce("orders", "a", "b", "c", "d")
	k.Produce("users", "x", "y", "z")
	k.Produce("orders", "e")
	wantConsumed(t, consumed(t, k, "orders", 5), "a d", "b e", "c")
	wantConsumed(t, consumed(t, k, "users", 3), "x z", "y")
	for p, want := range []int64{2, 2, 1} {
		if got := k.End("orders", int32(p)); got != want {
			t.Errorf("orders/%d ends at %d", p, got)
		}
	}
}

func TestProduceToAndAtGoToOnePartition(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
	k.ProduceTo("orders", 1, "a", "b")
	type traceKey struct{}
	r := esmtest.At(2, &kgo.Record{Topic: "orders", Key: []byte("customer"), Value: []byte("c"), Context: context.WithValue(t.Context(), traceKey{}, "kept")})
	if r.Context.Value(traceKey{}) != "kept" {
		t.Error("At lost the context of the record")
	}
	k.ProduceRecords(r, esmtest.At(0, &kgo.Record{Topic: "orders", Value: []byte("d")}), esmtest.At(1, &kgo.Record{Topic: "orders", Value: []byte("e")}))
	wantConsumed(t, consumed(t, k, "orders", 5), "d", "a b e", "c")
	if r.Partition != 2 || r.Offset != 0 || r.Timestamp.IsZero() {
		t.Errorf("a record that was written does not say where: %+v", r)
	}
}

func TestRecordsOfOneKeyGoToOnePartition(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
	var records []*kgo.Record
	for range 3 {
		for _, key := range []string{"", "anna", "bo", "cleo", "dan", "eve"} {
			records = append(records, &kgo.Record{Topic: "orders", Key: []byte(key), Value: []byte(key)})
		}
	}
	k.ProduceRecords(records...)
	of := map[string]int32{}
	used := map[int32]bool{}
	for _, r := range records {
		if p, ok := of[string(r.Key)]; ok && p != r.Partition {
			t.Errorf("key %q is in partitions %d and %d", r.Key, p, r.Partition)
		}
		of[string(r.Key)] = r.Partition
		used[r.Partition] = true
	}
	if len(used) < 2 {
		t.Errorf("all keys are in one partition: %v", of)
	}
}

func TestCommittedIsWhatTheGroupCommitted(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
	if got := k.Committed("billing", "orders", 0); got != -1 {
		t.Errorf("committed %d in a group that does not exist", got)
	}
	k.ProduceTo("orders", 0, "a", "b")
	inv := esmtest.NewInvoker(t)
	m := esmtest.Start(t, k.Source("orders", "billing"), inv)
	inv.Wait(1)
	if err := m.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		group, topic string
		partition    int32
		want         int64
	}{{"billing", "orders", 0, 2}, {"billing", "orders", 1, -1}, {"billing", "users", 0, -1}, {"shipping", "orders", 0, -1}} {
		if got := k.Committed(tt.group, tt.topic, tt.partition); got != tt.want {
			t.Errorf("%s has committed %d for %s/%d, want %d", tt.group, got, tt.topic, tt.partition, tt.want)
		}
	}
}

func TestTopicsCanBeMadeLater(t *testing.T) {
	k := esmtest.NewKafka(t)
	k.CreateTopic("orders", 2)
	k.Produce("orders", "a", "b", "c")
	if a, b := k.End("orders", 0), k.End("orders", 1); a != 2 || b != 1 {
		t.Errorf("the ends are %d and %d", a, b)
	}
}

func TestBrokersAreAsManyAsWasSaid(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Brokers(3), esmtest.Topic("orders", 60)) // leaders are chosen at random
	brokers := k.Brokers()
	slices.Sort(brokers)
	if len(slices.Compact(brokers)) != 3 {
		t.Errorf("%q", k.Brokers())
	}
	leaders := map[int32]bool{}
	for p := range int32(60) {
		leaders[k.Cluster().LeaderFor("orders", p)] = true
	}
	if len(leaders) != 3 {
		t.Errorf("the partitions are on %v", leaders)
	}
	inv := esmtest.NewInvoker(t)
	esmtest.Start(t, k.Source("orders", "billing"), inv)
	k.Produce("orders", "a", "b", "c", "d", "e", "f")
	for len(inv.Values()) < 6 {
		inv.Wait(len(inv.Calls()) + 1)
	}
	// Two clusters of one test do not meet.
	other := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	if got := other.End("orders", 0); got != 0 {
		t.Errorf("another cluster has %d records", got)
	}
}

func TestMistakesWithKafkaFailTheTest(t *testing.T) {
	with := func(use func(k *esmtest.Kafka)) func(t testing.TB) {
		return func(t testing.TB) {
			use(esmtest.NewKafka(t, esmtest.Topic("orders", 2)))
		}
	}
	for _, tt := range []struct {
		name string
		do   func(t testing.TB)
		says string
	}{
		{"topic without partitions", func(t testing.TB) { esmtest.NewKafka(t, esmtest.Topic("orders", 0)) }, `topic "orders" with 0 partitions`},
		{"no brokers", func(t testing.TB) { esmtest.NewKafka(t, esmtest.Brokers(0)) }, "0 brokers"},
		{"topic made without partitions", with(func(k *esmtest.Kafka) { k.CreateTopic("users", -1) }), `topic "users" with -1 partitions`},
		{"topic made twice", with(func(k *esmtest.Kafka) { k.CreateTopic("orders", 1) }), `create topic "orders"`},
		{"record without a topic", with(func(k *esmtest.Kafka) { k.ProduceRecords(&kgo.Record{Value: []byte("a")}) }), "produce: "},
		{"no such partition", with(func(k *esmtest.Kafka) { k.ProduceTo("orders", 2, "a") }), "produce: "},
		{"negative partition", with(func(k *esmtest.Kafka) { k.ProduceTo("orders", -1, "a") }), "produce: "},
		{"end of no such partition", with(func(k *esmtest.Kafka) { k.End("orders", 2) }), "there is no orders/2"},
		{"end of no such topic", with(func(k *esmtest.Kafka) { k.End("users", 0) }), "there is no users/0"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantFailure(t, watch(t, tt.do), "esmtest: ", tt.says) })
	}
}

// TestWhatIsProducedAtOnceIsOneBatch, so that one call gets it: the first record is not
// sent before the others are there.
func TestWhatIsProducedAtOnceIsOneBatch(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
	var requests atomic.Int64
	k.Cluster().ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		requests.Add(1)
		return nil, nil, false
	})
	for i := range int64(50) {
		k.ProduceTo("orders", 1, slices.Repeat([]string{"a"}, 100)...)
		if requests.Load() != i+1 || k.End("orders", 1) != 100*(i+1) {
			t.Fatalf("%d requests after %d times, and %d records", requests.Load(), i+1, k.End("orders", 1))
		}
	}
}

// TestWhatIsProducedArrivesAsItWas, in the offsets that it was told.
func TestWhatIsProducedArrivesAsItWas(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Brokers(2), esmtest.Topic("orders", 3))
	at := time.UnixMilli(1_700_000_000_123)
	var records []*kgo.Record
	for i, r := range []kgo.Record{
		{}, // a tombstone without a key
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a"}, {Key: "", Value: []byte{}}}},
		{Value: []byte("late"), Timestamp: at.Add(time.Hour)},
		{Value: []byte("early"), Timestamp: at.Add(-time.Hour)},
		{Value: bytes.Repeat([]byte{0, 255}, 300_000)},
		{Value: bytes.Repeat([]byte{1}, 600_000)}, // in another batch
		{Value: []byte("last")},
	} {
		r.Topic = "orders"
		if r.Timestamp.IsZero() {
			r.Timestamp = at
		}
		for p := range int32(3) {
			if p != 1 || i > 3 {
				c := r
				records = append(records, esmtest.At(p, &c))
			}
		}
	}
	k.ProduceRecords(records...)
	cl := k.Client()
	cl.AddConsumeTopics("orders")
	got := map[int32]map[int64]*kgo.Record{0: {}, 1: {}, 2: {}}
	for n := 0; n < len(records); {
		cl.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			got[r.Partition][r.Offset] = r
			n++
		})
	}
	for _, want := range records {
		is := got[want.Partition][want.Offset]
		if is == nil {
			t.Fatalf("%d/%d is not there", want.Partition, want.Offset)
		}
		same := reflect.DeepEqual(is.Key, want.Key) && reflect.DeepEqual(is.Value, want.Value) && is.Timestamp.Equal(want.Timestamp) && len(is.Headers) == len(want.Headers)
		for i := range want.Headers {
			same = same && reflect.DeepEqual(is.Headers[i], want.Headers[i])
		}
		if !same {
			t.Errorf("%d/%d is %v, %.20q = %.20q, %v; want %v, %.20q = %.20q, %v", is.Partition, is.Offset,
				is.Timestamp, is.Key, is.Value, is.Headers, want.Timestamp, want.Key, want.Value, want.Headers)
		}
	}
}

// TestProducingWritesOnceWhatIsRefusedForNow: a leader that is new, one that says that it
// is none, one that does not say in time that it has it, and one whose answer is lost.
func TestProducingWritesOnceWhatIsRefusedForNow(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
	k.Produce("orders", "a", "b")
	node, _, err := k.Cluster().AddNode(-1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Cluster().MoveTopicPartition("orders", 1, node); err != nil {
		t.Fatal(err)
	}
	k.Cluster().ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) { // once
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = t.Partitions[0].Partition, kerr.NotLeaderForPartition.Code
			resp.Topics = append(resp.Topics, kmsg.ProduceResponseTopic{Topic: t.Topic, TopicID: t.TopicID, Partitions: []kmsg.ProduceResponseTopicPartition{p}})
		}
		return resp, nil, true
	})
	k.Produce("orders", "c", "d", "e", "f")
	k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut})
	k.Produce("orders", "g", "h")
	wantConsumed(t, consumed(t, k, "orders", 8), "a c e g", "b d f h")
	for p := range int32(2) {
		if got := k.End("orders", p); got != 4 {
			t.Errorf("orders/%d ends at %d", p, got)
		}
	}
}
