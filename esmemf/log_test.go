package esmemf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// newLog makes a Log of a sheet.
func newLog(t *testing.T, level string, with func(*LogConfig)) (*Log, *sheet) {
	t.Helper()
	out := &sheet{}
	c := LogConfig{Writer: out, Level: level, Logger: quiet}
	if with != nil {
		with(&c)
	}
	l, err := NewLog(c)
	if err != nil {
		t.Fatal(err)
	}
	return l, out
}

// events reads the lines of a Log.
func events(t *testing.T, l *Log, out *sheet) (all []event) {
	t.Helper()
	if err := l.Flush(); err != nil {
		t.Error(err)
	}
	for _, line := range out.lines() {
		all = append(all, readEvent(t, line))
	}
	return all
}

// TestLevels: each level has its events, of a Mapping that runs, fails and stops.
func TestLevels(t *testing.T) {
	for level, want := range map[string]map[string]bool{
		"DEBUG": {processingEvent: true, pollerEvent: true, kafkaEvent: true},
		"INFO":  {processingEvent: true, pollerEvent: true},
		"WARN":  {processingEvent: true},
	} {
		t.Run(level, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
				l, out := newLog(t, level, func(c *LogConfig) { c.Region, c.Account, c.Processor = "eu-central-1", "123456789012", 3 })
				source := k.Source("orders", "billing")
				source.ARN = "arn:aws:kafka:eu-central-1:123456789012:cluster/orders/1"
				m := esmtest.New(t, source, esmtest.NewInvoker(t).Fail(1, errors.New("billing is down")), esm.WithName("a-uuid"), esm.WithHooks(l.Hooks()), esm.WithLogger(quiet))
				l.Add(nil, Subject{})
				l.Add(m, Subject{Source: source, SecurityProtocol: "SASL_SSL", SASLMechanism: "AWS_MSK_IAM"})
				end := runs(t, l.Run)
				if err := m.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				k.ProduceTo("orders", 1, "a", "b", "c")
				time.Sleep(5 * time.Minute)
				if err := m.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Minute)
				end()
				seen := map[string]bool{}
				statuses, connections := 0, []*connection(nil)
				for _, e := range events(t, l, out) {
					seen[e.EventType] = true
					if e.ResourceARN != "arn:aws:lambda:eu-central-1:123456789012:event-source-mapping:a-uuid" || e.EventSourceARN != source.ARN || e.EventProcessorID != "a-uuid/3" {
						t.Errorf("%+v", e)
					}
					switch e.EventType {
					case kafkaEvent:
						if statuses++; e.Offsets.Partition == "orders-1" && (*e.Offsets.End != 3 || *e.Offsets.Consumed != 2 || *e.Offsets.Processed != 2 || *e.Offsets.Committed != 3) ||
							e.Offsets.Partition == "orders-0" && (*e.Offsets.End != 0 || e.Offsets.Consumed != nil || e.Offsets.Processed != nil) {
							text, _ := json.Marshal(e.Offsets)
							t.Errorf("%s", text)
						}
					case pollerEvent:
						connections = append(connections, e.Connection)
					default:
						if e.Error.ErrorCode != "FunctionError" || !strings.Contains(e.Error.ErrorMessage, "billing is down") {
							t.Errorf("%+v", e.Error)
						}
					}
				}
				if !maps.Equal(seen, want) || want[kafkaEvent] && statuses != 10 {
					t.Errorf("%v, %d statuses", seen, statuses)
				}
				if !want[pollerEvent] {
					return
				}
				first := &connection{
					BrokerEndpoints: strings.Join(source.Brokers, ","), ConsumerID: "a-uuid-3", Topics: []string{"orders"}, ConsumerGroupID: "billing",
					SecurityProtocol: "SASL_SSL", SASLMechanism: "AWS_MSK_IAM", AssignedCount: 2, AssignedPartitions: []string{"orders-0", "orders-1"},
				}
				if len(connections) != 2 || !reflect.DeepEqual(connections[0], first) {
					t.Fatalf("%d: %+v", len(connections), connections[0])
				}
				if last := connections[1]; last.AssignedCount != 0 || last.AssignedPartitions == nil || len(last.AssignedPartitions) > 0 {
					t.Errorf("at the end: %+v", last)
				}
			})
		})
	}
}

// TestAStorm is a line a second, and all of it is counted.
func TestAStorm(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l, out := newLog(t, "WARN", nil)
		runs(t, l.Run)
		h := l.Hooks()
		const seconds = 100
		for i := range seconds * 100 {
			h.RetryScheduled(esm.Blocker{Mapping: "billing", Err: errors.New("billing is down")})
			h.Discarded(&esm.Discard{Mapping: "billing", Record: &kgo.Record{Topic: "orders", Offset: int64(i)}, Reason: esm.ReasonRetriesExhausted, Dropped: true})
			time.Sleep(10 * time.Millisecond)
		}
		h.RetryScheduled(esm.Blocker{Mapping: "shipping", Err: errors.New("another one")}) // is not left out for that
		time.Sleep(2 * time.Minute)                                                        // what is left comes by itself
		lines, all := map[string]int{}, map[string]int64{}
		for _, e := range events(t, l, out) {
			name := strings.TrimSuffix(e.EventProcessorID, "/0") + e.Error.ErrorCode
			lines[name]++
			all[name] += 1 + e.Error.LeftOut
		}
		for _, name := range []string{"billingFunctionError", "billingRecordDiscarded"} {
			if lines[name] < seconds || lines[name] > seconds+3 || all[name] != seconds*100 {
				t.Errorf("%s: %d lines of %d", name, lines[name], all[name])
			}
		}
		if lines["shippingFunctionError"] != 1 || len(lines) != 3 {
			t.Errorf("%v", lines)
		}
	})
}

// TestKindsAreBounded: whatever other logs say.
func TestKindsAreBounded(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l, out := newLog(t, "WARN", nil)
		logger := slog.New(l.Handler())
		for i := range 3 * mostKinds {
			logger.Warn(fmt.Sprintf("trouble %d", i))
		}
		if n := len(l.sparse.kinds); n > mostKinds+1 {
			t.Errorf("%d kinds", n)
		}
		l.writeLeft()
		var all int64
		for _, e := range events(t, l, out) {
			all += 1 + e.Error.LeftOut
		}
		if all != 3*mostKinds {
			t.Errorf("%d of %d", all, 3*mostKinds)
		}
		time.Sleep(time.Minute)
		if l.writeLeft(); len(l.sparse.kinds) > 0 {
			t.Errorf("%d kinds are kept", len(l.sparse.kinds))
		}
	})
}

// TestEveryHook has its line, which is about the Mapping that called it.
func TestEveryHook(t *testing.T) {
	l, out := newLog(t, "INFO", nil)
	why := errors.New("why")
	tp := esm.TopicPartition{Topic: "orders", Partition: 3}
	discard := &esm.Discard{Mapping: "m", Record: &kgo.Record{Topic: "orders", Partition: 3, Offset: 7, Key: []byte("wedding"), Value: []byte("wedding")}, Attempts: 2, Reason: esm.ReasonRetriesExhausted, Err: why, DeliveryErr: errors.New("full")}
	dropped := *discard
	dropped.Dropped = true
	h := l.Hooks()
	codes := map[string]string{}
	for _, tt := range []struct {
		code, says string
		call       func()
	}{
		{"MappingHalted", "the function halted the mapping: over", func() { h.StateChanged(esm.State{Mapping: "m", Phase: esm.PhaseHalted, Reason: "over"}) }},
		{"MappingStopped", "has stopped: over", func() { h.StateChanged(esm.State{Mapping: "m", Phase: esm.PhaseStopped, Reason: "over"}) }},
		{"", "", func() { h.StateChanged(esm.State{Mapping: "m", Phase: esm.PhaseStopped}) }},
		{"ConnectionProblem", "connection to a:9092: why", func() { h.ProblemRaised(esm.Problem{Mapping: "m", With: "connection to a:9092", Err: why}) }},
		{"Problem", ": why", func() { h.ProblemRaised(esm.Problem{Mapping: "m", Err: why}) }},
		{"PartitionsLost", "the session had ended", func() { h.Revoked(esm.Rebalance{Mapping: "m", Lost: true, Partitions: []esm.TopicPartition{tp}}) }},
		{"CommitError", "1 partitions could not be committed: why", func() {
			h.Revoked(esm.Rebalance{Mapping: "m", CommitErr: why, Partitions: []esm.TopicPartition{tp}})
		}},
		{"RecordsLost", "offsets 5 to 8 of orders-3 were deleted", func() { h.RecordsLost(esm.Gap{Mapping: "m", TopicPartition: tp, From: 5, To: 9}) }},
		{"PositionReset", "orders-3 moved backward from 9 to 5: why", func() { h.PositionReset(esm.Gap{Mapping: "m", TopicPartition: tp, From: 9, To: 5, Err: why}) }},
		{"CallStuck", "an invocation of 5 records goes on after 1m0s: why", func() { h.InvokeStuck(esm.Invocation{Mapping: "m", Records: 5, Took: time.Minute, Err: why}) }},
		{"CallStuck", "a delivery of", func() { h.InvokeStuck(esm.Invocation{Mapping: "m", Delivery: true}) }},
		{"FunctionThrottled", "nothing is invoked for 5s: why", func() { h.Throttled(esm.Invocation{Mapping: "m", Pause: 5 * time.Second, Err: why}) }},
		{"FunctionThrottled", "orders/3 is held up at offset 7", func() { h.RetryScheduled(esm.Blocker{Mapping: "m", TopicPartition: tp, Offset: 7, Throttles: 3}) }},
		{"FunctionError", "why", func() { h.RetryScheduled(esm.Blocker{Mapping: "m", TopicPartition: tp, Err: why}) }},
		{"PartitionHeldUp", "orders/3 is held up", func() { h.HeldUp(esm.Blocker{Mapping: "m", TopicPartition: tp}) }},
		{"RecordDiscarded", "orders-3 offset 7 was given up after 2 attempts (" + esm.ReasonRetriesExhausted.String() + ") and delivered to its destination: why", func() { h.Discarded(discard) }},
		{"RecordDiscarded", "and dropped: why", func() { h.Discarded(&dropped) }},
		{"DestinationError", "did not take orders-3 offset 7: full", func() { h.DeliveryFailed(discard) }},
		{"CommitError", "1 partitions could not be committed: why", func() { h.Committed(esm.Commit{Mapping: "m", Failed: map[esm.TopicPartition]int64{tp: 1}, Err: why}) }},
		{"", "", func() { h.Committed(esm.Commit{Mapping: "m"}) }},
	} {
		l.sparse = sparse{}
		before := len(events(t, l, out))
		tt.call()
		var said []event
		for _, e := range events(t, l, out)[before:] {
			if e.EventType == processingEvent {
				said = append(said, e)
			}
		}
		switch {
		case tt.code == "":
			if len(said) > 0 {
				t.Errorf("it says %+v", said[0].Error)
			}
		case len(said) != 1 || said[0].Error.ErrorCode != tt.code || !strings.Contains(said[0].Error.ErrorMessage, tt.says) || said[0].EventProcessorID != "m/0":
			t.Errorf("%s, %s: it says %+v", tt.code, tt.says, said)
		}
		codes[tt.code] = tt.says
	}
	if strings.Contains(out.text.String(), "wedding") {
		t.Error("data of a record is in the log")
	}
	// A hook that is not here is none of trouble.
	quietHooks := map[string]bool{"ProblemCleared": true, "Polled": true, "MemoryLimited": true, "InvokeStarted": true, "InvokeEnded": true, "Sampled": true, "Scaled": true}
	for f := range reflect.TypeFor[esm.Hooks]().Fields() {
		if set := !reflect.ValueOf(h).FieldByIndex(f.Index).IsNil(); set == quietHooks[f.Name] {
			t.Errorf("%s is set: %v", f.Name, set)
		}
	}
}

// TestNoLineHasASecret: neither options of the client nor a user that is written before a
// broker.
func TestNoLineHasASecret(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, _ := start(t, 1)
		l, out := newLog(t, "DEBUG", nil)
		source := k.Source("orders", "shipping")
		m := esmtest.New(t, source, esmtest.NewInvoker(t).Fail(1, errors.New("no")), esm.WithHooks(l.Hooks()), esm.WithLogger(quiet))
		l.Add(m, Subject{Source: esm.Source{Brokers: []string{"billing:wedding@localhost:9092"}, Client: []kgo.Opt{kgo.ClientID("wedding")}}})
		if s := fmt.Sprintf("%+v", l.subjects); strings.Contains(s, "wedding") || len(l.subjects["shipping"].Source.Client) > 0 {
			t.Errorf("it is kept: %s", s)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		runs(t, l.Run)
		k.ProduceRecords(&kgo.Record{Topic: "orders", Key: []byte("wedding"), Value: []byte("wedding"), Headers: []kgo.RecordHeader{{Key: "wedding", Value: []byte("wedding")}}})
		time.Sleep(3 * time.Minute)
		if c := events(t, l, out)[0].Connection; c == nil || c.ConsumerGroupID != "shipping" || !slices.Equal(c.Topics, []string{"orders"}) {
			t.Errorf("%+v", c)
		}
		if n := len(events(t, l, out)); n < 4 || strings.Contains(out.text.String(), "wedding") || !strings.Contains(out.text.String(), "localhost:9092") {
			t.Errorf("%d lines: %s", n, out.text.String())
		}
	})
}

// TestALogWriterThatHangs holds up no hook, and leaves little behind.
func TestALogWriterThatHangs(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var log bytes.Buffer
		l, out := newLog(t, "WARN", func(c *LogConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		runs(t, l.Run)
		release := make(chan struct{})
		out.set(func(p []byte) (int, error) {
			<-release
			return len(p), nil
		})
		h := l.Hooks()
		long := errors.New(strings.Repeat("é", 4<<10))
		before := runtime.NumGoroutine()
		for i := range 1500 {
			began := time.Now()
			h.ProblemRaised(esm.Problem{Mapping: fmt.Sprint(i % 10), With: "group", Err: long})
			if took := time.Since(began); took > 0 {
				t.Fatalf("a hook took %s", took)
			}
			time.Sleep(200 * time.Millisecond)
		}
		for range 5 {
			began := time.Now()
			if err := l.Flush(); err == nil || !strings.Contains(err.Error(), "the Writer has not returned for") {
				t.Errorf("it says %v", err)
			}
			if took := time.Since(began); took > 11*time.Second {
				t.Errorf("a Flush took %s", took)
			}
		}
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > before+3 {
			t.Errorf("%d goroutines more", n-before)
		}
		if l.outbox.bytes > mostWaiting {
			t.Errorf("%d bytes wait", l.outbox.bytes)
		}
		if n := strings.Count(log.String(), "the system log cannot be written"); n != 1 {
			t.Errorf("it is told %d times: %.1000s", n, log.String())
		}
		out.set(nil)
		close(release)
		time.Sleep(time.Second)
		h.ProblemRaised(esm.Problem{Mapping: "last", With: "group", Err: io.EOF})
		if err := l.Flush(); err != nil && !strings.Contains(err.Error(), "lines are lost") {
			t.Error(err)
		}
		if all := events(t, l, out); all[len(all)-1].EventProcessorID != "last/0" {
			t.Errorf("%+v", all[len(all)-1])
		}
		if !strings.Contains(log.String(), "the system log can be written again") {
			t.Errorf("%.1000s", log.String())
		}
	})
}

// TestALogWriterThatFails loses lines, and says how many.
func TestALogWriterThatFails(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l, out := newLog(t, "WARN", nil)
		h := l.Hooks()
		for _, fails := range []func(p []byte) (int, error){
			func([]byte) (int, error) { return 0, io.ErrClosedPipe }, func(p []byte) (int, error) { return len(p) / 2, nil },
			func([]byte) (int, error) { panic("oh") }, nil,
		} {
			out.set(fails)
			h.ProblemRaised(esm.Problem{Mapping: "m", With: "group", Err: io.EOF})
			err := l.Flush()
			if (err == nil) != (fails == nil) || err != nil && !strings.Contains(err.Error(), "1 lines are lost") {
				t.Errorf("it says %v", err)
			}
			time.Sleep(2 * time.Second)
		}
		lines := out.lines()
		readEvent(t, lines[len(lines)-1])
	})
}

// TestManyPartitions are all written, and no line is too long.
func TestManyPartitions(t *testing.T) {
	l, out := newLog(t, "INFO", nil)
	topic := strings.Repeat("o", 249)
	var all []esm.TopicPartition
	for i := range 10_000 {
		all = append(all, esm.TopicPartition{Topic: topic, Partition: int32(i)})
	}
	l.Hooks().Assigned(esm.Rebalance{Mapping: "m", Partitions: all, Total: len(all)})
	l.Hooks().Assigned(esm.Rebalance{Mapping: "m", Total: len(all)}) // nothing has changed
	is := events(t, l, out)
	if len(is) != 1 {
		t.Fatalf("%d lines", len(is))
	}
	if c := is[0].Connection; c.AssignedCount != 10_000 || len(c.AssignedPartitions) < 200 || len(c.AssignedPartitions) > 300 || c.AssignedPartitions[9] != topic+"-9" {
		t.Errorf("%d, %d: %s", c.AssignedCount, len(c.AssignedPartitions), c.AssignedPartitions[9])
	}
}

// TestTheHandler writes what other logs say of trouble.
func TestTheHandler(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l, out := newLog(t, "DEBUG", nil)
		logger := slog.New(l.Handler())
		if logger.Enabled(t.Context(), slog.LevelInfo) || !logger.Enabled(t.Context(), slog.LevelWarn) {
			t.Error("it wants another level")
		}
		logger.Info("no trouble")
		logger.With("mapping", "a-uuid", "host", "a").Error("a mapping cannot be started", "error", errors.New("no such secret"), "function", "billing")
		logger.WithGroup("").WithGroup("g").With("a", 1).Warn("grouped", slog.Group("h", "b", 2*time.Second), slog.Group("", "c", true), "mapping", "none", "err", nasty{})
		logger.Warn("values", "v", panics{}, "err", "a text", slog.Group("", "mapping", "inline"), slog.Attr{})
		var r slog.Record // without a time
		r.Level, r.Message = slog.LevelWarn, "by hand\nin two lines"
		if err := l.Handler().Handle(t.Context(), r); err != nil {
			t.Error(err)
		}
		want := []struct{ id, code, text string }{
			{"a-uuid/0", "Error", "a mapping cannot be started: no such secret (host=a, function=billing)"},
			{"", "Warning", "grouped (g.a=1, g.h.b=2s, g.c=true, g.mapping=none, g.err=esmemf.nasty, whose Error method panicked: oh)"},
			{"inline/0", "Warning", "values: a text (v=LogValue panicked"},
			{"", "Warning", "by hand\nin two lines"},
		}
		all := events(t, l, out)
		if len(all) != len(want) {
			t.Fatalf("%d lines: %q", len(all), out.lines())
		}
		for i, w := range want {
			if e := all[i]; e.EventProcessorID != w.id || e.Error.ErrorCode != w.code || !strings.HasPrefix(e.Error.ErrorMessage, w.text) || (e.ResourceARN == "") != (w.id == "") {
				t.Errorf("%+v, %+v", e, e.Error)
			}
		}
	})
}

type nasty struct{}

func (nasty) Error() string { panic("oh") }

type panics struct{}

func (panics) LogValue() slog.Value { panic("oh") }

// TestMappingsThatStopped are forgotten.
func TestMappingsThatStopped(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l, _ := newLog(t, "DEBUG", nil)
		_, m := start(t, 1, esm.WithHooks(l.Hooks()))
		l.Add(m, Subject{})
		_, other := start(t, 1, esm.WithName("other"))
		time.Sleep(time.Minute)
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Add(other, Subject{})
		l.Add(m, Subject{})
		if len(l.mappings) != 1 || len(l.subjects) != 1 || len(l.assigned) > 0 {
			t.Errorf("%d, %d, %d", len(l.mappings), len(l.subjects), len(l.assigned))
		}
	})
}

// TestWhatALogNeeds is said when it is made.
func TestWhatALogNeeds(t *testing.T) {
	var none *sheet
	for says, c := range map[string]LogConfig{
		"LogConfig.Writer is required": {Level: "INFO"}, "LogConfig.Writer is required ": {Level: "INFO", Writer: none},
		`LogConfig.Level "" must be DEBUG, INFO or WARN`: {Writer: &sheet{}}, `LogConfig.Level "warn" must be`: {Writer: &sheet{}, Level: "warn"},
		"LogConfig.Processor -1": {Writer: &sheet{}, Level: "INFO", Processor: -1},
	} {
		if _, err := NewLog(c); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(says)) {
			t.Errorf("it says %v, want %s", err, says)
		}
	}
}

// TestAFlushWaitsForItsOwnLines only, however many come behind them.
func TestAFlushWaitsForItsOwnLines(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l, out := newLog(t, "WARN", nil)
		out.set(func(p []byte) (int, error) {
			time.Sleep(100 * time.Millisecond)
			return len(p), nil
		})
		var over atomic.Bool
		go func() {
			for i := 0; !over.Load(); i++ {
				l.Hooks().ProblemRaised(esm.Problem{Mapping: fmt.Sprint(i), With: "group", Err: io.EOF})
				time.Sleep(90 * time.Millisecond)
			}
		}()
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := l.outbox.wait(ctx); err != nil {
			t.Error(err)
		}
		over.Store(true)
		time.Sleep(time.Minute)
	})
}
