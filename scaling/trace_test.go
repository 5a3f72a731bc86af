package scaling_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

var began = time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC)

// decision is one with something in each field, at so many seconds.
func decision(mapping string, second int) scaling.Decision {
	at := began.Add(time.Duration(second) * time.Second)
	return scaling.Decision{
		Mapping: mapping, From: 1, To: 2, Again: time.Second, Short: scaling.MaxPollers,
		Reason: scaling.Reason{Cause: scaling.Backlog, Lag: 7, Partitions: 1, Wanted: 3, Allowed: 2, Limit: scaling.Latency, SlotRate: 0.5, CallTime: time.Second, BestTime: 1, BusySlots: 5},
		Sample: scaling.Sample{
			At: at, Lanes: []scaling.Lane{{Topic: "orders", Partition: 3, Lag: 7, End: 9, Waiting: 1, Backoff: true}, {Topic: "orders", Lag: -1, End: -1}},
			Pollers: 1, Concurrency: 5, Least: 1, Most: 9, ByteRate: scaling.Unlimited, MaxConcurrency: scaling.Unlimited, Busy: 1, Slots: 5, Waiting: 1,
			BatchTime: time.Millisecond, BatchRecords: 99.5, BatchBytes: 1e5, Completed: 12, Settled: int64(second), Throttled: 1, Failed: 2,
			Round: 3, RoundTime: time.Second, RoundSpread: time.Millisecond, BusyTime: time.Minute, MemoryLimited: true, MemoryBudget: 1, Idle: true,
		},
	}
}

func none(t *testing.T) func(error) {
	return func(err error) { t.Errorf("the trace failed: %v", err) }
}

func read(trace iter.Seq2[scaling.Decision, error]) (all []scaling.Decision, err error) {
	for d, e := range trace {
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		all = append(all, d)
	}
	return all, err
}

func TestRecordedTraceIsReadAsItWas(t *testing.T) {
	var f bytes.Buffer
	record := scaling.Record(&f, none(t))
	var want []scaling.Decision
	for i := range 3 {
		for _, mapping := range []string{"billing", "mail"} { // whose times are their own
			d := decision(mapping, i)
			record(d)
			want = append(want, d)
		}
		record(scaling.Decision{From: 2, To: 1, Reason: scaling.Reason{Cause: scaling.Assignment}}) // has no sample
	}
	f.WriteString("\n") // as editors do
	if n := strings.Count(f.String(), "\n"); n != 10 {
		t.Errorf("%d lines", n)
	}
	got, err := read(scaling.ReadTrace(&f))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", err, got, want)
	}
}

// TestEveryFieldIsRecorded: a new field must be in the trace, and in decision.
func TestEveryFieldIsRecorded(t *testing.T) {
	d := decision("billing", 0)
	for _, v := range []any{d, d.Sample, d.Sample.Lanes[0]} {
		value := reflect.ValueOf(v)
		for i := range value.NumField() {
			if value.Field(i).IsZero() && value.Type().Field(i).Name != "Settled" {
				t.Errorf("decision has no %s.%s", value.Type(), value.Type().Field(i).Name)
			}
		}
	}
}

// A disk takes so many writes.
type disk struct {
	writes int
	says   func(p []byte) (int, error)
	got    bytes.Buffer
}

func (d *disk) Write(p []byte) (int, error) {
	if d.writes--; d.writes < 0 {
		return d.says(p)
	}
	return d.got.Write(p)
}

// TestWriterThatFailsEndsTheTrace: it is told once, and nothing comes after a hole.
func TestWriterThatFailsEndsTheTrace(t *testing.T) {
	full := errors.New("no space left on device")
	for name, says := range map[string]func(p []byte) (int, error){
		"no space left on device": func([]byte) (int, error) { return 0, full },
		"short write":             func(p []byte) (int, error) { return len(p) / 2, nil },
	} {
		var told []error
		w := &disk{writes: 2, says: says}
		record := scaling.Record(w, func(err error) { told = append(told, err) })
		for i := range 5 {
			record(decision("billing", i))
			if i == 3 {
				w.writes = 100 // it would go again
			}
		}
		if len(told) != 1 || !strings.Contains(told[0].Error(), name) || !strings.Contains(told[0].Error(), "2026-11-01T12:00:02.000000005Z") {
			t.Errorf("%s: told %v", name, told)
		}
		if got, err := read(scaling.ReadTrace(&w.got)); err != nil || len(got) != 2 {
			t.Errorf("%s: %d decisions, %v", name, len(got), err)
		}
	}
}

func TestWriterThatPanicsEndsTheTrace(t *testing.T) {
	w := &disk{says: func([]byte) (int, error) { panic("a bug") }}
	record := scaling.Record(w, func(error) {})
	try := func() (said any) {
		defer func() { said = recover() }()
		record(decision("billing", 0))
		return nil
	}
	if said := try(); said != "a bug" {
		t.Errorf("it panics with %v", said)
	}
	w.writes = 9
	if said := try(); said != nil || w.got.Len() > 0 {
		t.Errorf("after that it says %v and writes %q", said, &w.got)
	}
}

// TestWhatIsNoNumberInJSONIsTold: it must not break the Mapping.
func TestWhatIsNoNumberInJSONIsTold(t *testing.T) {
	var told error
	d := decision("billing", 0)
	d.Sample.BatchRecords = math.NaN()
	scaling.Record(io.Discard, func(err error) { told = err })(d)
	if told == nil || !strings.Contains(told.Error(), "NaN") {
		t.Errorf("told %v", told)
	}
}

func TestSeveralMappingsRecordIntoOneFile(t *testing.T) {
	var f bytes.Buffer
	record := scaling.Record(&f, none(t))
	var all sync.WaitGroup
	for _, mapping := range []string{"a", "b", "c"} {
		all.Go(func() {
			for i := range 50 {
				record(decision(mapping, i))
			}
		})
	}
	all.Wait()
	if got, err := read(scaling.ReadTrace(&f)); err != nil || len(got) != 150 {
		t.Errorf("%d decisions, %v", len(got), err)
	}
}

func TestRecordNeedsItsArguments(t *testing.T) {
	for name, f := range map[string]func(){
		"writer": func() { scaling.Record(nil, func(error) {}) },
		"failed": func() { scaling.Record(io.Discard, nil) },
	} {
		func() {
			defer func() {
				if said := recover(); said == nil {
					t.Errorf("without the %s it does not panic", name)
				}
			}()
			f()
		}()
	}
}

func lines(ds ...scaling.Decision) string {
	var f bytes.Buffer
	for _, d := range ds {
		_ = json.NewEncoder(&f).Encode(d)
	}
	return f.String()
}

func TestReaderSaysWhatIsWrongAndWhere(t *testing.T) {
	good := lines(decision("billing", 0))
	spoilt := func(spoil func(*scaling.Decision)) string {
		d := decision("billing", 1)
		spoil(&d)
		return good + lines(d)
	}
	for _, tt := range []struct {
		name, trace, want string
		before            int // decisions that are read
	}{
		{"no JSON", good + "\nhello\n" + good, "line 3 of the trace: invalid character 'h'", 1},
		{"another document", good + "[1]\n", "line 2 of the trace: json: cannot unmarshal array", 1},
		{"two on a line", good + strings.TrimSpace(good) + good, "line 2 of the trace: invalid character '{' after top-level value", 1},
		{"a cause that is none", good + `{"Reason":{"Cause":"mood"}}` + "\n", `line 2 of the trace: scaling: "mood" is no cause`, 1},
		{"the end is missing", good + good[:len(good)/2], "line 2 of the trace: unexpected EOF", 1},
		{"back in time", lines(decision("a", 5), decision("b", 3), decision("a", 4)), "line 3 of the trace: its time, 2026-11-01T12:00:04.000000005Z, is before 2026-11-01T12:00:05.000000005Z", 2},
		{"pollers", spoilt(func(d *scaling.Decision) { d.Sample.Pollers = -1 }), "line 2 of the trace: field Sample.Pollers is -1, and must be 0 or more", 1},
		{"bounds", spoilt(func(d *scaling.Decision) { d.Sample.Least = 10 }), "Sample.Most is 9, and must be 10 or more", 1},
		{"concurrency", spoilt(func(d *scaling.Decision) { d.Sample.Concurrency = 0 }), "Sample.Concurrency is 0, and must be 1 or more", 1},
		{"byte rate", spoilt(func(d *scaling.Decision) { d.Sample.ByteRate = -2 }), "Sample.ByteRate is -2, and must be -1 or more", 1},
		{"lag", spoilt(func(d *scaling.Decision) { d.Sample.Lanes[1].Lag = -2 }), "Sample.Lanes[1] is of partition 0, with a lag of -2", 1},
		{"records", spoilt(func(d *scaling.Decision) { d.Sample.BatchRecords = -1 }), "Sample.BatchRecords is -1", 1},
		{"to", spoilt(func(d *scaling.Decision) { d.To = -1 }), "it goes from 1 pollers to -1", 1},
		{"a line without end", good + `{"Mapping":"` + strings.Repeat("x", 17<<20), "line 2 of the trace: it has more than 16777216 bytes", 1},
	} {
		got, err := read(scaling.ReadTrace(strings.NewReader(tt.trace)))
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(got) != tt.before {
			t.Errorf("%s: %d decisions, and %.300v; want %q", tt.name, len(got), err, tt.want)
		}
	}
	_, err := read(scaling.ReadTrace(strings.NewReader(good + good[:len(good)/2])))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v is not io.ErrUnexpectedEOF", err)
	}
	// The last line may have lost its end alone.
	if got, err := read(scaling.ReadTrace(strings.NewReader(good + strings.TrimSpace(good)))); err != nil || len(got) != 2 {
		t.Errorf("%d decisions, %v", len(got), err)
	}
	broken := errors.New("the disk is gone")
	if _, err := read(scaling.ReadTrace(io.MultiReader(strings.NewReader(good), &failing{broken}))); !errors.Is(err, broken) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestReaderCanBeLeft(t *testing.T) {
	n := 0
	for range scaling.ReadTrace(strings.NewReader(lines(decision("a", 0), decision("a", 1), decision("a", 2)))) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d decisions", n)
	}
}

// FuzzReadTrace: whatever it reads, it ends, and what it lets through can be decided
// on and is read again as it was.
func FuzzReadTrace(f *testing.F) {
	f.Add([]byte(lines(decision("a", 0), decision("b", 0), decision("a", 1))))
	f.Add([]byte("{}\n\n{\"Sample\":{\"At\":\"2026-01-01T00:00:00Z\",\"Concurrency\":1}}"))
	f.Add([]byte(`{"Sample":{"At":"2026-01-01T00:00:00Z","Concurrency":1,"Most":3,"BatchRecords":1e300,"BatchBytes":1e308,"BatchTime":1,"Lanes":[{"Lag":9223372036854775807,"End":9223372036854775807}]}}`))
	f.Fuzz(func(t *testing.T, trace []byte) {
		var again bytes.Buffer
		record := scaling.Record(&again, none(t))
		scalers := map[string]*scaling.Scaler{}
		var all []scaling.Decision
		for d, err := range scaling.ReadTrace(bytes.NewReader(trace)) {
			if err != nil {
				if want := "scaling: line "; !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%v", err)
				}
				break
			}
			s := scalers[d.Mapping]
			if s == nil {
				s = scaling.New(scaling.Provisioned)
				scalers[d.Mapping] = s
			}
			if to := s.Decide(d.Sample).To; to < d.Sample.Least || to > d.Sample.Most {
				t.Errorf("%d pollers, of %d to %d", to, d.Sample.Least, d.Sample.Most)
			}
			record(d)
			all = append(all, d)
		}
		got, err := read(scaling.ReadTrace(&again))
		if err != nil || len(got) != len(all) {
			t.Fatalf("%d of %d decisions are read again, %v", len(got), len(all), err)
		}
		for i := range got {
			if fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", all[i]) && !strings.Contains(fmt.Sprint(all[i]), "\ufffd") {
				t.Errorf("%+v is read again as %+v", all[i], got[i])
			}
		}
	})
}
