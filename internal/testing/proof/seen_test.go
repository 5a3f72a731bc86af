package proof_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// problemWith is the problem of that name, or nil.
func problemWith(m *esm.Mapping, with string) *esm.Problem {
	for _, p := range m.State().Problems {
		if p.With == with {
			return &p
		}
	}
	return nil
}

// TestCallThatHangsIsSeen with the defaults: no timeout ends it, so nothing
// fails.
func TestCallThatHangsIsSeen(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		inv := esmtest.NewInvoker(t)
		release := inv.Hang()
		defer release()
		var told list[time.Duration]
		began := time.Now()
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.Hooks{
			InvokeStuck: func(i esm.Invocation) {
				if i.Err != nil || i.Delivery || len(i.Partitions) != 1 {
					t.Errorf("told %+v", i)
				}
				told.add(i.Took.Round(time.Minute))
			},
		}))
		k.ProduceTo("orders", 1, "a")
		time.Sleep(4 * time.Minute)
		if p := problemWith(m, "function"); p != nil {
			t.Errorf("a problem after four minutes: %v", p.Err)
		}
		time.Sleep(8 * time.Minute)
		s := m.Stats()
		if s.SlowSlots != 1 || s.StuckSlots != 0 || s.BusySlots != 1 {
			t.Errorf("%d slow, %d stuck, %d busy", s.SlowSlots, s.StuckSlots, s.BusySlots)
		}
		p := problemWith(m, "function")
		if p == nil || !strings.Contains(p.Err.Error(), "1 call runs, the longest for 12m0s") && !strings.Contains(p.Err.Error(), "1 call runs, the longest for 11m59s") || !strings.Contains(p.Err.Error(), "of orders/1") {
			t.Errorf("the problem is %+v", p)
		}
		for _, row := range m.AppendPartitions(nil) {
			if row.Partition == 1 && (row.State != "invoking" || row.BatchID == "" || row.Since.Sub(began) > 2*time.Second || row.Since.Before(began)) {
				t.Errorf("%+v", row)
			}
			if row.Partition == 0 && (row.BatchID != "" || !row.Since.IsZero()) {
				t.Errorf("%+v", row)
			}
		}
		if err := m.Healthy(); err != nil {
			t.Errorf("after 12 minutes, and a function of Lambda may take 15: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if err := m.Healthy(); err == nil || !strings.Contains(err.Error(), "none has ended for") {
			t.Errorf("healthy after 22 minutes: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if got := fmt.Sprint(told.all()); got != "[1m0s 10m0s 1h0m0s 2h0m0s]" {
			t.Errorf("told %s", got)
		}
		release()
		time.Sleep(10 * time.Second)
		if p := problemWith(m, "function"); p != nil || m.Healthy() != nil || m.Stats().SlowSlots != 0 {
			t.Errorf("after it ended: %+v, %v", p, m.Healthy())
		}
	})
}

// TestFunctionThatNeverSucceedsIsAProblem, and one that just has nothing to do
// is not.
func TestFunctionThatNeverSucceedsIsAProblem(t *testing.T) {
	for says, err := range map[string]error{"it is throttled: ": esm.Throttled(10*time.Second, errBilling), "it fails: ": errBilling} {
		t.Run(says, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
				var ok atomic.Bool
				inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
					if ok.Load() {
						return nil
					}
					return err
				})
				ok.Store(true)
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet())
				k.Produce("orders", "a", "b")
				long := time.Duration(build.Volume(60, 15)) * time.Minute
				time.Sleep(long)
				ok.Store(false)
				k.Produce("orders", "c", "d")
				time.Sleep(4 * time.Minute)
				if p := problemWith(m, "function"); p != nil {
					t.Errorf("after four minutes: %v", p.Err)
				}
				time.Sleep(long - 4*time.Minute)
				p := problemWith(m, "function")
				if p == nil || !strings.Contains(p.Err.Error(), says) || !strings.Contains(p.Err.Error(), "billing is down") {
					t.Fatalf("%+v", p)
				}
				if err := m.Healthy(); err != nil {
					t.Errorf("a restart would not help: %v", err)
				}
				ok.Store(true)
				time.Sleep(2 * time.Minute)
				if p := problemWith(m, "function"); p != nil {
					t.Errorf("it succeeded, and %v", p.Err)
				}
			})
		})
	}
}

// A logLines is a handler that keeps what is written as JSON.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// with lists the lines with a message.
func (l *logLines) with(t *testing.T, msg string) (lines []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if m["msg"] == msg {
			lines = append(lines, m)
		}
	}
	return lines
}

func (l *logLines) option() esm.Option {
	return esm.WithLogger(slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

// TestGivingRecordsUpIsLogged: the failure that uses up the last attempt, and
// each record.
func TestGivingRecordsUpIsLogged(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var log logLines
		n := 0
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error { n++; return fmt.Errorf("failure %d", n) })
		taken := esm.DestinationFunc(func(context.Context, *esm.Discard) error { return nil })
		esmtest.Start(t, k.Source("orders", "billing"), inv, log.option(), esm.WithMaxRetries(2), esm.WithDestination(taken), esm.WithBackoff(esm.Constant(1500*time.Millisecond)))
		k.Produce("orders", "a", "b", "c")
		time.Sleep(time.Minute)
		failed := log.with(t, "an invocation failed")
		if len(failed) != 2 || failed[1]["err"] != "failure 2" || failed[0]["again_in"] != "1.5s" {
			t.Errorf("failures: %v", failed)
		}
		up := log.with(t, "records are given up")
		if len(up) != 1 || up[0]["err"] != "failure 3" || up[0]["offset"] != 0.0 || up[0]["records"] != 3.0 || up[0]["attempts"] != 3.0 || up[0]["reason"] != "retries-exhausted" || up[0]["batch"] == "" {
			t.Errorf("given up: %v", up)
		}
		gone := log.with(t, "a record was given up and delivered")
		if len(gone) != 3 || gone[2]["offset"] != 2.0 || gone[2]["err"] != "failure 3" {
			t.Errorf("delivered: %v", gone)
		}
	})
}

func TestTooOldRecordsAreLogged(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var log logLines
		k.ProduceRecords(&kgo.Record{Topic: "orders", Timestamp: time.Now().Add(-2 * time.Hour)}, &kgo.Record{Topic: "orders"})
		esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), log.option(), esm.WithMaxRecordAge(time.Hour), esm.WithDestination(esm.Drop))
		time.Sleep(time.Minute)
		if up := log.with(t, "records are given up"); len(up) != 1 || up[0]["reason"] != "too-old" || up[0]["records"] != 1.0 {
			t.Errorf("given up: %v", up)
		}
		if gone := log.with(t, "a record was given up and dropped"); len(gone) != 1 {
			t.Errorf("dropped: %v", gone)
		}
	})
}

// TestPanicIsLoggedWithItsStack, sparsely.
func TestPanicIsLoggedWithItsStack(t *testing.T) {
	for name, do := range map[string]func(){"panic": panicHere, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				var log logLines
				inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { do(); return nil })
				esmtest.Start(t, k.Source("orders", "billing"), inv, log.option(), esm.WithBackoff(esm.Constant(10*time.Millisecond)))
				k.Produce("orders", "a")
				time.Sleep(time.Minute)
				lines := log.with(t, "the function did not return")
				if n := len(lines); n < 10 || n > 90 {
					t.Fatalf("%d lines for some 6,000 panics", n)
				}
				if name == "panic" && (lines[0]["how"] != "the function panicked: over there" || !strings.Contains(lines[0]["stack"].(string), "panicHere")) {
					t.Errorf("%v", lines[0])
				}
			})
		})
	}
}

func panicHere() { panic("over there") }

// TestPermanentWithoutADestinationSaysSo: nothing is given up then.
func TestPermanentWithoutADestinationSaysSo(t *testing.T) {
	for name, err := range map[string]func(*esm.Batch) error{
		"all of it": func(*esm.Batch) error { return esm.Permanent(errBilling) },
		"a record": func(b *esm.Batch) error {
			var f esm.Failures
			f.Add(b.Records[0], esm.Permanent(errBilling))
			return f.Err()
		},
		"too large": func(*esm.Batch) error { return esm.TooLarge(errBilling) },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				var log logLines
				inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error { return err(b) })
				esmtest.Start(t, k.Source("orders", "billing"), inv, log.option(), esm.WithBackoff(esm.Constant(time.Second)))
				k.Produce("orders", "a")
				time.Sleep(time.Minute)
				const msg = "the function gives records up, and there is no destination (WithDestination), so they are tried again"
				if lines := log.with(t, msg); len(lines) < 10 || !strings.Contains(fmt.Sprint(lines[0]["err"]), "billing is down") {
					t.Errorf("%v", lines)
				}
			})
		})
	}
}

// TestLogCanBeSearched: messages are constant, times have a unit, and errors
// are text, in a life with everything in it.
func TestLogCanBeSearched(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
		var log logLines
		inv := esmtest.NewInvoker(t)
		inv.Fail(2, errBilling).Throttle(1, 1234*time.Millisecond).Takes(3 * time.Millisecond)
		m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, log.option(), esm.WithBackoff(esm.Constant(1500*time.Millisecond)))
		k.Produce("orders", "a", "b", "c")
		time.Sleep(time.Minute)
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownServerError, Count: 3})
		k.Produce("orders", "a", "b", "c")
		time.Sleep(time.Minute)
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
		time.Sleep(time.Minute)
		stop(t, m)
		log.mu.Lock()
		defer log.mu.Unlock()
		n, messages := 0, map[string]bool{}
		for line := range strings.Lines(log.buf.String()) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			msg := l["msg"].(string)
			if strings.HasPrefix(msg, "kafka client: ") {
				continue
			}
			n++
			messages[msg] = true
			if regexp.MustCompile(`[0-9]`).MatchString(msg) {
				t.Errorf("a message with a number in it: %s", msg)
			}
			for key, v := range l {
				if key == "time" {
					continue
				}
				switch v := v.(type) {
				case float64:
					if v > 1e6 {
						t.Errorf("%s: %s is %v: a time without a unit?", msg, key, v)
					}
				case map[string]any, []any:
					t.Errorf("%s: %s is %v: no text", msg, key, v)
				}
			}
		}
		if n < 20 || len(messages) < 8 {
			t.Errorf("%d lines, %d messages", n, len(messages))
		}
	})
}

// TestErrorsAreTextInJSON, wherever the Mapping tells of one.
func TestErrorsAreTextInJSON(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		var infos list[any]
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			switch b.Attempt {
			case 1:
				return fmt.Errorf("wrapped: %w", errBilling)
			case 2:
				panic(errBilling)
			case 3:
				var f esm.Failures
				f.Add(b.Records[0], errBilling)
				return f.Err()
			}
			return esm.Permanent(errBilling)
		})
		var n atomic.Int64 // deliveries run at the same time
		dest := esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error {
			infos.add(*d)
			if n.Add(1)%2 == 1 {
				return errBilling
			}
			return nil
		})
		m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet(), esm.WithDestination(dest), esm.WithBackoff(esm.Constant(10*time.Second)),
			esm.WithHooks(esm.AllHooks(func(_ string, info any) { infos.add(info) })))
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownServerError, Count: 3})
		k.Produce("orders", "a", "b")
		for range 60 {
			time.Sleep(time.Second)
			infos.add(m.State())
			infos.add(m.AppendPartitions(nil))
		}
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownServerError, Count: -1})
		k.Produce("orders", "c", "d")
		time.Sleep(50 * time.Second)
		infos.add(m.Stop(t.Context()))
		seen := map[string]bool{}
		for _, info := range infos.all() {
			errorsIn(t, reflect.ValueOf(info), reflect.TypeOf(info).String(), seen)
		}
		for _, want := range []string{"esm.Blocker.Err", "esm.Invocation.Err", "esm.Discard.Err", "esm.Discard.FirstErr", "*esm.Discard.DeliveryErr", "esm.Commit.Err", "*esm.DrainError.CommitErr"} {
			if !seen[want] {
				t.Errorf("%s was never set: %v", want, seen)
			}
		}
	})
}

// errorsIn looks for fields that hold errors, and what they are as JSON.
func errorsIn(t *testing.T, v reflect.Value, name string, seen map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			errorsIn(t, v.Elem(), name, seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			errorsIn(t, v.Index(i), name+"[]", seen)
		}
	case reflect.Struct:
		for f := range v.Type().Fields() {
			if !f.IsExported() || f.Type == reflect.TypeFor[*kgo.Record]() || f.Type == reflect.TypeFor[*esm.Batch]() {
				continue
			}
			of := v.FieldByIndex(f.Index)
			if f.Type != reflect.TypeFor[error]() {
				errorsIn(t, of, name+"."+f.Name, seen)
				continue
			}
			if of.IsNil() {
				continue
			}
			text, err := json.Marshal(of.Interface())
			if err != nil || !bytes.HasPrefix(text, []byte(`"`)) || len(text) < 4 {
				t.Errorf("%s.%s is %s in JSON, %v", name, f.Name, text, err)
			}
			seen[name+"."+f.Name] = true
		}
	}
}

// TestLargeErrorsAreCut: what the other side wants to say is as large as it
// likes, and is kept for as long as the records fail.
func TestLargeErrorsAreCut(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 100
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		fill(k, "orders", partitions, 1)
		var log logLines
		var longest atomic.Int64
		measure := func(err error) {
			if err != nil {
				longest.Store(max(longest.Load(), int64(len(err.Error()))))
				if !errors.Is(err, errBilling) {
					t.Errorf("what it holds is lost: %.100v", err)
				}
			}
		}
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			var f esm.Failures
			for _, r := range b.Records {
				f.Add(r, fmt.Errorf("%w: %s", errBilling, strings.Repeat("x", 2<<20)))
			}
			return f.Err()
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, log.option(), esm.WithBatchSize(1), esm.WithBackoff(esm.Constant(time.Hour)), esm.WithHooks(esm.Hooks{
			InvokeEnded: func(i esm.Invocation) { measure(i.Err) }, RetryScheduled: func(i esm.Blocker) { measure(i.Err) },
		}))
		waitFor(t, 10*time.Minute, "all fail", func() bool { return m.Stats().WaitingPartitions == partitions })
		runtime.GC()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		if mem.HeapAlloc > 80<<20 {
			t.Errorf("%d MiB of heap for %d errors", mem.HeapAlloc>>20, partitions)
		}
		if n := longest.Load(); n > 5000 {
			t.Errorf("an error of %d bytes", n)
		}
		if n := log.buf.Len(); n > 10<<20 {
			t.Errorf("a log of %d bytes", n)
		}
		if s := m.State(); len(s.LastResult) > 5000 {
			t.Errorf("a last result of %d bytes", len(s.LastResult))
		}
		rows := m.AppendPartitions(nil)
		if !slices.ContainsFunc(rows, func(r esm.PartitionStats) bool { return r.Blocker != nil && errors.Is(r.Blocker.Err, errBilling) }) {
			t.Error("no blocker has the error")
		}
	})
}

func TestStartChecks(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		stuck := make(chan struct{})
		defer close(stuck)
		for name, tt := range map[string]struct {
			check func(context.Context) error
			says  string
		}{
			"fails":  {func(context.Context) error { return errBilling }, "billing is down"},
			"panics": {func(context.Context) error { panic("a check") }, "it panicked: a check"},
			"exits":  {func(context.Context) error { runtime.Goexit(); return nil }, "runtime.Goexit"},
			"hangs":  {func(context.Context) error { <-stuck; return nil }, "WithStartTimeout"},
		} {
			m := esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(), esm.WithStartTimeout(5*time.Second), esm.WithStartCheck(tt.check))
			err := m.Start(t.Context())
			var se *esm.StartError
			if !errors.As(err, &se) || se.Doing != "pass a check (WithStartCheck)" || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v", name, err)
			}
		}
		checked := 0
		m := esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(),
			esm.WithStartCheck(func(context.Context) error { checked++; return nil }), esm.WithStartCheck(func(context.Context) error { checked += 10; return nil }))
		if err := m.Start(t.Context()); err != nil || checked != 11 {
			t.Errorf("%v, checked %d", err, checked)
		}
		stop(t, m)
	})
}
