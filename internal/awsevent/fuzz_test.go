package awsevent

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What a function in Go decodes the JSON into. encoding/json reads and writes
// []byte as base64 and null.
type (
	event struct {
		EventSource      string              `json:"eventSource"`
		EventSourceArn   *string             `json:"eventSourceArn"`
		BootstrapServers string              `json:"bootstrapServers"`
		Records          map[string][]record `json:"records"`
	}
	record struct {
		Topic         string              `json:"topic"`
		Partition     int32               `json:"partition"`
		Offset        int64               `json:"offset"`
		Timestamp     int64               `json:"timestamp"`
		TimestampType string              `json:"timestampType"`
		Key           []byte              `json:"key"`
		Value         []byte              `json:"value"`
		Headers       []map[string][]int8 `json:"headers"`
	}
	document struct {
		RequestContext struct {
			RequestID              string `json:"requestId"`
			FunctionArn            string `json:"functionArn"`
			Condition              string `json:"condition"`
			ApproximateInvokeCount int    `json:"approximateInvokeCount"`
		} `json:"requestContext"`
		ResponseContext *struct {
			StatusCode      int    `json:"statusCode"`
			ExecutedVersion string `json:"executedVersion"`
			FunctionError   string `json:"functionError"`
		} `json:"responseContext"`
		Version        string `json:"version"`
		Timestamp      string `json:"timestamp"`
		KafkaBatchInfo struct {
			BatchSize        int     `json:"batchSize"`
			EventSourceArn   *string `json:"eventSourceArn"`
			BootstrapServers string  `json:"bootstrapServers"`
			PayloadSize      int     `json:"payloadSize"`
			RecordInfo       struct {
				Offset    string `json:"offset"`
				Timestamp string `json:"timestamp"`
			} `json:"recordInfo"`
		} `json:"KafkaBatchInfo"`
		Payload json.RawMessage `json:"payload"`
	}
)

// decode reads JSON, of which each field must be known.
func decode(t *testing.T, text []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// valid is a string as it comes out of JSON.
func valid(s string) string {
	// Not strings.ToValidUTF8, which makes one character of several bytes.
	return string([]rune(s))
}

// same compares bytes, and tells none from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// want fails the test unless an event holds this one record.
func (e event) want(t *testing.T, r *kgo.Record, arn string, brokers []string) {
	t.Helper()
	source := "SelfManagedKafka"
	if arn != "" {
		source = "aws:kafka"
	}
	if e.EventSource != source || (e.EventSourceArn == nil) != (arn == "") || arn != "" && *e.EventSourceArn != valid(arn) || e.BootstrapServers != valid(strings.Join(brokers, ",")) {
		t.Errorf("%+v of ARN %q and brokers %q", e, arn, brokers)
	}
	if len(e.Records) != 1 {
		t.Fatalf("%+v", e.Records)
	}
	for name, records := range e.Records {
		if len(records) != 1 || !strings.HasPrefix(name, valid(r.Topic)+"-") {
			t.Fatalf("%q: %+v", name, records)
		}
		got := records[0]
		kind := "CREATE_TIME"
		if r.Attrs.TimestampType() == 1 {
			kind = "LOG_APPEND_TIME"
		}
		if got.Topic != valid(r.Topic) || got.Partition != r.Partition || got.Offset != r.Offset || got.Timestamp != r.Timestamp.UnixMilli() ||
			got.TimestampType != kind || !same(got.Key, r.Key) || !same(got.Value, r.Value) || len(got.Headers) != len(r.Headers) {
			t.Errorf("%+v of %+v", got, r)
		}
		for i, h := range got.Headers {
			value, ok := h[valid(r.Headers[i].Key)]
			signed := make([]int8, len(r.Headers[i].Value))
			for j, c := range r.Headers[i].Value {
				signed[j] = int8(c)
			}
			if len(h) != 1 || !ok || value == nil || !slices.Equal(value, signed) {
				t.Errorf("%+v of %+v", h, r.Headers[i])
			}
		}
	}
}

func FuzzEveryRecordComesBack(f *testing.F) {
	f.Add("shipments", int32(3), int64(12), int64(1_700_000_000_123), []byte("k"), []byte("v"), "h", []byte{128}, "", "a:1,b:2", uint8(0))
	f.Add("\xff\"\\\n", int32(-1), int64(-1), int64(-1), []byte{}, []byte{}, "\x00\xc3(", []byte{}, "arn:\x80", "", uint8(0xff))
	f.Fuzz(func(t *testing.T, topic string, partition int32, offset, milli int64, key, value []byte, hkey string, hvalue []byte, arn, broker string, bits uint8) {
		r := &kgo.Record{Topic: topic, Partition: partition, Offset: offset, Timestamp: time.UnixMilli(milli), Key: key, Value: value}
		if bits&1 != 0 {
			r.Key = nil
		}
		if bits&2 != 0 {
			r.Value = nil
		}
		if bits&4 != 0 {
			r.Attrs = logAppendTime()
		}
		for i := range int(bits >> 6) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: hkey, Value: hvalue[:len(hvalue)/(i+1)]})
		}
		brokers := []string{broker, hkey}

		var e event
		decode(t, AppendEvent(nil, &Event{SourceARN: arn, Brokers: brokers, Records: []*kgo.Record{r}}), &e)
		e.want(t, r, arn, brokers)

		in := Document{RequestID: hkey, Function: topic, Condition: broker, Invocations: int(partition), Time: time.UnixMilli(offset),
			SourceARN: arn, Brokers: brokers, Record: r}
		var d document
		decode(t, AppendTopicDocument(nil, &in), &d)
		rc, info := d.RequestContext, d.KafkaBatchInfo
		if rc.RequestID != valid(hkey) || rc.FunctionArn != valid(topic) || rc.Condition != valid(broker) || rc.ApproximateInvokeCount != int(partition) {
			t.Errorf("%+v of %+v", rc, in)
		}
		if (d.ResponseContext == nil) != (in.Condition == PayloadTooLarge || in.Invocations == 0) || d.Version != "1.0" || d.Timestamp != iso(in.Time) {
			t.Errorf("%+v of %+v", d, in)
		}
		if info.BatchSize != 1 || (info.EventSourceArn == nil) != (arn == "") || info.BootstrapServers != e.BootstrapServers ||
			info.PayloadSize != len(d.Payload) || info.RecordInfo.Timestamp != iso(r.Timestamp) {
			t.Errorf("%+v of %+v", info, in)
		}
		var o int64
		decode(t, []byte(info.RecordInfo.Offset), &o)
		var p event
		decode(t, d.Payload, &p)
		if o != offset {
			t.Errorf("offset %d, want %d", o, offset)
		}
		p.want(t, r, arn, brokers)
	})
}

func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func FuzzEveryStringComesBack(f *testing.F) {
	f.Add("a\"\\\x00\x1f\x7f\xc3\xa9\xff\xed\xa0\x80\xf0\x9f\x90\xa2\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		decode(t, AppendString(nil, s), &got)
		if got != valid(s) {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}
