package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// TestCheckSeesWhatIsWrong: a check that cannot fail is none.
func TestCheckSeesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name        string
		offsets     []int64
		committed   int64
		interrupted bool
		want        summary
	}{
		{name: "all is well", offsets: []int64{0, 1, 2}, committed: 3, want: summary{Records: 3}},
		{name: "a function that loses records", offsets: []int64{0, 2}, committed: 3, want: summary{Records: 2, Missing: 1}},
		{name: "never came", committed: 0, want: summary{Missing: 3}},
		{name: "twice", offsets: []int64{0, 1, 1, 2}, committed: 3, want: summary{Records: 3, Duplicates: 1}},
		{name: "one that nobody wrote", offsets: []int64{0, 1, 2, 3}, committed: 4, want: summary{Records: 3, Duplicates: 1}},
		{name: "out of order", offsets: []int64{1, 0, 2}, committed: 3, want: summary{Records: 3, OutOfOrder: 1}},
		{name: "not committed", offsets: []int64{0, 1, 2}, committed: 1, want: summary{Records: 3, NotCommitted: 2}},
		{name: "interrupted", offsets: []int64{0}, committed: 1, interrupted: true, want: summary{Records: 1, Interrupted: true}},
		{name: "interrupted and missing", offsets: []int64{0}, committed: 2, interrupted: true, want: summary{Records: 1, Missing: 1, Interrupted: true}},
	} {
		c := newCheck(scenario{Records: 3, Partitions: 1})
		for _, o := range tt.offsets {
			c.handled([]*kgo.Record{{Offset: o}})
		}
		got := c.judge(map[int32]int64{0: tt.committed}, tt.interrupted)
		if *got != tt.want || got.good() != (tt.want.Missing+tt.want.Duplicates+tt.want.OutOfOrder+tt.want.NotCommitted == 0) {
			t.Errorf("%s: %+v", tt.name, got)
		}
		var out bytes.Buffer
		got.verdict(&out, "mode", 3)
		if strings.Contains(out.String(), "THE CHECK FAILED") == got.good() {
			t.Errorf("%s: %s", tt.name, out.String())
		}
	}
}

// TestCheckKnowsTheEnd: all partitions have to be there, to their ends.
func TestCheckKnowsTheEnd(t *testing.T) {
	c := newCheck(scenario{Records: 3, Partitions: 2}) // 2 and 1
	row := func(partition int32, frontier int64) esm.PartitionStats {
		return esm.PartitionStats{TopicPartition: esm.TopicPartition{Partition: partition}, Frontier: frontier}
	}
	for _, tt := range []struct {
		rows []esm.PartitionStats
		want bool
	}{
		{nil, false},
		{[]esm.PartitionStats{row(0, 2)}, false},
		{[]esm.PartitionStats{row(0, 2), row(1, 0)}, false},
		{[]esm.PartitionStats{row(0, 1), row(1, 1)}, false},
		{[]esm.PartitionStats{row(0, 2), row(1, 1)}, true},
	} {
		if got := c.reached(tt.rows); got != tt.want {
			t.Errorf("%+v: %t", tt.rows, got)
		}
	}
}

// TestAWSFigures: they stand beside the scenario that AWS published, and beside
// no other.
func TestAWSFigures(t *testing.T) {
	changed := func(change func(*scenario)) scenario {
		s := scenarioOfAWS
		change(&s)
		return s
	}
	with := func(least int) mode { return mode{Min: least, Max: 200} }
	for _, tt := range []struct {
		name        string
		s           scenario
		m           mode
		interrupted bool
		want        float64 // 0 for none
	}{
		{name: "on-demand", s: scenarioOfAWS, m: mode{OnDemand: true}, want: 420},
		{name: "1", s: scenarioOfAWS, m: with(1), want: 210},
		{name: "10", s: scenarioOfAWS, m: with(10), want: 150},
		{name: "100", s: scenarioOfAWS, m: with(100), want: 90},
		{name: "1,000 bytes", s: changed(func(s *scenario) { s.Size = 1000 }), m: with(1), want: 210},
		{name: "another minimum", s: scenarioOfAWS, m: with(2)},
		{name: "a maximum that holds it back", s: scenarioOfAWS, m: mode{Min: 1, Max: 5}},
		{name: "interrupted", s: scenarioOfAWS, m: with(1), interrupted: true},
		{name: "records", s: changed(func(s *scenario) { s.Records-- }), m: with(1)},
		{name: "size", s: changed(func(s *scenario) { s.Size = 100 }), m: with(1)},
		{name: "partitions", s: changed(func(s *scenario) { s.Partitions = 50 }), m: with(1)},
		{name: "batch", s: changed(func(s *scenario) { s.Batch = 99 }), m: with(1)},
		{name: "function", s: changed(func(s *scenario) { s.Function = time.Second }), m: mode{OnDemand: true}},
	} {
		s := summary{Interrupted: tt.interrupted}
		s.complete(tt.s, tt.m, 0)
		got := 0.0
		if s.AWSSeconds != nil {
			got = *s.AWSSeconds
		}
		if got != tt.want || s.StoredBytes != nil || s.FloorSeconds != tt.s.floor() {
			t.Errorf("%s: AWS %v, floor %v", tt.name, got, s.FloorSeconds)
		}
	}
	if got := scenarioOfAWS.floor(); math.Abs(got-20) > 1e-9 {
		t.Errorf("the floor is %v s", got)
	}
}

// A parsed is what is in a plot.
type parsed struct {
	panels, curves, floors int
	texts                  string
}

// parsePlot reads a plot, which has to be XML and may need nothing from
// elsewhere.
func parsePlot(t *testing.T, picture []byte) (p parsed) {
	t.Helper()
	for dec := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			p.texts += string(token)
		case xml.StartElement:
			if token.Name.Local == "script" || token.Name.Local == "image" {
				t.Errorf("there is a %s in it", token.Name.Local)
			}
			for _, a := range token.Attr {
				switch {
				case a.Name.Local == "href" || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf"):
					t.Errorf("%s: %s=%q", token.Name.Local, a.Name.Local, a.Value)
				case a.Name.Local != "class":
				case a.Value == "panel":
					p.panels++
				case a.Value == "floor":
					p.floors++
				case strings.HasPrefix(a.Value, "curve "):
					p.curves++
				}
			}
		}
	}
}

func TestPlot(t *testing.T) {
	o := &outcome{Summary: summary{Seconds: 20.5, FirstSeconds: 0.5}}
	o.Summary.complete(scenarioOfAWS, mode{Min: 1, Max: 200}, 0)
	for i := range 420 {
		at := float64(i) * 0.05
		s := sample{At: at, Lag: int64(2_000_000 - 100_000*max(0, at-0.5)), Pollers: 1 + min(20, i/20), InFlight: min(100, i), Settled: int64(100_000 * max(0, at-0.5))}
		if i == 100 {
			s.Lag = -1 // unknown for a moment: a gap
		}
		o.Samples = append(o.Samples, s)
	}
	p := parsePlot(t, picture(scenarioOfAWS, []*outcome{o}))
	if p.panels != 4 || p.curves != 5 || p.floors != 4 { // with those of the legend
		t.Errorf("%+v", p)
	}
	for _, want := range []string{
		"20.5 s: provisioned, 1 to 200 pollers (AWS published 3.5 min)", "20.0 s: the floor", "Offset lag (records)", "Pollers",
		"Invocations in flight", "Throughput (records a second)", "seconds since the first record", "1.5M", "100k",
	} {
		if !strings.Contains(p.texts, want) {
			t.Errorf("%q is not in it", want)
		}
	}
	// What there is to draw may be nothing.
	for _, o := range []*outcome{{}, {Summary: summary{FirstSeconds: 1}, Samples: []sample{{At: 2, Lag: -1}}}} {
		if p := parsePlot(t, picture(scenario{Records: 1, Partitions: 1, Batch: 1}, []*outcome{o})); p.panels != 4 || p.floors != 0 {
			t.Errorf("%+v", p)
		}
	}
}

func TestPointsAverageRates(t *testing.T) {
	o := &outcome{Summary: summary{FirstSeconds: 1}}
	for i := range 201 { // 10 s; each 100 ms 1,000 records at once
		o.Samples = append(o.Samples, sample{At: 1 + float64(i)*0.05, Settled: int64(i / 2 * 1000), InFlight: 20 * (i % 2)})
	}
	ps := points(o)
	if len(ps) != 201 || ps[0].at != 0 {
		t.Fatalf("%d points", len(ps))
	}
	if p := ps[100]; math.Abs(p.rate-10_000) > 2500 || math.Abs(p.inFlight-10) > 2 {
		t.Errorf("%+v", p)
	}
}

// TestPointsOfALongRun: rare samples have a rate, too, and are thinned.
func TestPointsOfALongRun(t *testing.T) {
	o := &outcome{Summary: summary{FirstSeconds: 1}}
	for i := range 2001 { // 4,000 s
		o.Samples = append(o.Samples, sample{At: 1 + float64(i)*2, Settled: int64(i) * 2000})
	}
	ps := points(o)
	if len(ps) > mostPoints+1 || ps[len(ps)-1].at != 4000 {
		t.Fatalf("%d points", len(ps))
	}
	for _, p := range ps {
		if math.Abs(p.rate-1000) > 1e-6 {
			t.Fatalf("%+v", p)
		}
	}
}

// TestRecorderKeepsTheWholeTime, with samples that get rarer.
func TestRecorderKeepsTheWholeTime(t *testing.T) {
	var r recorder
	const n = 3 * mostSamples
	for i := range n {
		r.add(time.Duration(i)*tick, &esm.Stats{SettledEventCount: int64(i)})
	}
	if len(r.all) < mostSamples/2 || len(r.all) > mostSamples || r.all[0].At != 0 || r.all[len(r.all)-1].Settled < n-8 {
		t.Errorf("%d samples, from %+v to %+v", len(r.all), r.all[0], r.all[len(r.all)-1])
	}
}

// TestChildWithoutAJob ends, and says why.
func TestChildWithoutAJob(t *testing.T) {
	var out bytes.Buffer
	if code := serve(strings.NewReader(""), &out, t.Output()); code != 1 || !strings.Contains(out.String(), "EOF") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}
