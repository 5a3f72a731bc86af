package esm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

var (
	goodSource = esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"}
	goodFunc   = esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil })
)

// mistakes lists the options that New complains about.
func mistakes(err error) []string {
	var names []string
	var walk func(error)
	walk = func(err error) {
		if oe := (*esm.OptionError)(nil); errors.As(err, &oe) && err == error(oe) {
			if oe.Bound == "" || !strings.Contains(oe.Error(), oe.Option) {
				names = append(names, "an error that does not say what is wrong")
			}
			names = append(names, oe.Option)
		} else if j, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range j.Unwrap() {
				walk(e)
			}
		} else if err != nil {
			names = append(names, err.Error())
		}
	}
	walk(err)
	return names
}

// A pointerInvoker is one that would panic where it is nil.
type pointerInvoker struct{ name string }

func (p *pointerInvoker) Invoke(context.Context, *esm.Batch) error    { return errors.New(p.name) }
func (p *pointerInvoker) Deliver(context.Context, *esm.Discard) error { return errors.New(p.name) }

func TestBadInput(t *testing.T) {
	source := func(change func(*esm.Source)) esm.Source {
		s := goodSource
		change(&s)
		return s
	}
	for _, tt := range []struct {
		name   string
		source esm.Source
		inv    esm.Invoker
		opts   []esm.Option
		want   []string
	}{
		{name: "nothing wrong"},
		{name: "no invoker", inv: esm.Each(nil), want: []string{"Invoker"}},
		{name: "a nil func for an invoker", inv: esm.InvokerFunc(nil), want: []string{"Invoker"}},
		{name: "a nil pointer for an invoker", inv: (*pointerInvoker)(nil), want: []string{"Invoker"}},
		{name: "a nil func for a destination", opts: []esm.Option{esm.WithDestination(esm.DestinationFunc(nil))}, want: []string{"WithDestination"}},
		{name: "a nil pointer for a destination", opts: []esm.Option{esm.WithDestination((*pointerInvoker)(nil))}, want: []string{"WithDestination"}},
		{name: "no destination", opts: []esm.Option{esm.WithDestination(nil)}},
		{name: "nil check", opts: []esm.Option{esm.WithStartCheck(nil)}, want: []string{"WithStartCheck"}},
		{name: "empty source", source: esm.Source{Topics: []string{}}, want: []string{"Source.Brokers", "Source.Topics", "Source.Group"}},
		{name: "empty broker", source: source(func(s *esm.Source) { s.Brokers = []string{""} }), want: []string{"Source.Brokers"}},
		{name: "several brokers in one string", source: source(func(s *esm.Source) { s.Brokers = []string{"a:9092,b:9092"} }), want: []string{"Source.Brokers"}},
		{name: "listener", source: source(func(s *esm.Source) { s.Brokers = []string{"SASL_SSL://a:9092"} }), want: []string{"Source.Brokers"}},
		{name: "port", source: source(func(s *esm.Source) { s.Brokers = []string{"a:0", "b:99999", "c:x", "d:1:2", "[::1]:9", "::1", "e"} }), want: []string{"Source.Brokers", "Source.Brokers", "Source.Brokers", "Source.Brokers"}},
		{name: "empty topic", source: source(func(s *esm.Source) { s.Topics = []string{"a", ""} }), want: []string{"Source.Topics"}},
		{name: "topic twice", source: source(func(s *esm.Source) { s.Topics = []string{"a", "a"} }), want: []string{"Source.Topics"}},
		{name: "topic too long", source: source(func(s *esm.Source) { s.Topics = []string{strings.Repeat("a", 250)} }), want: []string{"Source.Topics"}},
		{name: "future", source: source(func(s *esm.Source) { s.Start = esm.AtTimestamp(time.Now().Add(time.Hour)) }), want: []string{"Source.Start"}},
		{name: "no time", source: source(func(s *esm.Source) { s.Start = esm.AtTimestamp(time.Time{}) }), want: []string{"Source.Start"}},
		{name: "nil client option", source: source(func(s *esm.Source) { s.Client = []kgo.Opt{nil} }), want: []string{"Source.Client"}},
		{name: "nil option", opts: []esm.Option{nil}, want: []string{"Option"}},
		{name: "min 0", opts: []esm.Option{esm.WithMinPollers(0)}, want: []string{"WithMinPollers"}},
		{name: "min 201", opts: []esm.Option{esm.WithMinPollers(201)}, want: []string{"WithMinPollers", "WithMaxPollers"}},
		{name: "max 2001", opts: []esm.Option{esm.WithMaxPollers(2001)}, want: []string{"WithMaxPollers"}},
		{name: "max below min", opts: []esm.Option{esm.WithMinPollers(10), esm.WithMaxPollers(9)}, want: []string{"WithMaxPollers"}},
		{name: "max below min, the other way round", opts: []esm.Option{esm.WithMaxPollers(9), esm.WithMinPollers(10)}, want: []string{"WithMaxPollers"}},
		{name: "on demand with bounds", opts: []esm.Option{esm.WithOnDemand(true), esm.WithMinPollers(2)}, want: []string{"WithOnDemand"}},
		{name: "on demand, switched off", opts: []esm.Option{esm.WithOnDemand(true), esm.WithMinPollers(2), esm.WithOnDemand(false)}},
		{name: "group bounds", opts: []esm.Option{esm.WithGroupBounds(true), esm.WithMaxPollers(10)}},
		{name: "group bounds on demand", opts: []esm.Option{esm.WithGroupBounds(true), esm.WithOnDemand(true)}, want: []string{"WithGroupBounds"}},
		{name: "group bounds on demand, with a concurrency", opts: []esm.Option{esm.WithGroupBounds(true), esm.WithOnDemand(true), esm.WithMaxConcurrency(10)}},
		{name: "concurrency", opts: []esm.Option{esm.WithPollerConcurrency(0)}, want: []string{"WithPollerConcurrency"}},
		{name: "byte rate", opts: []esm.Option{esm.WithPollerByteRate(999)}, want: []string{"WithPollerByteRate"}},
		{name: "byte rate unlimited", opts: []esm.Option{esm.WithPollerByteRate(esm.Unlimited), esm.WithMaxConcurrency(esm.Unlimited)}},
		{name: "byte rate negative", opts: []esm.Option{esm.WithPollerByteRate(-2)}, want: []string{"WithPollerByteRate"}},
		{name: "max concurrency", opts: []esm.Option{esm.WithMaxConcurrency(0)}, want: []string{"WithMaxConcurrency"}},
		{name: "batch size", opts: []esm.Option{esm.WithBatchSize(10_001)}, want: []string{"WithBatchSize"}},
		{name: "batch size 0", opts: []esm.Option{esm.WithBatchSize(0)}, want: []string{"WithBatchSize"}},
		{name: "window", opts: []esm.Option{esm.WithBatchWindow(301 * time.Second)}, want: []string{"WithBatchWindow"}},
		{name: "window negative", opts: []esm.Option{esm.WithBatchWindow(-1)}, want: []string{"WithBatchWindow"}},
		{name: "batch bytes", opts: []esm.Option{esm.WithBatchBytes(0)}, want: []string{"WithBatchBytes"}},
		{name: "nil back-off", opts: []esm.Option{esm.WithBackoff(nil)}, want: []string{"WithBackoff"}},
		{name: "invoke timeout", opts: []esm.Option{esm.WithInvokeTimeout(-1)}, want: []string{"WithInvokeTimeout"}},
		{name: "timeouts", opts: []esm.Option{esm.WithStopTimeout(0), esm.WithRevokeTimeout(2 * time.Hour), esm.WithStartTimeout(-1)}, want: []string{"WithStopTimeout", "WithRevokeTimeout", "WithStartTimeout"}},
		{name: "budget", opts: []esm.Option{esm.WithMemoryBudget(1<<20 - 1), esm.WithBatchBytes(1000)}, want: []string{"WithMemoryBudget"}},
		{name: "budget below two batches", opts: []esm.Option{esm.WithMemoryBudget(7 << 20)}, want: []string{"WithMemoryBudget"}},
		{name: "name", opts: []esm.Option{esm.WithName("")}, want: []string{"WithName"}},
		{name: "logger", opts: []esm.Option{esm.WithLogger(nil)}, want: []string{"WithLogger"}},
		{name: "retries", opts: []esm.Option{esm.WithMaxRetries(10_001), esm.WithDestination(esm.Drop)}, want: []string{"WithMaxRetries"}},
		{name: "retries unlimited", opts: []esm.Option{esm.WithMaxRetries(-7), esm.WithMaxRecordAge(-time.Hour)}},
		{name: "age", opts: []esm.Option{esm.WithMaxRecordAge(59 * time.Second), esm.WithDestination(esm.Drop)}, want: []string{"WithMaxRecordAge"}},
		{name: "age 0", opts: []esm.Option{esm.WithMaxRecordAge(0), esm.WithDestination(esm.Drop)}, want: []string{"WithMaxRecordAge"}},
		{name: "age of more than a week", opts: []esm.Option{esm.WithMaxRecordAge(7*24*time.Hour + 1), esm.WithDestination(esm.Drop)}, want: []string{"WithMaxRecordAge"}},
		{name: "limits with nowhere to go", opts: []esm.Option{esm.WithMaxRetries(0), esm.WithMaxRecordAge(time.Hour)}, want: []string{"WithMaxRetries", "WithMaxRecordAge"}},
		{name: "limits with a destination", opts: []esm.Option{esm.WithMaxRetries(0), esm.WithMaxRecordAge(time.Hour), esm.WithDestination(esm.Drop), esm.WithBisect(true)}},
		{name: "all at once", source: source(func(s *esm.Source) { s.Group = "" }), inv: esm.Each(nil),
			opts: []esm.Option{esm.WithMinPollers(0), esm.WithBatchSize(-1), esm.WithBackoff(nil)},
			want: []string{"Source.Group", "Invoker", "WithMinPollers", "WithBatchSize", "WithBackoff"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.source.Topics == nil {
				tt.source = goodSource
			}
			inv := tt.inv
			if inv == nil && tt.want == nil || inv == nil && !slices.Contains(tt.want, "Invoker") {
				inv = goodFunc
			}
			m, err := esm.New(tt.source, inv, tt.opts...)
			if got := mistakes(err); !slices.Equal(got, tt.want) {
				t.Errorf("%v\nwant %v\n%v", got, tt.want, err)
			}
			if (m == nil) != (err != nil) {
				t.Errorf("a mapping %v and an error %v", m, err)
			}
		})
	}
}

func TestUpdateChangesAllOrNothing(t *testing.T) {
	m, err := esm.New(goodSource, goodFunc, esm.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Update(esm.WithBatchSize(7), esm.WithMinPollers(0)); !slices.Equal(mistakes(err), []string{"WithMinPollers"}) {
		t.Errorf("%v", err)
	}
	if err := m.Update(esm.WithMaxPollers(5)); err != nil {
		t.Error(err)
	}
	// What an earlier update set still counts.
	if err := m.Update(esm.WithMinPollers(6)); !slices.Equal(mistakes(err), []string{"WithMaxPollers"}) {
		t.Errorf("%v", err)
	}
	// Before Start, all options can be changed.
	if err := m.Update(esm.WithName("x"), esm.WithRevokeTimeout(time.Second), esm.WithPauseOnHalt(true)); err != nil {
		t.Error(err)
	}
}

func TestEphemeralGroupsDiffer(t *testing.T) {
	if a, b := esm.EphemeralGroup(), esm.EphemeralGroup(); a == b || len(a) < 10 {
		t.Errorf("%s %s", a, b)
	}
}

func TestBackoffs(t *testing.T) {
	f := esm.Exponential(time.Second, time.Minute)
	for n, most := range map[int]time.Duration{-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 30: time.Minute} {
		seen := map[time.Duration]bool{}
		for range 100 {
			d := f(n)
			seen[d] = true
			if d < most/2 || d > most {
				t.Errorf("attempt %d: %s, want %s to %s", n, d, most/2, most)
			}
		}
		if len(seen) < 10 {
			t.Errorf("attempt %d: no jitter", n)
		}
	}
	if d := esm.Exponential(-1, -1)(3); d != 0 {
		t.Errorf("%s", d)
	}
	if d := esm.Constant(time.Hour)(9); d != time.Hour {
		t.Errorf("%s", d)
	}
}

func TestBatchByPartition(t *testing.T) {
	rec := func(topic string, p int32, o int64) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: p, Offset: o}
	}
	b := &esm.Batch{ID: "x", Attempt: 3, Records: []*kgo.Record{rec("a", 0, 1), rec("a", 0, 2), rec("a", 1, 7), rec("b", 1, 9)}}
	var got []string
	for tp, rs := range b.ByPartition() {
		got = append(got, fmt.Sprint(tp, len(rs)))
		rs = append(rs, rec("z", 0, 0)) // must not reach into the batch
		_ = rs
	}
	if s := strings.Join(got, " "); s != "{a 0} 2 {a 1} 1 {b 1} 1" {
		t.Error(s)
	}
	if b.Records[2].Topic != "a" {
		t.Error("appending to the records of a partition changed the batch")
	}
	for range b.ByPartition() {
		break
	}
	c := b.With(b.Records[:1])
	if len(c.Records) != 1 || c.ID != "x" || c.Attempt != 3 || len(b.Records) != 4 {
		t.Errorf("%+v", c)
	}
	for range (&esm.Batch{}).ByPartition() {
		t.Error("an empty batch has partitions")
	}
}
