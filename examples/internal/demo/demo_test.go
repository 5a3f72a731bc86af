package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A program is an example that does what it is told to.
type program struct {
	number int
	d      time.Duration
	source Source
	run    func(ctx context.Context, progress, stderr io.Writer) (Result, error)
}

func (p *program) Flags(f *Flags) {
	p.source.Flags(f, true)
	f.Number(&p.number, "number", 5, 1, 1000, "a number")
	f.Time(&p.d, "time", time.Second, 0, time.Hour, "a time")
	f.JSON()
}

func (p *program) Run(ctx context.Context, progress, stderr io.Writer) (Result, error) {
	return p.run(ctx, progress, stderr)
}

type result struct{ Good bool }

func (r *result) OK() bool          { return r.Good }
func (r *result) Print(w io.Writer) { fmt.Fprintln(w, "good:", r.Good) }

func TestExitCodesAndWhereThingsAreWritten(t *testing.T) {
	for _, tt := range []struct {
		name, args  string
		result      Result
		err         error
		code        int
		out, errOut string
	}{
		{name: "good", result: &result{true}, out: "progress\ngood: true\n"},
		{name: "bad", result: &result{false}, code: 1, out: "progress\ngood: false\n"},
		{name: "nothing to print", out: "progress\n"},
		{name: "error", err: errors.New("no luck"), code: 1, out: "progress\n", errOut: "demo: no luck\n"},
		{name: "JSON", args: "-json", result: &result{true}, out: "{\"Good\":true}\n", errOut: "progress\n"},
		{name: "bad in JSON", args: "-json", result: &result{false}, code: 1, out: "{\"Good\":false}\n", errOut: "progress\n"},
	} {
		var out, errOut bytes.Buffer
		p := &program{run: func(_ context.Context, progress, _ io.Writer) (Result, error) {
			fmt.Fprintln(progress, "progress")
			return tt.result, tt.err
		}}
		code := Run(t.Context(), "demo", p, strings.Fields(tt.args), &out, &errOut)
		if code != tt.code || out.String() != tt.out || errOut.String() != tt.errOut {
			t.Errorf("%s: exit code %d, %q, %q", tt.name, code, out.String(), errOut.String())
		}
	}
}

func TestFlagsSayWhatTheyMustBe(t *testing.T) {
	for args, want := range map[string]string{
		"-nonsense":                           "not defined",
		"more":                                `"more" is not a flag`,
		"-number 0":                           "-number is 0, and must be 1 to 1,000",
		"-number 1001":                        "must be 1 to 1,000",
		"-time -1s":                           "-time is -1s, and must be 0 to 1h",
		"-time 61m":                           "must be 0 to 1h",
		"-topic t":                            "-topic and -group need -brokers",
		"-group g":                            "-topic and -group need -brokers",
		"-brokers a":                          "-brokers needs -topic",
		"-brokers a -topic":                   "needs an argument",
		"-brokers a:1,b:2 -topic t -number 2": "-brokers needs -group",
	} {
		var errOut bytes.Buffer
		p := &program{run: func(context.Context, io.Writer, io.Writer) (Result, error) {
			t.Errorf("%s: it ran", args)
			return nil, nil
		}}
		if code := Run(t.Context(), "demo", p, strings.Fields(args), io.Discard, &errOut); code != 2 || !strings.Contains(errOut.String(), want) {
			t.Errorf("%s: exit code %d, %q", args, code, errOut.String())
		}
	}
	var p program
	if _, code, ok := Parse("demo", []string{"-h"}, io.Discard, p.Flags); ok || code != 0 {
		t.Errorf("-h: exit code %d", code)
	}
	args := strings.Fields("-brokers a:1,b:2 -topic t -group g -number 1000 -time 1h")
	if _, _, ok := Parse("demo", args, t.Output(), p.Flags); !ok || len(p.source.Brokers) != 2 || p.number != 1000 || p.d != time.Hour {
		t.Errorf("%+v", p)
	}
	f := &Flags{}
	var n int
	_, _, ok := Parse("demo", []string{"-n", "-1"}, io.Discard, func(g *Flags) { f = g; f.Number(&n, "n", 0, 0, NoMost, "") })
	if err := f.check(); ok || err == nil || !strings.Contains(err.Error(), "must be 0 or more") {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 12_000_000: "12,000,000",
		-1: "-1", -100: "-100", -1000: "-1,000", -123456: "-123,456", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Grouped(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestTimesAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", time.Minute: "1m", time.Hour: "1h", 24 * time.Hour: "24h", 90 * time.Second: "1m30s", 10 * time.Second: "10s",
		time.Hour + time.Minute: "1h1m", 20 * time.Minute: "20m", 100 * time.Millisecond: "100ms",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// orders starts a Kafka with records in two partitions.
func orders(t *testing.T, records int) (brokers []string) {
	t.Helper()
	brokers, stop, err := StartKafka(t.Context(), Topic{Name: "orders", Partitions: 2, Records: records, Record: func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % 2), Value: []byte("order")}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return brokers
}

// TestPartitionsTakeTurns: a fetch that has room for two batches never sends
// one of a partition while another waits for its second.
func TestPartitionsTakeTurns(t *testing.T) {
	const partitions, each = 8, 20
	brokers, stop, err := StartKafka(t.Context(), Topic{Name: "orders", Partitions: partitions, Records: partitions * each, Record: func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % partitions), Value: make([]byte, 600_000)} // a batch of its own
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("orders"), kgo.FetchMaxBytes(1_300_000))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var had [partitions]int
	for total := 0; total < partitions*each; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { had[r.Partition]++; total++ })
		if least, most := slices.Min(had[:]), slices.Max(had[:]); most > least+2 {
			t.Fatalf("%v: the one that had the least waits", had)
		}
	}
}

func mapping(t *testing.T, brokers []string, f esm.InvokerFunc) *esm.Mapping {
	t.Helper()
	m, err := esm.New(esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"}, f, esm.WithLogger(Logger(t.Output(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func numbers(st *esm.Stats, _ float64) string {
	return fmt.Sprintf("%d settled", st.SettledEventCount)
}

func TestDrainCommitsAll(t *testing.T) {
	brokers := orders(t, 301)
	if at, err := Committed(t.Context(), brokers, "orders", "billing"); err != nil || len(at) != 0 {
		t.Errorf("before the group exists: %v, %v", at, err)
	}
	m := mapping(t, brokers, func(context.Context, *esm.Batch) error { return nil })
	var progress bytes.Buffer
	interrupted, err := Drain(t.Context(), m, &progress, Settled(301), numbers)
	if err != nil || interrupted || !strings.HasSuffix(progress.String(), "  301 settled\n") {
		t.Errorf("%v, %v, %q", interrupted, err, progress.String())
	}
	if at, err := Committed(t.Context(), brokers, "orders", "billing"); err != nil || at[0] != 151 || at[1] != 150 {
		t.Errorf("%v, %v", at, err)
	}
}

// TestDrainIsInterrupted: what was begun is let end, and is committed.
func TestDrainIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := mapping(t, orders(t, 1), func(callCtx context.Context, _ *esm.Batch) error {
		cancel()
		return Work(callCtx, 10*time.Millisecond)
	})
	var progress bytes.Buffer
	interrupted, err := Drain(ctx, m, &progress, Settled(2), numbers)
	if err != nil || !interrupted || !strings.Contains(progress.String(), "interrupted: letting") || m.Stats().CommittedEventCount != 1 {
		t.Errorf("%v, %v, %q, %+v", interrupted, err, progress.String(), m.Stats())
	}
}

// TestDrainSaysWhyItEnded: a halt is an error and no interruption, and neither
// is a Kafka that is not there.
func TestDrainSaysWhyItEnded(t *testing.T) {
	stop := errors.New("the till is broken")
	m := mapping(t, orders(t, 1), func(context.Context, *esm.Batch) error { return esm.Halt(stop) })
	if interrupted, err := Drain(t.Context(), m, io.Discard, Settled(1), numbers); !errors.Is(err, stop) || interrupted {
		t.Errorf("%v, %v", interrupted, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // an address where nobody is
	m = mapping(t, []string{l.Addr().String()}, func(context.Context, *esm.Batch) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if interrupted, err := Drain(ctx, m, io.Discard, Settled(1), numbers); err != nil || !interrupted {
		t.Errorf("ended before it began: %v, %v", interrupted, err)
	}
}

func TestRecordsThatAreNotTakenAreAnError(t *testing.T) {
	_, stop, err := StartKafka(t.Context(), Topic{Name: "orders", Partitions: 2, Records: 1, Record: func(int) *kgo.Record {
		return &kgo.Record{Partition: 7}
	}})
	if err == nil || !strings.HasPrefix(err.Error(), "write records: ") {
		t.Errorf("%v", err)
		stop()
	}
}

// TestCommittedNamesTheGroup that could not be asked for.
func TestCommittedNamesTheGroup(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // an address where nobody is
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if at, err := Committed(ctx, []string{l.Addr().String()}, "orders", "billing"); err == nil || !strings.Contains(err.Error(), `"billing"`) {
		t.Errorf("%v, %v", at, err)
	}
}
