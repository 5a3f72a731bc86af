package esmemf

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// bills handles records, but for poison.
func bills(_ context.Context, b *esm.Batch) error {
	for _, r := range b.Records {
		if string(r.Value) == "poison" {
			return esm.Permanent(errors.New("no such account"))
		}
	}
	return nil
}

// newMetrics makes Metrics of a sheet.
func newMetrics(t *testing.T, with func(*MetricsConfig)) (*Metrics, *sheet) {
	t.Helper()
	out := &sheet{}
	c := MetricsConfig{Writer: out, Logger: quiet}
	if with != nil {
		with(&c)
	}
	m, err := NewMetrics(c)
	if err != nil {
		t.Fatal(err)
	}
	return m, out
}

// runs runs something until the test, or what it returns, ends it.
func runs(t *testing.T, run func(context.Context)) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(end)
	return end
}

// start starts a Mapping of orders.
func start(t *testing.T, partitions int, opts ...esm.Option) (*esmtest.Kafka, *esm.Mapping) {
	t.Helper()
	k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
	opts = append([]esm.Option{esm.WithDestination(esm.Drop), esm.WithLogger(quiet), esm.WithBatchSize(1)}, opts...)
	return k, esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t).Always(bills), opts...)
}

// counts are what lines of metrics add up to, if none is lost or there twice.
func counts(s *esm.Stats) map[string]int64 {
	return map[string]int64{
		"PolledEventCount": s.PolledEventCount, "InvokedEventCount": s.InvokedEventCount, "FailedInvokeEventCount": s.FailedInvokeEventCount,
		"DroppedEventCount": s.DroppedEventCount, "OnFailureDestinationDeliveredEventCount": s.OnFailureDestinationDeliveredEventCount,
		"CommittedEventCount": s.CommittedEventCount, "InvokeErrorCount": s.InvokeErrorCount, "CommitErrorCount": s.CommitErrorCount,
		"OnFailureDestinationDeliveryErrorCount": s.DeliveryFailureCount, "DestinationDeliveryFailures": s.DeliveryFailureCount,
		"EventPollerThroughputInBytes": s.PolledByteCount,
	}
}

// addUp reports each count of a Mapping that lines do not add up to.
func addUp(t *testing.T, lines []string, s esm.Stats) map[string]float64 {
	t.Helper()
	sum := sums(t, lines)
	for name, want := range counts(&s) {
		if sum[name] != float64(want) {
			t.Errorf("%s adds up to %v, want %d", name, sum[name], want)
		}
	}
	return sum
}

// TestLinesAddUp to what the Mapping counted, whatever happens to the Writer.
func TestLinesAddUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var takes atomic.Bool
		k, m := start(t, 2, esm.WithName("bills-é"), esm.WithDestination(esm.DestinationFunc(func(context.Context, *esm.Discard) error {
			if !takes.Load() {
				return errors.New("the queue is full")
			}
			return nil
		})))
		metrics, out := newMetrics(t, func(c *MetricsConfig) { c.Namespace = "Bills/Kafka" })
		metrics.Add(m, Subject{FunctionName: "billing"})
		end := runs(t, metrics.Run)
		for i := range 5 {
			for range 10 {
				k.Produce("orders", "a")
			}
			k.Produce("orders", "poison")
			out.set(map[int]func([]byte) (int, error){
				1: func([]byte) (int, error) { panic("oh") },
				2: func(p []byte) (int, error) { return len(p) / 2, nil },
			}[i])
			takes.Store(i >= 3)
			time.Sleep(time.Minute)
		}
		k.Produce("orders", "a")
		time.Sleep(10 * time.Second)
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		lines := out.lines()
		end()
		if n := len(out.lines()) - len(lines); n > 0 {
			t.Errorf("%d lines after it was stopped and written", n)
		}
		var whole []string
		for _, line := range lines {
			if strings.HasSuffix(line, "}\n") {
				whole = append(whole, line)
			}
		}
		if torn := len(lines) - len(whole); torn != 2 { // one that is empty, after the panic, and a half
			t.Errorf("%d lines are torn: %q", torn, lines)
		}
		sum := addUp(t, whole, m.Stats())
		if sum["PolledEventCount"] != 56 || sum["CommittedEventCount"] != 56 || sum["InvokeErrorCount"] != 5 || sum["OnFailureDestinationDeliveredEventCount"] != 5 || sum["DestinationDeliveryFailures"] == 0 {
			t.Errorf("%v", sum)
		}
		for _, line := range whole {
			r := read(t, line)
			if r.values["EventSourceMappingUUID"] != "bills-%C3%A9" || r.values["FunctionName"] != "" && r.values["FunctionName"] != "billing" || !strings.Contains(line, `"Namespace":"Bills/Kafka"`) {
				t.Errorf("%v", r.values)
			}
			for name, dimension := range r.dimensions {
				if of := name == "OffsetLag" || name == "DestinationDeliveryFailures"; of != (dimension == "FunctionName") {
					t.Errorf("%s has the dimension %s", name, dimension)
				}
				if bytes := name == "EventPollerThroughputInBytes"; bytes != (r.units[name] == "Bytes") {
					t.Errorf("%s has the unit %s", name, r.units[name])
				}
			}
		}
	})
}

// TestTheLastCountsComeWithTheEnd, and not with the next minute.
func TestTheLastCountsComeWithTheEnd(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		metrics, out := newMetrics(t, nil)
		runs(t, metrics.Run)
		synctest.Wait() // it runs before anything is added
		metrics.Add(m, Subject{FunctionName: "billing"})
		time.Sleep(40*time.Second - time.Since(time.Now().Truncate(time.Minute)))
		before := len(out.lines())
		k.Produce("orders", "a", "poison")
		time.Sleep(5 * time.Second)
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		lines := out.lines()
		if len(lines) != before+1 {
			t.Fatalf("%d lines: %s", len(lines)-before, lines)
		}
		addUp(t, lines, m.Stats())
		last := read(t, lines[before])
		for _, name := range []string{"ProvisionedPollers", "EventPollerUnit", "SumOffsetLag", "OffsetLag"} {
			if v, there := last.metrics[name]; there {
				t.Errorf("%s is %v of what has stopped", name, v)
			}
		}
		metrics.Add(m, Subject{}) // again: all of it is written
		time.Sleep(3 * time.Minute)
		if err := metrics.Flush(); err != nil || len(out.lines()) != len(lines) {
			t.Errorf("%d lines more: %v", len(out.lines())-len(lines), err)
		}
		if len(metrics.of) > 0 {
			t.Errorf("it is kept: %v", metrics.of)
		}
	})
}

// TestWhatIsAbsent: what is unknown, and a count of nothing, but for that of the polls.
func TestWhatIsAbsent(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		m := esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), esm.WithLogger(quiet))
		metrics, out := newMetrics(t, nil)
		metrics.Add(m, Subject{FunctionName: "billing"})
		if err := metrics.Flush(); err != nil || len(out.lines()) > 0 {
			t.Fatalf("before Start: %s, %v", out.lines(), err)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if err := metrics.Flush(); err != nil {
			t.Fatal(err)
		}
		lines := out.lines()
		is := read(t, lines[0]).metrics
		want := map[string]float64{"PolledEventCount": 0, "EventPollerThroughputInBytes": 0, "ProvisionedPollers": 1, "EventPollerUnit": 1, "SumOffsetLag": 0, "MaxOffsetLag": 0, "OffsetLag": 0}
		for name, v := range want {
			if got, there := is[name]; !there || got != v {
				t.Errorf("%s is %v, there: %v", name, got, there)
			}
		}
		if len(is) != len(want) {
			t.Errorf("it has more: %v", is)
		}
		// A broker that does not say where the partition ends leaves the lag unknown.
		for _, key := range []kmsg.Key{kmsg.ListOffsets, kmsg.Fetch} {
			k.Cluster().ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
				k.Cluster().KeepControl()
				return nil, errors.New("no"), true
			})
		}
		time.Sleep(5 * time.Minute)
		if _, known := m.Stats().OffsetLag.Sum(); known {
			t.Fatal("the lag is known")
		}
		if err := metrics.Flush(); err != nil {
			t.Fatal(err)
		}
		is = read(t, out.lines()[1]).metrics
		for name := range is {
			if strings.Contains(name, "Lag") {
				t.Errorf("%s is there", name)
			}
		}
		if is["PollingErrorCount"] == 0 {
			t.Errorf("no poll has failed in %v", is)
		}
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		before := len(out.lines())
		if err := metrics.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, line := range out.lines()[before:] { // the client may have asked on
			if is := read(t, line).metrics; len(is) != 1 || is["PollingErrorCount"] == 0 {
				t.Errorf("a Mapping that is paused: %v", is)
			}
		}
	})
}

// TestOnDemand: AWS shows no pollers there.
func TestOnDemand(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1, esm.WithOnDemand(true))
		metrics, out := newMetrics(t, nil)
		metrics.Add(m, Subject{})
		k.Produce("orders", "a")
		time.Sleep(5 * time.Second)
		if err := metrics.Flush(); err != nil {
			t.Fatal(err)
		}
		is := read(t, out.lines()[0]).metrics
		for _, name := range []string{"ProvisionedPollers", "EventPollerUnit", "EventPollerThroughputInBytes"} {
			if v, there := is[name]; there {
				t.Errorf("%s is %v", name, v)
			}
		}
		if is["PolledEventCount"] != 1 {
			t.Errorf("%v", is)
		}
	})
}

// TestWhatIsOfTheMomentIsThereOnceAMinute, or CloudWatch would add it up.
func TestWhatIsOfTheMomentIsThereOnceAMinute(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		metrics, out := newMetrics(t, nil)
		metrics.Add(m, Subject{UUID: "a-uuid"})
		runs(t, metrics.Run)
		for range 50 {
			k.Produce("orders", "a")
			time.Sleep(7 * time.Second)
			if err := metrics.Flush(); err != nil {
				t.Error(err)
			}
		}
		units := map[int64]float64{}
		for _, line := range out.lines() {
			r := read(t, line)
			units[r.at/60_000] += r.metrics["EventPollerUnit"]
			if r.values["EventSourceMappingUUID"] != "a-uuid" || r.values["FunctionName"] != "" {
				t.Errorf("%v", r.values)
			}
		}
		if len(units) != 6 {
			t.Errorf("%d minutes", len(units))
		}
		for minute, n := range units {
			if n != 1 {
				t.Errorf("minute %d has %v units", minute, n)
			}
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		addUp(t, out.lines(), m.Stats())
	})
}

// TestAMappingThatIsAddedLate has all that it counted in its first line, however often it is
// added.
func TestAMappingThatIsAddedLate(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		k.Produce("orders", "a", "b", "poison")
		time.Sleep(10 * time.Minute)
		metrics, out := newMetrics(t, nil)
		metrics.Add(nil, Subject{})
		metrics.Add(m, Subject{})
		metrics.Add(m, Subject{FunctionName: "billing"})
		if err := metrics.Flush(); err != nil {
			t.Fatal(err)
		}
		if lines := out.lines(); len(lines) != 1 || read(t, lines[0]).values["FunctionName"] != "billing" {
			t.Errorf("%s", lines)
		}
		addUp(t, out.lines(), m.Stats())
		k.Produce("orders", "c")
		time.Sleep(5 * time.Second)
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		late, other := newMetrics(t, nil)
		late.Add(m, Subject{}) // after its end
		for range 2 {
			if err := errors.Join(metrics.Flush(), late.Flush()); err != nil {
				t.Fatal(err)
			}
		}
		addUp(t, out.lines(), m.Stats())
		addUp(t, other.lines(), m.Stats())
	})
}

// TestFlushesAtOnce write no count twice.
func TestFlushesAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 4)
		metrics, out := newMetrics(t, nil)
		metrics.Add(m, Subject{})
		end := runs(t, metrics.Run)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 40 {
					time.Sleep(time.Duration(10+i%2) * time.Millisecond)
					if i == 0 {
						k.Produce("orders", "a", "b")
					}
					if err := metrics.Flush(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			all.Go(func() { _ = metrics.Flush() })
		}
		all.Wait()
		end()
		if sum := addUp(t, out.lines(), m.Stats()); sum["CommittedEventCount"] != 80 {
			t.Errorf("%v", sum)
		}
	})
}

// TestTheEndOfRunIsALine of what still runs, and what comes after it is the next Flush's.
func TestTheEndOfRunIsALine(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		metrics, out := newMetrics(t, nil)
		metrics.Add(m, Subject{})
		end := runs(t, metrics.Run)
		k.Produce("orders", "a")
		time.Sleep(5 * time.Second)
		end()
		addUp(t, out.lines(), m.Stats())
		k.Produce("orders", "b")
		time.Sleep(5 * time.Second)
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := metrics.Flush(); err != nil {
			t.Error(err)
		}
		if sum := addUp(t, out.lines(), m.Stats()); sum["CommittedEventCount"] != 2 || len(out.lines()) != 2 {
			t.Errorf("%v: %s", sum, out.lines())
		}
	})
}

// TestAnEndThatCannotBeWritten is written when it can be.
func TestAnEndThatCannotBeWritten(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		metrics, out := newMetrics(t, nil)
		metrics.Add(m, Subject{})
		runs(t, metrics.Run)
		k.Produce("orders", "a")
		time.Sleep(5 * time.Second)
		var calls atomic.Int64
		out.set(func([]byte) (int, error) { calls.Add(1); return 0, io.ErrClosedPipe })
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if n := calls.Load(); n != 4 { // at the end, and each minute
			t.Errorf("it is tried %d times", n)
		}
		out.set(nil)
		time.Sleep(time.Minute)
		addUp(t, out.lines(), m.Stats())
	})
}

// TestACountThatBeganAnew, as after a Start that failed, is counted from there.
func TestACountThatBeganAnew(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		k.Produce("orders", "a")
		time.Sleep(5 * time.Second)
		metrics, out := newMetrics(t, nil)
		metrics.Add(m, Subject{})
		metrics.of[0].last.PolledEventCount = 100
		if err := metrics.Flush(); err != nil {
			t.Fatal(err)
		}
		addUp(t, out.lines(), m.Stats())
	})
}

// TestAWriterThatFails: the log has it once, and each Flush returns the error.
func TestAWriterThatFails(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		var log bytes.Buffer
		metrics, out := newMetrics(t, func(c *MetricsConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		metrics.Add(m, Subject{})
		full := errors.New("the disk is full")
		for says, fails := range map[string]func([]byte) (int, error){
			"the disk is full":          func([]byte) (int, error) { return 0, full },
			"short write":               func([]byte) (int, error) { return 1, nil },
			"it panicked: oh":           func([]byte) (int, error) { panic("oh") },
			"it called runtime.Goexit":  func([]byte) (int, error) { runtime.Goexit(); return 0, nil },
			"1 of 1 lines of metrics: ": func([]byte) (int, error) { return -7, io.ErrClosedPipe },
		} {
			k.Produce("orders", "a")
			time.Sleep(time.Second)
			out.set(fails)
			if err := metrics.Flush(); err == nil || !strings.Contains(err.Error(), says) || says == "the disk is full" && !errors.Is(err, full) {
				t.Errorf("%v, want %s", err, says)
			}
		}
		if n := strings.Count(log.String(), "metrics cannot be written"); n != 1 || !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("it is told %d times: %s", n, log.String())
		}
		out.set(func(p []byte) (int, error) { return len(p) - 1, nil }) // all but the newline: it counts
		if err := metrics.Flush(); !errors.Is(err, io.ErrShortWrite) {
			t.Error(err)
		}
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		out.set(nil)
		if err := metrics.Flush(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "metrics can be written again"); n != 1 {
			t.Errorf("that it works is told %d times: %s", n, log.String())
		}
		var whole []string
		for _, line := range out.lines() {
			if strings.HasSuffix(line, "}\n") {
				whole = append(whole, line)
			}
		}
		if len(whole) != 2 {
			t.Errorf("%q", out.lines())
		}
		addUp(t, whole, m.Stats())
	})
}

// TestAWriterThatHangs holds up nobody for long, leaves one goroutine behind, and what it
// writes late counts once.
func TestAWriterThatHangs(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, m := start(t, 1)
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		var log bytes.Buffer
		metrics, out := newMetrics(t, func(c *MetricsConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		metrics.Add(m, Subject{})
		release := make(chan struct{})
		var calls atomic.Int64
		out.set(func(p []byte) (int, error) {
			calls.Add(1)
			<-release
			return len(p), nil
		})
		end := runs(t, metrics.Run)
		goroutines := 0
		for i := range 10 {
			began := time.Now()
			if err := metrics.Flush(); err == nil || !strings.Contains(err.Error(), "the Writer is not done after 10s") {
				t.Errorf("it says %v", err)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("a Flush took %s", took)
			}
			began = time.Now()
			metrics.Add(m, Subject{UUID: "bills"})
			if took := time.Since(began); took > 0 {
				t.Errorf("Add took %s", took)
			}
			synctest.Wait()
			if n := runtime.NumGoroutine(); i == 0 {
				goroutines = n
			} else if n > goroutines+5 { // those of the client come and go
				t.Errorf("%d goroutines, and %d at first", n, goroutines)
			}
			time.Sleep(time.Minute)
		}
		if n := strings.Count(log.String(), "metrics cannot be written"); n != 1 || calls.Load() != 1 {
			t.Errorf("it is told %d times, of %d calls: %s", n, calls.Load(), log.String())
		}
		k.Produce("orders", "b", "poison")
		time.Sleep(time.Second)
		out.set(nil)
		close(release)
		time.Sleep(time.Second)
		if err := metrics.Flush(); err != nil {
			t.Error(err)
		}
		lines := out.lines()
		if read(t, lines[0]).metrics["PolledEventCount"] != 1 {
			t.Errorf("the line that came late: %s", lines[0])
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		end()
		addUp(t, out.lines(), m.Stats())
	})
}

// TestASlowWriterServesEveryMapping, if not in each minute.
func TestASlowWriterServesEveryMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		metrics, out := newMetrics(t, nil)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			metrics.Add(esmtest.Start(t, k.Source("orders", name), esmtest.NewInvoker(t), esm.WithLogger(quiet)), Subject{})
		}
		out.set(func(p []byte) (int, error) {
			time.Sleep(4 * time.Second)
			return len(p), nil
		})
		for range 3 {
			_ = metrics.Flush()
			time.Sleep(time.Minute)
		}
		seen := map[string]bool{}
		for _, line := range out.lines() {
			seen[read(t, line).values["EventSourceMappingUUID"]] = true
		}
		if len(seen) != 5 {
			t.Errorf("%v", seen)
		}
	})
}

// TestALoggerThatHangs holds up no Flush for long.
func TestALoggerThatHangs(t *testing.T) {
	virtual(t, func(t *testing.T) {
		_, m := start(t, 1)
		release := make(chan struct{})
		defer close(release)
		var calls atomic.Int64
		metrics, out := newMetrics(t, func(c *MetricsConfig) { c.Logger = slog.New(hangs{slog.DiscardHandler, release, &calls}) })
		metrics.Add(m, Subject{})
		for i := range 6 {
			out.set(nil)
			if i%2 == 0 {
				out.set(func([]byte) (int, error) { return 0, io.ErrClosedPipe })
			}
			began := time.Now()
			_ = metrics.Flush()
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("a Flush took %s", took)
			}
			time.Sleep(time.Minute)
		}
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
	})
}

// A hangs is a log handler that does not return.
type hangs struct {
	slog.Handler
	release <-chan struct{}
	calls   *atomic.Int64
}

func (h hangs) Enabled(context.Context, slog.Level) bool { return true }
func (h hangs) Handle(context.Context, slog.Record) error {
	h.calls.Add(1)
	<-h.release
	return nil
}

// TestWhatMetricsNeed is said when they are made.
func TestWhatMetricsNeed(t *testing.T) {
	var none *sheet
	for name, says := range map[string]string{
		"AWS/Lambda": "belongs to AWS", "aws/x": "belongs to AWS", "a b": "must be 1 to 255", "é": "must be 1 to 255", strings.Repeat("a", 256): "must be 1 to 255",
		"": "", "Bills/Kafka#1": "", "AWSBills": "",
	} {
		if _, err := NewMetrics(MetricsConfig{Writer: &sheet{}, Namespace: name}); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, w := range []io.Writer{nil, none} {
		if _, err := NewMetrics(MetricsConfig{Writer: w}); err == nil {
			t.Error("a Writer that is nil is taken")
		}
	}
}
