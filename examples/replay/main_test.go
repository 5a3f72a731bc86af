package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
	"github.com/seed429fd032/esm/internal/scalesim"
	"github.com/seed429fd032/esm/scaling"
)

func TestTraceMayBeNamedFirst(t *testing.T) {
	for args, want := range map[string]string{
		"t.jsonl -min 3": "-trace t.jsonl -min 3",
		"-min 3":         "-min 3",
		"":               "",
	} {
		if got := strings.Join(arguments(strings.Fields(args)), " "); got != want {
			t.Errorf("%q: %q", args, got)
		}
	}
}

// TestItMakesATraceItself, and says what more pollers would have done.
func TestItMakesATraceItself(t *testing.T) {
	dir := t.TempDir()
	var errs bytes.Buffer
	var a advice
	code := demotest.JSON(t, t.Context(), "replay", new(settings), &errs, &a,
		"-records", "10000", "-max", "20", "-lag", "1s", "-price", "0.185", "-plot", filepath.Join(dir, "r.svg"), "-save", filepath.Join(dir, "t.jsonl"))
	if code != 0 || a.Trace.Partitions != partitions || a.Trace.Batch != 100 {
		t.Fatalf("exit code %d, %+v\n%s", code, a, &errs)
	}
	if n := a.Trace.Lag + a.Trace.Records; n < 5000 || n > 10_000 { // the rest was settled before the first sample
		t.Errorf("%d records", n)
	}
	if a.Replayed.SettledSeconds == nil || a.Asked.SettledSeconds == nil || *a.Asked.SettledSeconds > *a.Replayed.SettledSeconds*0.75 {
		t.Errorf("%+v and %+v", a.Replayed, a.Asked)
	}
	if (a.Proposed == nil) == (a.Fastest == nil) || a.Asked.Cost == nil {
		t.Errorf("%+v", a)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "r.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for in := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := in.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	demotest.Says(t, "replay", new(settings), "-trace "+filepath.Join(dir, "t.jsonl")+" -min 2 -max 20", "recorded", "simulated", "asked for", "EPU-hours", "20 partitions")
}

func TestWrongFlagsSayWhatToDo(t *testing.T) {
	demotest.Refuses(t, "replay", func() demo.Program { return new(settings) }, map[string]string{
		"-min 5 -max 4":          "-max is 4, and must be at least the minimum of pollers, which is 5",
		"-min 0":                 "must be 1 to 200",
		"-max 2001":              "must be 1 to 2,000",
		"-lag -1s":               "must be 0 to 24h",
		"-price -1":              "-price is -1, and must be 0 to 1,000,000",
		"-price NaN":             "-price is NaN",
		"-plot nowhere/x.svg":    "must be a file in a directory that is there",
		"-save nowhere/x.jsonl":  "must be a file in a directory that is there",
		"-trace x -save y":       "are for a trace that is made here",
		"-trace x -records 5000": "are for a trace that is made here",
		"-min 3 trace.jsonl":     `"trace.jsonl" is not a flag`,
		"-records 1":             "must be 1,000 to 10,000,000",
	})
}

// recordOf is the trace of a simulated Mapping.
func recordOf(t *testing.T, c scalesim.Config) *bytes.Buffer {
	t.Helper()
	var f bytes.Buffer
	record := scaling.Record(&f, func(err error) { t.Error(err) })
	c.Watch = func(in scaling.Sample, a scalesim.Answer) {
		record(scaling.Decision{Sample: in, From: in.Pollers, To: min(max(a.Pollers, in.Least), in.Most), Reason: a.Why})
	}
	scalesim.Run(c, scalesim.Scaler(scaling.Provisioned))
	return &f
}

// loaded is a Mapping with a backlog and a load that changes, and 3 pollers at most.
func loaded() scalesim.Config {
	return scalesim.Config{
		Trace: scalesim.Trace{
			Partitions: 30, Bursts: append(scalesim.Backlog(30, 60_000), scalesim.BurstAt(90*time.Second, 30, 40_000)...), Length: 3 * time.Minute,
			Rate: func(p, s int) float64 { return float64((p+s/10)%7) * 5 },
		},
		Function: scalesim.Function{Call: 200 * time.Millisecond, Noise: 0.02}, Settings: scalesim.Settings{Max: 3},
	}
}

// TestReplayIsWhatWouldHaveBeen: what a replay with other bounds says is what a run
// with these bounds does.
func TestReplayIsWhatWouldHaveBeen(t *testing.T) {
	m, err := readModel(recordOf(t, loaded()), "", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []bounds{{1, 3}, {1, 30}, {5, 6}} {
		c := loaded()
		c.Settings.Min, c.Settings.Max = b.Min, b.Max
		want := scalesim.Run(c, scalesim.Scaler(scaling.Provisioned))
		got := m.simulate(b, 0)
		for name, n := range map[string][2]float64{
			"all settled":  {*got.SettledSeconds, want.Drained.Seconds()},
			"p50":          {*got.LagP50Seconds, want.Lag.Quantile(0.5).Seconds()},
			"p99":          {*got.LagP99Seconds, want.Lag.Quantile(0.99).Seconds()},
			"poller-hours": {got.PollerHours, want.PollerTime.Hours()},
			"records":      {float64(got.run.Settled), float64(want.Settled)},
		} {
			// Pollers are whole: one more or less of three, for a while, is a fifth.
			if math.Abs(n[0]-n[1]) > (0.15+0.05*boolean(name == "poller-hours"))*n[1]+0.3*boolean(name == "p50") {
				t.Errorf("%+v: %s is %v, and would have been %v", b, name, n[0], n[1])
			}
		}
	}
	f := m.facts()
	if math.Abs(f.CallMillis-200) > 10 || f.Partitions != 30 || f.Batch != 100 || f.Lag+f.Records < 110_000 {
		t.Errorf("%+v", f)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// TestProposalIsTheCheapestThatDoes.
func TestProposalIsTheCheapestThatDoes(t *testing.T) {
	m, err := readModel(recordOf(t, loaded()), "", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, lag := range []time.Duration{20 * time.Second, 8 * time.Second} {
		best, fastest, err := m.propose(t.Context(), lag, 0.185)
		if err != nil || best == nil || fastest != nil {
			t.Fatalf("%v: %+v, %+v, %v", lag, best, fastest, err)
		}
		if *best.LagP99Seconds > lag.Seconds() {
			t.Errorf("%v: %+v", lag, best)
		}
		ns := candidates(30)
		if i := slices.Index(ns, best.Max); i > 0 && ns[i-1] >= best.Min {
			if o := m.simulate(bounds{best.Min, ns[i-1]}, 0); *o.LagP99Seconds <= lag.Seconds() {
				t.Errorf("%v: a maximum of %d does, too", lag, ns[i-1])
			}
		}
		if best.Cost == nil || math.Abs(*best.Cost-0.185*best.EPUHours) > 1e-9 {
			t.Errorf("cost %v", best.Cost)
		}
	}
	best, fastest, err := m.propose(t.Context(), 10*time.Millisecond, 0)
	if err != nil || best != nil || fastest == nil {
		t.Errorf("a time lag of less than a call: %+v, %+v, %v", best, fastest, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := m.propose(ctx, time.Second, 0); err == nil {
		t.Error("it is not interrupted")
	}
}

func TestCandidates(t *testing.T) {
	for n, want := range map[int]string{1: "[1]", 2: "[1 2]", 6: "[1 2 3 5 6]", 20: "[1 2 3 5 7 10 20]", 100: "[1 2 3 5 7 10 20 30 50 70 100]"} {
		if got := fmt.Sprint(candidates(n)); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if ns := candidates(50_000); ns[len(ns)-1] != 2000 {
		t.Errorf("%v", ns)
	}
}

// TestEPUs: ten pollers or 20 MB a second.
func TestEPUs(t *testing.T) {
	m := &model{recordBytes: 1000}
	series := func(pollers int, perSecond int64) (all []scalesim.Point) {
		for i := range int64(3601) {
			all = append(all, scalesim.Point{At: time.Duration(i) * time.Second, Pollers: pollers, Settled: i * perSecond})
		}
		return all
	}
	for _, tt := range []struct {
		pollers   int
		perSecond int64
		want      float64
	}{{1, 0, 1}, {10, 20_000, 1}, {11, 0, 2}, {1, 20_001, 2}, {100, 50_000, 10}} {
		if got := m.epuHours(series(tt.pollers, tt.perSecond)); math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("%d pollers, %d records a second: %v EPU-hours", tt.pollers, tt.perSecond, got)
		}
	}
}

// TestPartitionsThatWereAway: what others handled is not replayed, and what was there
// when a partition came is.
func TestPartitionsThatWereAway(t *testing.T) {
	c := loaded()
	c.Trace.Bursts, c.Trace.Rate = nil, func(int, int) float64 { return 20 }
	some := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	c.Away = []scalesim.Away{
		{Span: scalesim.Span{From: time.Minute, To: 100 * time.Second}, Partitions: some, Handled: true},
		{Span: scalesim.Span{From: 100 * time.Second, To: 120 * time.Second}, Partitions: some},
	}
	m, err := readModel(recordOf(t, c), "", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	want := scalesim.Run(c, scalesim.Scaler(scaling.Provisioned))
	got := m.simulate(bounds{1, 3}, 0)
	if math.Abs(float64(got.run.Settled-want.Settled)) > 0.02*float64(want.Settled) {
		t.Errorf("%d records are replayed, and there were %d", got.run.Settled, want.Settled)
	}
}

func TestTracesThatSayNothing(t *testing.T) {
	sample := func(second int, mapping string, completed int64) scaling.Decision {
		return scaling.Decision{Mapping: mapping, To: 1, Sample: scaling.Sample{
			At: time.Unix(int64(second), 0), Pollers: 1, Concurrency: 1, Most: 1, Lanes: []scaling.Lane{{Topic: "t", Lag: 1, End: 1}},
			Completed: completed, BatchTime: time.Second, BatchRecords: 100, BatchBytes: 100,
		}}
	}
	lines := func(all ...scaling.Decision) (s string) {
		for _, d := range all {
			line, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			s += string(line) + "\n"
		}
		return s
	}
	bare := sample(2, "a", 1)
	bare.Sample.Lanes = nil
	first := bare
	first.Sample.At = time.Unix(1, 0)
	for _, tt := range []struct{ trace, mapping, want string }{
		{"", "", "the trace has 0 decisions"},
		{lines(sample(1, "a", 1)), "", "the trace has 1 decisions"},
		{lines(sample(1, "a", 1), sample(2, "b", 1)), "", `several Mappings, ["a" "b"]: say which with -mapping`},
		{lines(sample(1, "a", 1), sample(2, "a", 1)), "c", `nothing of the Mapping "c", but of ["a"]`},
		{lines(sample(1, "a", 0), sample(2, "a", 0)), "", "no call has ended"},
		{lines(first, bare), "", "has no partitions"},
		{"hello\n", "", "line 1 of the trace"},
	} {
		if _, err := readModel(strings.NewReader(tt.trace), tt.mapping, t.Output()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.20q: %v, want %q", tt.trace, err, tt.want)
		}
	}
	// A process that was killed leaves half a line.
	whole := lines(sample(1, "a", 1), sample(2, "a", 2))
	var progress bytes.Buffer
	if m, err := readModel(strings.NewReader(whole+whole[:50]), "", &progress); err != nil || m.length != time.Second || !strings.Contains(progress.String(), "line 3") {
		t.Errorf("%+v, %v, %q", m, err, &progress)
	}
	if code := demo.Run(t.Context(), "replay", new(settings), []string{"-trace", "nowhere.jsonl"}, io.Discard, io.Discard); code != 1 {
		t.Errorf("exit code %d", code)
	}
}
