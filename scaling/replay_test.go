package scaling

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"iter"
	"os"
	"reflect"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "record testdata/trace.jsonl anew")

// record is a trace with a bit of everything: a backlog, a limit that is too
// small, throttles, an unknown lag, a pause, a quiet minute.
func record() (trace []Decision) {
	w := newWorld(24, 20_000)
	w.concurrency = 1
	w.each = func(d Decision) { trace = append(trace, d) }
	w.seconds(3)
	w.arrive = 700 // a slot does 1,000
	w.seconds(10)
	w.throttled++
	w.seconds(5)
	w.unknown = true
	w.seconds(2)
	w.unknown, w.most = false, 9
	w.seconds(125)
	w.idle = true
	w.seconds(2)
	w.idle, w.most, w.arrive = false, 24, 0
	for i := range w.lag {
		w.lag[i] = 0
	}
	w.seconds(65)
	return trace
}

func samples(trace []Decision) iter.Seq[Sample] {
	return func(yield func(Sample) bool) {
		for _, d := range trace {
			if !yield(d.Sample) {
				return
			}
		}
	}
}

// TestRecordedTraceIsDecidedAsBefore: what was decided by the version that
// recorded it. A change of it is a change of how Mappings scale.
func TestRecordedTraceIsDecidedAsBefore(t *testing.T) {
	const file = "testdata/trace.jsonl"
	if *update {
		var out bytes.Buffer
		for _, d := range record() {
			if err := json.NewEncoder(&out).Encode(d); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var trace []Decision
	for in := json.NewDecoder(bufio.NewReader(f)); in.More(); {
		var d Decision
		if err := in.Decode(&d); err != nil {
			t.Fatal(err)
		}
		trace = append(trace, d)
	}
	n, numbers, short := 0, map[int]bool{}, NoLimit
	for d := range Replay(samples(trace), Provisioned) {
		if want := trace[n]; !reflect.DeepEqual(d, want) {
			t.Fatalf("decision %d: %d to %d (%s, %s), was %d to %d (%s, %s)", n, d.From, d.To, d.Reason, d.Short, want.From, want.To, want.Reason, want.Short)
		}
		n++
		numbers[d.To] = true
		short = max(short, d.Short)
	}
	if n < 200 || len(numbers) < 4 || short != MaxPollers {
		t.Errorf("%d decisions, %d numbers, %s: the trace is too easy", n, len(numbers), short)
	}
}

// TestReplayInAnotherMode decides otherwise, and stops when it is told to.
func TestReplayInAnotherMode(t *testing.T) {
	trace, n := record(), 0
	for d := range Replay(samples(trace), OnDemand) {
		if n++; n == 10 {
			break
		}
		if d.To != trace[n-1].From {
			t.Fatalf("on-demand: %d to %d after %d seconds", d.From, d.To, n)
		}
	}
	if n != 10 {
		t.Errorf("%d decisions of 10", n)
	}
}

func TestLimitsAreReadAsTheyAreWritten(t *testing.T) {
	for l := NoLimit; l <= MaxConcurrency; l++ {
		text, _ := l.MarshalText()
		var back Limit
		if err := back.UnmarshalText(text); err != nil || back != l {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	var l Limit
	if err := l.UnmarshalText([]byte("memory")); err == nil {
		t.Error("an unknown limit was read")
	}
	if got := Limit(-1).String() + Limit(9).String(); got != "Limit(-1)Limit(9)" {
		t.Error(got)
	}
}

// FuzzDecide: whatever samples say, what is decided is within their bounds and has
// a reason.
func FuzzDecide(f *testing.F) {
	for _, d := range record()[:20] {
		text, err := json.Marshal([]Sample{d.Sample})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Add([]byte(`[{"Lanes":[{"Lag":9223372036854775807,"End":1}],"BatchTime":1,"BatchRecords":1e308,"BatchBytes":-1e308,"ByteRate":0,"Completed":99}]`), false)
	f.Fuzz(func(t *testing.T, text []byte, onDemand bool) {
		var in []Sample
		if json.Unmarshal(text, &in) != nil {
			return
		}
		m := Provisioned
		if onDemand {
			m = OnDemand
		}
		s := New(m)
		for _, in := range in {
			for range 3 {
				d := s.Decide(in)
				if d.Reason.Cause == NoCause || in.Least <= in.Most && (d.To < in.Least || d.To > in.Most) {
					t.Fatalf("%d of %d to %d: %q", d.To, in.Least, in.Most, d.Reason)
				}
				in.At = in.At.Add(time.Minute)
			}
		}
	})
}
