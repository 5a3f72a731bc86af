package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

type record struct {
	partition int32
	offset    int64
}

func is(r record) (int32, int64, []byte) { return r.partition, r.offset, nil }

func records(partition int32, offsets ...int64) (rs []record) {
	for _, o := range offsets {
		rs = append(rs, record{partition, o})
	}
	return rs
}

func TestCheckCountsWhatComesTwiceAndWhatComesLate(t *testing.T) {
	for _, test := range []struct {
		name                 string
		calls                [][]record
		records, twice, late int64
	}{
		{"in order", [][]record{records(0, 0, 1, 2), records(0, 3)}, 4, 0, 0},
		{"two partitions in one call", [][]record{append(records(0, 0, 1), records(1, 0, 1)...), records(0, 2)}, 5, 0, 0},
		{"a gap is not out of order", [][]record{records(0, 0, 5), records(0, 9)}, 3, 0, 0},
		{"a gap that is filled later is", [][]record{records(0, 0, 5), records(0, 3, 4)}, 4, 0, 2},
		{"twice is not out of order too", [][]record{records(0, 0, 1, 2), records(0, 1, 2, 3)}, 4, 2, 0},
		{"a large offset", [][]record{records(1, 1_000_000), records(1, 1_000_001, 1_000_001)}, 2, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := New(Spec{Partitions: 2, Poison: -1}, &bytes.Buffer{})
			for _, c := range test.calls {
				if err := Call(j, c, is); err != nil {
					t.Fatal(err)
				}
			}
			j.end()
			r := j.Report()
			if r.Records != test.records || r.Duplicates != test.twice || r.OutOfOrder != test.late || r.Calls != int64(len(test.calls)) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestPoisonFailsItsWholeCallAndNoOther(t *testing.T) {
	j := New(Spec{Partitions: 1, Poison: 2}, &bytes.Buffer{})
	if err := Call(j, records(0, 0, 1, 2), is); !errors.Is(err, ErrPoison) {
		t.Fatal(err)
	}
	if err := Call(j, records(0, 0, 1), is); err != nil {
		t.Fatal(err)
	}
	j.end()
	if r := j.Report(); r.Records != 2 || r.FailedCalls != 1 || r.Calls != 2 || r.Duplicates != 0 {
		t.Errorf("%+v", r)
	}
}

func TestRunEndsWhenAllIsHandled(t *testing.T) {
	var out bytes.Buffer
	j := New(Spec{Partitions: 1, Poison: -1, Records: 3, Detail: true}, &out)
	_ = Call(j, records(0, 0, 1), is)
	select {
	case <-j.Done():
		t.Fatal("it is over")
	default:
	}
	_ = Call(j, records(0, 1, 2), is)
	<-j.Done()
	r := j.Report()
	if r.Cut || r.Records != 3 || len(r.Partitions) != 1 || r.Partitions[0].Handled.Len() != 3 {
		t.Errorf("%+v", r)
	}
	if out.String() != Started+"\n" {
		t.Errorf("wrote %q", out.String())
	}
	var back Report
	if err := json.Unmarshal(r.line(), &back); err != nil {
		t.Fatal(err)
	}
	if h := back.Partitions[0].Handled; !h.Has(0) || !h.Has(2) || h.Has(3) || h.Has(1000) {
		t.Errorf("%v", h)
	}
}

func TestSecondsFromTheAssignmentBeginWithTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		j := New(Spec{Partitions: 1, Poison: -1, Records: 2, Echo: true}, &out)
		j.Assigned()
		time.Sleep(20 * time.Millisecond)
		_ = Call(j, records(0, 0), is)
		j.Assigned() // again, which does not count
		_ = Call(j, records(0, 1), is)
		if r := j.Report(); r.AssignedSeconds < r.Seconds+0.02 {
			t.Errorf("%+v", r)
		}
		if out.String() != Started+"\n"+Handled+"\n"+Handled+"\n" {
			t.Errorf("wrote %q", out.String())
		}
		j = New(Spec{Partitions: 1, Poison: -1, Records: 1}, &out)
		_ = Call(j, records(0, 0), is)
		if r := j.Report(); r.AssignedSeconds != 0 {
			t.Errorf("nobody was assigned anything: %+v", r)
		}
	})
}

func TestSetsUnite(t *testing.T) {
	a, b := Set{1, 2}, Set{3}
	if u := a.Union(b); u.Len() != 3 || !u.Has(0) || !u.Has(1) || !u.Has(65) || a[0] != 1 {
		t.Errorf("%v", u)
	}
}

func TestTryGoesOnUntilItSucceedsOrIsOver(t *testing.T) {
	j := New(Spec{Retry: time.Microsecond}, &bytes.Buffer{})
	tries := 0
	if !j.Try(t.Context(), func() error {
		if tries++; tries < 3 {
			return ErrPoison
		}
		return nil
	}) || tries != 3 {
		t.Errorf("%d tries", tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j.Retry = time.Hour
	if j.Try(ctx, func() error { return ErrPoison }) {
		t.Error("it did not succeed")
	}
}

func TestSpecGoesThroughFlags(t *testing.T) {
	s := Spec{
		Brokers: "a:1,b:2", Topic: "t", Group: "g", Mode: "m", Run: "A", Records: 7, Partitions: 3, Batch: 10, Window: time.Second,
		Function: time.Millisecond, Poison: 5, Retry: time.Minute, Retries: 2, Cut: time.Hour, Detail: true, Latency: true, Echo: true, Budget: 1 << 20,
		CPUProfile: "c", HeapProfile: "h",
	}
	var back Spec
	f := flag.NewFlagSet("", flag.ContinueOnError)
	back.Flags(f)
	if err := f.Parse(s.Args()); err != nil {
		t.Fatal(err)
	}
	if back != s {
		t.Errorf("%+v\n%+v", back, s)
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, test := range []struct {
		of      []float64
		q, want float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.99, 7}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {[]float64{1, 2, 3}, 0.5, 2},
	} {
		if got := Quantile(test.of, test.q); got != test.want {
			t.Errorf("Quantile(%d values, %v) = %v", len(test.of), test.q, got)
		}
	}
}

func TestGatherFillsBatches(t *testing.T) {
	in := make(chan int, 7)
	for i := range 7 {
		in <- i
	}
	close(in)
	var got []int
	Gather(t.Context(), in, 3, time.Hour, func(batch []int) bool {
		got = append(got, len(batch))
		return true
	})
	if !slices.Equal(got, []int{3, 3, 1}) {
		t.Errorf("batches of %v", got)
	}
}

func TestGatherWithoutAWindowTakesWhatIsThere(t *testing.T) {
	in := make(chan int, 2)
	in <- 1
	in <- 2
	var got []int
	Gather(t.Context(), in, 3, 0, func(batch []int) bool {
		got = batch
		return false
	})
	if !slices.Equal(got, []int{1, 2}) {
		t.Errorf("got %v", got)
	}
}

func TestGatherRunsCutsRunsIntoBatches(t *testing.T) {
	in := make(chan []int, 3)
	in <- []int{1, 2, 3, 4}
	in <- []int{5}
	in <- []int{6, 7}
	close(in)
	var got [][]int
	GatherRuns(t.Context(), in, 3, time.Hour, func(batch []int) bool {
		got = append(got, batch)
		return true
	})
	if len(got) != 3 || !slices.Equal(slices.Concat(got...), []int{1, 2, 3, 4, 5, 6, 7}) || len(got[0]) != 3 || len(got[1]) != 3 {
		t.Errorf("got %v", got)
	}
}

func TestGatherRunsDoesNotKeepARecordLongerThanItsWindow(t *testing.T) {
	in := make(chan []int, 1)
	in <- []int{1}
	calls := 0
	GatherRuns(t.Context(), in, 3, time.Millisecond, func([]int) bool {
		calls++
		return false
	})
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}
