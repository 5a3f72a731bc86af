package lambdaresult

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// mixed is a batch of three partitions.
func mixed() *esm.Batch {
	b := &esm.Batch{}
	for _, tp := range []esm.TopicPartition{{Topic: "orders", Partition: 0}, {Topic: "orders", Partition: 12}, {Topic: "orders-0", Partition: 1}} {
		for _, o := range []int64{5, 6, 9} {
			b.Records = append(b.Records, &kgo.Record{Topic: tp.Topic, Partition: tp.Partition, Offset: o})
		}
	}
	return b
}

func failed(err error) (names []string) {
	for _, f := range esm.FailuresOf(err) {
		names = append(names, fmt.Sprintf("%s/%d/%d", f.Topic, f.Partition, f.Offset))
	}
	slices.Sort(names)
	return names
}

func TestItems(t *testing.T) {
	item := func(identifiers ...string) string {
		return `{"batchItemFailures":[{"itemIdentifier":` + strings.Join(identifiers, `},{"itemIdentifier":`) + `}]}`
	}
	for _, tt := range []struct {
		payload string
		want    []string // of the records that failed
		says    string   // what is wrong, if all of them failed
	}{
		{payload: ``}, {payload: " \t\r\n"}, {payload: "{}\r\n"}, {payload: `null`}, {payload: `{}`}, {payload: `{"batchItemFailures":null}`},
		{payload: `{"batchItemFailures":[]}`}, {payload: `{"statusCode":200}`},

		{payload: item(`{"partition":"orders-0","offset":5}`), want: []string{"orders/0/5"}},
		{payload: item(`{"partition":"orders-12","offset":"9"}`), want: []string{"orders/12/9"}},
		{payload: item(`{"partition":"orders:12","offset":6}`), want: []string{"orders/12/6"}},
		{payload: item(`{"partition":"orders-0-1","offset":6}`), want: []string{"orders-0/1/6"}},
		{payload: item(`"orders-0-5"`), want: []string{"orders/0/5"}},
		{payload: item(`"orders-0-1-5"`), want: []string{"orders-0/1/5"}},
		{payload: item(`"orders-12:9"`), want: []string{"orders/12/9"}},
		{payload: item(`"orders/12/9"`), want: []string{"orders/12/9"}},
		{payload: item(`"orders-0@6"`), want: []string{"orders/0/6"}},
		{payload: item(`{"partition":"orders-0","offset":5}`, `"orders-12-6"`, `{"partition":"orders-0","offset":5}`), want: []string{"orders/0/5", "orders/12/6"}},
		{payload: `{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":5},"more":1}],"other":[]}`, want: []string{"orders/0/5"}},

		{payload: `{`, says: "no batch item failures"},
		{payload: "\f", says: "no batch item failures"}, {payload: "{}\f", says: "no batch item failures"}, {payload: "\u00a0{}", says: "no batch item failures"},
		{payload: `"done"`, says: "no batch item failures"},
		{payload: `[]`, says: "no batch item failures"},
		{payload: `{"batchItemFailures":{}}`, says: "no batch item failures"},
		{payload: `{"batchItemFailures":["orders-0-5"]}`, says: "no batch item failures"},
		{payload: `{"batchItemFailures":[{}]}`, says: "batchItemFailures[0] of the function's answer has no itemIdentifier"},
		{payload: item(`null`), says: "has no itemIdentifier"},
		{payload: item(`""`), says: "does not name a partition and an offset"},
		{payload: item(`"5"`), says: "does not name a partition and an offset"},
		{payload: item(`5`), says: "is malformed"},
		{payload: item(`{}`), says: "does not have the fields"},
		{payload: item(`{"partition":"orders-0"}`), says: "does not have the fields"},
		{payload: item(`{"offset":5}`), says: "does not have the fields"},
		{payload: item(`{"partition":0,"offset":5}`), says: "is malformed"},
		{payload: item(`{"partition":"orders-0","offset":5.5}`), says: `no whole number, "5.5"`},
		{payload: item(`{"partition":"orders-0","offset":null}`), says: `no whole number, "null"`},
		{payload: item(`{"partition":"orders-0","offset":7}`), says: "names orders-0 offset 7, which is not in the batch"},
		{payload: item(`{"partition":"orders-1","offset":5}`), says: `names partition "orders-1", which is not in the batch`},
		{payload: item(`{"partition":"orders-0","offset":5}`, `{"partition":"orders-0","offset":50}`), says: "batchItemFailures[1]"},
	} {
		err := Items(mixed(), []byte(tt.payload))
		slices.Sort(tt.want)
		switch got := failed(err); {
		case tt.says == "" && len(tt.want) == 0 && err != nil:
			t.Errorf("%s: %v", tt.payload, err)
		case tt.says != "" && (err == nil || got != nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: %v (want %q)", tt.payload, err, tt.says)
		case tt.says == "" && !slices.Equal(slices.Compact(got), tt.want):
			t.Errorf("%s: %v, want %v: %v", tt.payload, got, tt.want, err)
		}
	}
}

func TestPartitionsWithOneName(t *testing.T) {
	b := &esm.Batch{Records: []*kgo.Record{{Topic: "a", Partition: -1}, {Topic: "a-", Partition: 1}}}
	err := Items(b, []byte(`{"batchItemFailures":[{"itemIdentifier":"a--1-0"}]}`))
	if failed(err) != nil || err == nil || !strings.Contains(err.Error(), "one of two") {
		t.Error(err)
	}
}

// FuzzItems: whatever a function answers, a success is only what says so, and a
// record that failed is one of the batch.
func FuzzItems(f *testing.F) {
	f.Add([]byte(`{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":5}}]}`))
	f.Add([]byte(`{"batchItemFailures":[{"itemIdentifier":"orders-12-6"},{"itemIdentifier":null}]}`))
	f.Add([]byte(`{"BatchItemFailures":[{"ItemIdentifier":"\u006frders-0-5"}]}`))
	known := map[string]bool{}
	for _, r := range mixed().Records {
		known[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)] = true
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		err := Items(mixed(), payload)
		for _, name := range failed(err) {
			if !known[name] {
				t.Errorf("%s is not in the batch", name)
			}
		}
		var answer struct {
			Failures []any `json:"batchItemFailures"`
		}
		if text := strings.Trim(string(payload), " \t\r\n"); err == nil && text != "" && (json.Unmarshal(payload, &answer) != nil || len(answer.Failures) > 0) {
			t.Errorf("%q is a success", payload)
		}
	})
}

func TestReadError(t *testing.T) {
	for in, want := range map[string]Error{
		`{"errorType":"E","errorMessage":"m","stackTrace":["a\n","b"]}`:             {"E", "m", []string{"a", "b"}},
		`{"errorType":"E","errorMessage":"m","trace":["a"]}`:                        {"E", "m", []string{"a"}},
		`{"errorType":"E","errorMessage":"m","stackTrace":[{"path":"p","line":1}]}`: {"E", "m", []string{`{"path":"p","line":1}`}},
		`{"errorMessage":"Task timed out after 3.00 seconds"}`:                      {"", "Task timed out after 3.00 seconds", nil},
		`plain text`: {"", "plain text", nil},
		`{}`:         {"", "{}", nil},
		``:           {},
	} {
		if got := ReadError([]byte(in)); got.Type != want.Type || got.Message != want.Message || !slices.Equal(got.Stack, want.Stack) {
			t.Errorf("%s: %+v", in, got)
		}
	}
	if got := ReadError([]byte(strings.Repeat("ż", 1000))).Message; len(got) > 530 || !strings.HasSuffix(got, "ż... (1500 bytes more)") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	for want, e := range map[string]Error{"E: m": {"E", "m", nil}, "m": {"", "m", nil}, "E": {"E", "", nil}} {
		if got := e.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
