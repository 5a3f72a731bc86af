package awsevent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/testing/build"
)

// The event as encoding/json writes it, which is slow and easy to believe.
type (
	referenceEvent struct {
		EventSource      string           `json:"eventSource"`
		EventSourceArn   string           `json:"eventSourceArn,omitempty"`
		BootstrapServers string           `json:"bootstrapServers"`
		Records          referenceRecords `json:"records"`
	}
	// referenceRecords is an object whose fields are in the order of their
	// first records, which a map does not keep.
	referenceRecords []*kgo.Record
	referenceRecord  struct {
		Topic         string              `json:"topic"`
		Partition     int32               `json:"partition"`
		Offset        int64               `json:"offset"`
		Timestamp     int64               `json:"timestamp"`
		TimestampType string              `json:"timestampType"`
		Key           []byte              `json:"key"`
		Value         []byte              `json:"value"`
		Headers       []map[string][]int8 `json:"headers"`
	}
)

// encoded is what encoding/json writes without its escapes for HTML.
func encoded(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (rs referenceRecords) MarshalJSON() ([]byte, error) {
	var names []string
	of := map[string][]referenceRecord{}
	for _, r := range rs {
		kind := "CREATE_TIME"
		if r.Attrs.TimestampType() == 1 {
			kind = "LOG_APPEND_TIME"
		}
		headers := []map[string][]int8{}
		for _, h := range r.Headers {
			signed := make([]int8, len(h.Value))
			for i, c := range h.Value {
				signed[i] = int8(c)
			}
			headers = append(headers, map[string][]int8{h.Key: signed})
		}
		name := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
		if of[name] == nil {
			names = append(names, name)
		}
		of[name] = append(of[name], referenceRecord{r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli(), kind, r.Key, r.Value, headers})
	}
	b := []byte("{")
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, encoded(name)...), ':'), encoded(of[name])...)
	}
	return append(b, '}'), nil
}

func reference(e *Event) []byte {
	r := referenceEvent{EventSource: "SelfManagedKafka", EventSourceArn: e.SourceARN, BootstrapServers: strings.Join(e.Brokers, ","), Records: e.Records}
	if e.SourceARN != "" {
		r.EventSource = "aws:kafka"
	}
	return encoded(r)
}

// randomText is text with what needs care in JSON.
func randomText(rng *rand.Rand) string {
	const letters = "ab-_.09\"\\/\b\f\n\r\t\x00\x1f\x7f<>&'\u00e9\u2028\u2029\ufffd\U0001F422\xff\xc3"
	b := make([]byte, rng.IntN(12))
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return string(b)
}

// randomBytes are none, empty, few or many.
func randomBytes(rng *rand.Rand) []byte {
	n := []int{-1, 0, rng.IntN(20), rng.IntN(3000)}[rng.IntN(4)]
	if n < 0 {
		return nil
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestEventIsWhatEncodingJSONWrites: byte by byte, whatever is in it.
func TestEventIsWhatEncodingJSONWrites(t *testing.T) {
	var dst []byte
	for seed := range uint64(build.Volume(3000, 300)) {
		rng := rand.New(rand.NewPCG(seed, 6))
		e := Event{Brokers: []string{randomText(rng), randomText(rng)}}
		if rng.IntN(2) == 0 {
			e.SourceARN = randomText(rng)
		}
		topics := []string{"orders", "orders-1", randomText(rng)}
		for range rng.IntN(12) {
			r := &kgo.Record{Topic: topics[rng.IntN(len(topics))], Partition: rng.Int32N(3), Offset: rng.Int64() - rng.Int64(),
				Timestamp: time.UnixMilli(rng.Int64N(1<<42) - 1), Key: randomBytes(rng), Value: randomBytes(rng)}
			if rng.IntN(3) == 0 {
				r.Attrs = logAppendTime()
			}
			for range rng.IntN(4) {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: randomText(rng), Value: randomBytes(rng)})
			}
			e.Records = append(e.Records, r)
		}
		if got, want := AppendEvent(dst[:0], &e), reference(&e); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
}

// TestEncoderAllocatesNothing: with room for it, also for many partitions.
func TestEncoderAllocatesNothing(t *testing.T) {
	if build.Race {
		t.Skip("a sync.Pool forgets on purpose under the race detector")
	}
	for _, partitions := range []int32{1, 50} {
		e := Event{SourceARN: "arn:aws:kafka:eu-north-1:000011112222:cluster/parcels/0f0f", Brokers: []string{"kafka-a.test:9092", "kafka-b.test:9092"}}
		for i := range 200 {
			r := shipment()
			r.Partition, r.Offset = int32(i)*partitions/200, int64(i)
			e.Records = append(e.Records, r)
		}
		dst := AppendEvent(nil, &e)
		if n := testing.AllocsPerRun(100, func() { dst = AppendEvent(dst[:0], &e) }); n != 0 {
			t.Errorf("%v allocations with %d partitions", n, partitions)
		}
	}
}

// FuzzKafkaEvent: what a function in Go gets is what was in the record.
func FuzzKafkaEvent(f *testing.F) {
	f.Add("orders", int32(3), int64(12), int64(1_700_000_000_123), []byte("k"), []byte("v"), "h", []byte{0, 127, 128, 255})
	f.Fuzz(func(t *testing.T, topic string, partition int32, offset, milli int64, key, value []byte, hkey string, hvalue []byte) {
		// The type of aws-lambda-go has no more than these.
		milli = (milli%(1<<50) + (1 << 50)) % (1 << 50)
		r := &kgo.Record{Topic: topic, Partition: partition, Offset: offset, Timestamp: time.UnixMilli(milli), Key: key, Value: value,
			Headers: []kgo.RecordHeader{{Key: hkey, Value: hvalue}}}
		text := AppendEvent(nil, &Event{Records: []*kgo.Record{r}})
		var e events.KafkaEvent
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if len(e.Records) != 1 {
			t.Fatalf("%s", text)
		}
		for name, records := range e.Records {
			got := records[0]
			if want := fmt.Sprintf("%s-%d", valid(topic), partition); name != want || len(records) != 1 || got.Topic != valid(topic) ||
				got.Partition != int64(partition) || got.Offset != offset || got.Timestamp.UnixMilli() != milli || got.TimestampType != "CREATE_TIME" ||
				got.Key != base64.StdEncoding.EncodeToString(key) || got.Value != base64.StdEncoding.EncodeToString(value) ||
				len(got.Headers) != 1 || len(got.Headers[0]) != 1 || !bytes.Equal(got.Headers[0][valid(hkey)], hvalue) {
				t.Errorf("%+v of %s", got, text)
			}
		}
	})
}
