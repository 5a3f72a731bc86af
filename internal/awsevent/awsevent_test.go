package awsevent

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares what was written with a file. The file is indented, for
// people; what was written must have no white space of its own.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var compact, pretty bytes.Buffer
	if err := json.Compact(&compact, got); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if !bytes.Equal(compact.Bytes(), got) {
		t.Errorf("it has white space: %s", got)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := json.Indent(&pretty, got, "", "  "); err != nil {
			t.Fatal(err)
		}
		pretty.WriteByte('\n')
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, text); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), got) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want.Bytes())
	}
}

// logAppendTime is what the broker says of a record whose timestamp it set. The
// client has no way to make one, so this knows that the attributes are one byte.
func logAppendTime() (a kgo.RecordAttrs) {
	*(*uint8)(unsafe.Pointer(&a)) = 0b1000
	return a
}

func TestLogAppendTimeIsMadeRight(t *testing.T) {
	if unsafe.Sizeof(kgo.RecordAttrs{}) != 1 || logAppendTime().TimestampType() != 1 {
		t.Fatal("kgo.RecordAttrs changed")
	}
}

// at is a time of day on which the examples happened.
func at(hour, minute, second, milli int) time.Time {
	return time.Date(2026, 5, 17, hour, minute, second, milli*1_000_000, time.UTC)
}

// shipment is the record that most examples have.
func shipment() *kgo.Record {
	return &kgo.Record{
		Topic: "shipments", Partition: 7, Offset: 90210, Timestamp: at(9, 41, 3, 75),
		Key: []byte("parcel-31"), Value: []byte(`{"kg":2.5,"to":"Łódź"}`),
		Headers: []kgo.RecordHeader{
			{Key: "trace", Value: []byte{0, 1, 127, 128, 255}},
			{Key: "hop", Value: []byte("a")}, {Key: "hop", Value: []byte("b")},
			{Key: "flag"},
		},
	}
}

func TestEvent(t *testing.T) {
	brokers := []string{"kafka-a.test:9092", "kafka-b.test:9093"}
	second := &kgo.Record{Topic: "shipments", Partition: 7, Offset: 90212, Timestamp: at(9, 41, 4, 0), Attrs: logAppendTime(), Key: []byte{}, Value: []byte{0xff, 0xfe}}
	tombstone := &kgo.Record{Topic: "shipments", Partition: 11, Offset: 0, Timestamp: time.UnixMilli(-1), Key: []byte("parcel-32")}
	keyless := &kgo.Record{Topic: "returns-eu", Partition: 7, Offset: 1 << 40, Timestamp: at(9, 41, 5, 999), Value: []byte{}}
	t.Run("self-managed", func(t *testing.T) {
		golden(t, "event-self-managed.json", AppendEvent(nil, &Event{Brokers: brokers, Records: []*kgo.Record{shipment(), second, tombstone, keyless}}))
	})
	t.Run("MSK", func(t *testing.T) {
		golden(t, "event-msk.json", AppendEvent(nil, &Event{SourceARN: "arn:aws:kafka:eu-north-1:000011112222:cluster/parcels/0f0f", Brokers: brokers[:1], Records: []*kgo.Record{second}}))
	})
	t.Run("empty", func(t *testing.T) {
		golden(t, "event-empty.json", AppendEvent(nil, &Event{}))
	})
}

func TestItAppends(t *testing.T) {
	got := string(AppendEvent([]byte("before"), &Event{}))
	if !strings.HasPrefix(got, `before{"eventSource"`) {
		t.Error(got)
	}
	d := Document{Record: shipment()}
	if got := string(AppendTopicDocument([]byte("before"), &d)); !strings.HasPrefix(got, `before{"requestContext"`) {
		t.Error(got)
	}
}

// TestPartitionsThatDoNotStandTogether: each has one field, or a reader would
// lose all but the last.
func TestPartitionsThatDoNotStandTogether(t *testing.T) {
	record := func(topic string, p int32, o int64) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: p, Offset: o}
	}
	records := []*kgo.Record{record("b", 1, 1), record("a", 1, 1), record("b", 1, 2), record("a", 2, 1), record("a", 1, 2), record("b", 1, 3)}
	first := records[1]
	got := string(AppendEvent(nil, &Event{Records: records}))
	for _, p := range []string{`"b-1"`, `"a-1"`, `"a-2"`} {
		if n := strings.Count(got, p); n != 1 {
			t.Errorf("%s stands there %d times: %s", p, n, got)
		}
	}
	var e event
	if err := json.Unmarshal([]byte(got), &e); err != nil {
		t.Fatal(err)
	}
	for p, n := range map[string]int{"b-1": 3, "a-1": 2, "a-2": 1} {
		if len(e.Records[p]) != n {
			t.Errorf("%s has %d records: %s", p, len(e.Records[p]), got)
		}
		for i, r := range e.Records[p] {
			if r.Offset != int64(i+1) {
				t.Errorf("%s: offset %d at place %d", p, r.Offset, i)
			}
		}
	}
	if records[1] != first {
		t.Error("the caller's slice was sorted")
	}
}

func TestTopicDocument(t *testing.T) {
	d := Document{
		RequestID: "billing-000123", Function: "billing", Condition: RetriesExhausted, Invocations: 4, Time: at(9, 45, 0, 1),
		Brokers: []string{"kafka-a.test:9092", "kafka-b.test:9093"}, Record: shipment(),
	}
	for _, c := range []struct {
		file   string
		change func(d *Document)
	}{
		{"document-retries.json", func(*Document) {}},
		{"document-too-large.json", func(d *Document) { d.Condition = PayloadTooLarge }},
		{"document-too-old.json", func(d *Document) { d.Condition, d.Invocations, d.RequestID = RecordAgeExceeded, 0, "" }},
		{"document-permanent-msk.json", func(d *Document) {
			d.Condition, d.Invocations = PermanentlyRefused, 1
			d.SourceARN = "arn:aws:kafka:eu-north-1:000011112222:cluster/parcels/0f0f"
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			d := d
			c.change(&d)
			got := AppendTopicDocument(nil, &d)
			golden(t, c.file, got)
			var doc document
			if err := json.Unmarshal(got, &doc); err != nil {
				t.Fatal(err)
			}
			if doc.KafkaBatchInfo.PayloadSize != len(doc.Payload) {
				t.Errorf("payloadSize is %d, and the payload has %d bytes", doc.KafkaBatchInfo.PayloadSize, len(doc.Payload))
			}
		})
	}
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		"":                        `""`,
		"plain":                   `"plain"`,
		"quote\" back\\ slash/":   `"quote\" back\\ slash/"`,
		"\b\f\n\r\t\x00\x1f\x7f":  "\"\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\"",
		"<a href='?x&y'>":         `"<a href='?x&y'>"`,
		"żółw \U0001F422\u2028":   "\"żółw \U0001F422\\u2028\"",
		"a\xffb\xc3":              `"a\ufffdb\ufffd"`,
		"\xed\xa0\x80 surrogate":  `"\ufffd\ufffd\ufffd surrogate"`,
		"a real \ufffd stays one": "\"a real \ufffd stays one\"",
	} {
		if got := string(AppendString(nil, in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	records := make([]*kgo.Record, 100)
	for i := range records {
		r := shipment()
		r.Offset, r.Value = int64(i), bytes.Repeat([]byte("x"), 1000)
		records[i] = r
	}
	e := Event{Brokers: []string{"kafka-a.test:9092"}, Records: records}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendEvent(dst[:0], &e)
	}
	b.SetBytes(int64(len(dst)))
}
