package esmtest_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// fullBatch has records with all that a record can hold.
func fullBatch() *esm.Batch {
	b := batchOf(3, 40, "tea", "coffee", "", "milk")
	for i, r := range b.Records {
		r.Key = fmt.Appendf(nil, "key %d", i)
		r.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("abc")}, {Key: "span", Value: []byte("def")}}
	}
	b.Records[3].Value = nil
	return b
}

// TestWritingIntoRecordsFailsTheTest in whatever way it is done, and however the
// call ends, with where, what, and what to do.
func TestWritingIntoRecordsFailsTheTest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(rs []*kgo.Record)
		says  string // empty if that is allowed
	}{
		{"nothing", func([]*kgo.Record) {}, ""},
		{"a byte of the value", func(rs []*kgo.Record) { rs[1].Value[0] = 'C' }, "the value of orders/3 offset 41 changed in place while Invoke had it. Bytes of records are read-only: after a failure the same ones come again, with whatever was written into them. Change a copy: value := bytes.Clone(r.Value)."},
		{"a byte of the key", func(rs []*kgo.Record) { rs[0].Key[0] = 'K' }, "the key of orders/3 offset 40 changed in place while Invoke had it. Bytes of records are read-only: after a failure the same ones come again, with whatever was written into them. Change a copy: key := bytes.Clone(r.Key)."},
		{"a byte of a header", func(rs []*kgo.Record) { rs[2].Headers[1].Value[0] = 'D' }, "the headers of orders/3 offset 42 changed"},
		{"the name of a header", func(rs []*kgo.Record) { rs[2].Headers[1].Key = "Span" }, ""},
		{"the border of two headers", func(rs []*kgo.Record) {
			rs[2].Headers = []kgo.RecordHeader{{Key: "tracea", Value: []byte("bc")}, rs[2].Headers[1]}
		}, ""},
		{"another header", func(rs []*kgo.Record) { rs[0].Headers = append(rs[0].Headers, kgo.RecordHeader{}) }, ""},
		{"no headers", func(rs []*kgo.Record) { rs[0].Headers = nil }, ""},
		{"another value", func(rs []*kgo.Record) { rs[0].Value = []byte("TEA") }, ""},
		{"a tombstone that is none", func(rs []*kgo.Record) { rs[3].Value = []byte{} }, ""},
		{"a value that is a tombstone", func(rs []*kgo.Record) { rs[2].Value = nil }, ""},
		{"key and value change places", func(rs []*kgo.Record) { rs[0].Key, rs[0].Value = rs[0].Value, rs[0].Key }, ""},
		{"another value in place of each", func(rs []*kgo.Record) {
			for _, r := range rs {
				r.Value = append([]byte("seen "), r.Value...)
			}
		}, ""},
		{"a byte, and another value in its place", func(rs []*kgo.Record) { rs[0].Value[0] = 'T'; rs[0].Value = nil }, "the value of orders/3 offset 40 changed in place"},
		{"all of them", func(rs []*kgo.Record) {
			for _, r := range rs {
				r.Key[0] = 'K'
			}
		}, "the key of orders/3 offset 40 (and something of 3 more records) changed"},

		{"the order", func(rs []*kgo.Record) { slices.Reverse(rs) }, ""},
		{"the slice", func(rs []*kgo.Record) { clear(rs) }, ""},
		{"copies", func(rs []*kgo.Record) {
			for i, r := range rs {
				c := *r
				c.Value = bytes.Clone(r.Value)
				c.Headers = append(slices.Clip(r.Headers), kgo.RecordHeader{Key: "seen"})
				c.Value = append(c.Value, '!')
				rs[i] = &c
			}
		}, ""},
		{"the same bytes", func(rs []*kgo.Record) { rs[0].Value = bytes.Clone(rs[0].Value) }, ""},
		{"there and back", func(rs []*kgo.Record) { rs[0].Value[0]++; rs[0].Value[0]-- }, ""},
		{"where it stands", func(rs []*kgo.Record) {
			for _, r := range rs {
				r.Topic, r.Partition, r.Offset, r.LeaderEpoch, r.Timestamp, r.Context, r.ProducerID = "out", 9, 1000, 7, time.Now(), context.Background(), 5
			}
		}, ""},
	} {
		for end, err := range map[string]func() error{
			"returns": func() error { return nil },
			"fails":   func() error { return errBilling },
			"panics":  func() error { panic("oh") },
			"exits":   func() error { runtime.Goexit(); return nil },
		} {
			call := func(_ context.Context, b *esm.Batch) error {
				tt.write(b.Records)
				return err()
			}
			for by, invoker := range map[string]func(t testing.TB) esm.Invoker{
				"Start":     func(t testing.TB) esm.Invoker { return esmtest.Watched(t, esm.InvokerFunc(call)) },
				"a script":  func(t testing.TB) esm.Invoker { return esmtest.NewInvoker(t).Then(call) },
				"both":      func(t testing.TB) esm.Invoker { return esmtest.Watched(t, esmtest.NewInvoker(t).Always(call)) },
				"nobody":    func(t testing.TB) esm.Invoker { return esmtest.Watched(t, esmtest.MayWrite(esm.InvokerFunc(call))) },
				"no script": func(t testing.TB) esm.Invoker { return esmtest.MayWrite(esmtest.NewInvoker(t).Then(call)) },
			} {
				failures := watch(t, func(t testing.TB) {
					inv := invoker(t)
					alone(func() {
						defer func() {
							if v := recover(); v != nil && (end != "panics" || v != "oh") {
								t.Errorf("it panicked: %v", v)
							}
						}()
						if got := inv.Invoke(t.Context(), fullBatch()); end == "returns" && got != nil || end == "fails" && got != errBilling {
							t.Errorf("it returned %v", got)
						}
					})
				})
				switch {
				case tt.says == "" || by == "nobody" || by == "no script":
					if len(failures) > 0 {
						t.Errorf("%s, %s, seen by %s: %q", tt.name, end, by, failures)
					}
				case len(failures) != 1 || !strings.Contains(failures[0], "esmtest: ") || !strings.Contains(failures[0], tt.says) || !strings.Contains(failures[0], "esmtest.MayWrite"):
					t.Errorf("%s, %s, seen by %s: %q", tt.name, end, by, failures)
				}
			}
		}
	}
}

// TestForwardingWithoutWaitingIsNoMistake, and the kit reads nothing that the
// client may write yet: the race detector would see it.
func TestForwardingWithoutWaitingIsNoMistake(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("out", 1))
	client := k.Client()
	failures := watch(t, func(t testing.TB) {
		inv := esmtest.Watched(t, esmtest.NewInvoker(t).Always(func(ctx context.Context, b *esm.Batch) error {
			for _, r := range b.Records {
				r.Topic = "out"
				client.Produce(context.WithoutCancel(ctx), r, nil)
			}
			return errBilling // so that they come again
		}))
		for n := range int64(20) {
			_ = inv.Invoke(t.Context(), batchOf(0, 100*n, "a", "b", "c"))
		}
		if err := client.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if len(failures) > 0 {
		t.Errorf("%q", failures)
	}
	if got := k.End("out", 0); got != 60 {
		t.Errorf("%d records were produced", got)
	}
}

// TestLateWritesAreSeenWhenARecordComesAgain, as another kgo.Record.
func TestLateWritesAreSeenWhenARecordComesAgain(t *testing.T) {
	failures := watch(t, func(t testing.TB) {
		b := fullBatch()
		again := func() *esm.Batch {
			records := make([]*kgo.Record, len(b.Records))
			for i, r := range b.Records {
				c := *r
				records[i] = &c
			}
			return b.With(records)
		}
		var calls int
		returned, wrote := make(chan struct{}), make(chan struct{})
		inv := esmtest.Watched(t, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			if calls++; calls > 1 {
				return nil
			}
			go func() {
				defer close(wrote)
				<-returned // or the race detector would see it first
				b.Records[1].Value[0] = 'C'
			}()
			return errBilling
		}))
		_ = inv.Invoke(t.Context(), again())
		close(returned)
		<-wrote
		if t.Failed() {
			t.Error("it failed too early")
		}
		for range 2 { // it is told at once, and once
			_ = inv.Invoke(t.Context(), again())
			if !t.Failed() {
				t.Error("it was not told when the record came again")
			}
		}
	})
	wantFailure(t, failures, "of orders/3 offset 41 changed in place after Invoke had returned: something that it left behind writes into it. Bytes of records are read-only")
}

// TestWritesAreToldOfAFewTimes, and never once the test has ended.
func TestWritesAreToldOfAFewTimes(t *testing.T) {
	var inv esm.Invoker
	failures := watch(t, func(t testing.TB) {
		inv = esmtest.Watched(t, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			b.Records[0].Value[0]++
			return nil
		}))
		for range 10 {
			_ = inv.Invoke(t.Context(), batchOf(0, 0, "a"))
		}
	})
	if len(failures) != 3 {
		t.Errorf("%d failures: %q", len(failures), failures)
	}
	_ = watch(t, func(t testing.TB) {
		inv = esmtest.Watched(t, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			b.Records[0].Value[0]++
			return nil
		}))
	})
	_ = inv.Invoke(t.Context(), batchOf(0, 0, "a")) // a call that outlived its test
}

// TestMappingHandsRecordsToAWatcher: Start looks for what an Invoker writes, and
// New says itself what is no Invoker.
func TestMappingHandsRecordsToAWatcher(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	k.Produce("orders", "tea", "coffee")
	shout := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		for _, r := range b.Records {
			copy(r.Value, bytes.ToUpper(r.Value))
		}
		return nil
	})
	for group, inv := range map[string]esm.Invoker{"loud": shout, "exempt": esmtest.MayWrite(shout)} {
		failures := watch(t, func(t testing.TB) {
			m := esmtest.Start(t, k.Source("orders", group), inv)
			if err := eventually(t, func() bool { return m.Stats().CommittedEventCount == 2 }); err != nil {
				t.Error(err)
			}
		})
		if group == "exempt" {
			if len(failures) > 0 {
				t.Errorf("%q", failures)
			}
			continue
		}
		wantFailure(t, failures, "the value of orders/0 offset 0 (and something of 1 more records) changed in place while Invoke had it")
	}
	for _, inv := range []esm.Invoker{nil, esmtest.MayWrite(nil)} {
		failures := watch(t, func(t testing.TB) { esmtest.New(t, k.Source("orders", "billing"), inv) })
		wantFailure(t, failures, "esm:", "Invoker")
	}
}

// eventually waits until something is true, for a minute at most.
func eventually(t testing.TB, f func() bool) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func BenchmarkWatcher(b *testing.B) {
	batch := batchOf(0, 0, slices.Repeat([]string{strings.Repeat("x", 1000)}, 100)...)
	inv := esmtest.Watched(b, esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }))
	b.ReportAllocs()
	for b.Loop() {
		if err := inv.Invoke(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
