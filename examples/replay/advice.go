package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/internal/plot"
	"github.com/seed429fd032/esm/internal/scalesim"
	"github.com/seed429fd032/esm/scaling"
)

// bounds are those of the number of pollers.
type bounds struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// An outcome is what bounds do.
type outcome struct {
	bounds
	SettledSeconds *float64 `json:"settled_seconds"` // when the last record is settled; null if that is not known
	LagP50Seconds  *float64 `json:"lag_p50_seconds"` // from when a record comes until it is settled
	LagP99Seconds  *float64 `json:"lag_p99_seconds"`
	PollersMax     int      `json:"pollers_max"`
	PollerHours    float64  `json:"poller_hours"`
	EPUHours       float64  `json:"epu_hours"`
	Cost           *float64 `json:"cost,omitempty"` // with -price

	run *scalesim.Result
}

// facts are what the trace says.
type facts struct {
	Seconds    float64 `json:"seconds"`
	Partitions int     `json:"partitions"`
	Lag        int64   `json:"lag"`     // at its beginning
	Records    int64   `json:"records"` // that came since then
	CallMillis float64 `json:"call_millis"`
	Batch      int     `json:"batch"`
	Failed     int64   `json:"failed"` // calls
	Throttled  int64   `json:"throttled"`
	Unknown    int     `json:"unknown"` // samples in which a lag was unknown
}

// advice is what the program says.
type advice struct {
	Trace      facts    `json:"trace"`
	Recorded   outcome  `json:"recorded"`
	Replayed   outcome  `json:"replayed"` // simulated, with the recorded bounds
	Asked      *outcome `json:"asked"`
	LagSeconds float64  `json:"lag_seconds,omitempty"` // that is wanted
	Proposed   *outcome `json:"proposed,omitempty"`
	Fastest    *outcome `json:"fastest,omitempty"` // where no bounds do
}

// OK is true: advice is no check.
func (a *advice) OK() bool { return true }

func (m *model) facts() facts {
	f := facts{
		Seconds: m.length.Seconds(), Partitions: len(m.lanes), Batch: m.batch, Unknown: m.unknown,
		CallMillis: float64(m.calls[len(m.calls)/2].took) / float64(time.Millisecond),
		Failed:     m.last.Failed - m.first.Failed, Throttled: m.last.Throttled - m.first.Throttled,
	}
	for _, l := range m.lanes {
		for i, b := range l.bursts {
			if i == 0 && b.At == 0 {
				f.Lag += b.Records
			} else {
				f.Records += b.Records
			}
		}
		for i := 1; i < len(l.ends); i++ {
			if !l.ends[i].fresh {
				f.Records += max(0, l.ends[i].offset-l.ends[i-1].offset)
			}
		}
	}
	return f
}

const (
	pollersOfEPU = 10
	bytesOfEPU   = 20_000_000 // a second
)

// epuHours is what AWS would bill: for each moment the pollers by ten, or the bytes
// by 20 MB a second, whatever is more.
func (m *model) epuHours(series []scalesim.Point) (hours float64) {
	for i := 1; i < len(series); i++ {
		a, b := series[i-1], series[i]
		ran := (b.At - a.At).Seconds()
		if ran <= 0 {
			continue
		}
		bytes := float64(b.Settled-a.Settled) / ran * float64(m.recordBytes)
		epus := max(math.Ceil(float64(a.Pollers)/pollersOfEPU), math.Ceil(bytes/bytesOfEPU))
		hours += epus * ran / 3600
	}
	return hours
}

func (m *model) costed(o outcome, price float64) outcome {
	if price > 0 {
		cost := o.EPUHours * price
		o.Cost = &cost
	}
	return o
}

// recorded is what the Mapping did. How long records waited is not in the trace.
func (m *model) recorded(price float64) outcome {
	o := outcome{bounds: bounds{m.least, m.most}, PollerHours: m.pollerTime.Hours(), EPUHours: m.epuHours(m.series)}
	settled := -1.0
	for _, p := range m.series {
		o.PollersMax = max(o.PollersMax, p.Pollers)
		switch {
		case p.Lag != 0:
			settled = -1
		case settled < 0:
			settled = p.At.Seconds()
		}
	}
	if settled >= 0 {
		o.SettledSeconds = &settled
	}
	return m.costed(o, price)
}

// simulate is what bounds would have done.
func (m *model) simulate(b bounds, price float64) outcome {
	r := scalesim.Run(m.config(b), scalesim.Scaler(scaling.Provisioned))
	o := outcome{bounds: b, PollersMax: r.Peak, PollerHours: r.PollerTime.Hours(), EPUHours: m.epuHours(r.Series), run: r}
	if r.Left == 0 {
		settled, p50, p99 := r.Drained.Seconds(), r.Lag.Quantile(0.5).Seconds(), r.Lag.Quantile(0.99).Seconds()
		o.SettledSeconds, o.LagP50Seconds, o.LagP99Seconds = &settled, &p50, &p99
	}
	return m.costed(o, price)
}

// candidates are numbers of pollers worth trying, up to one for each partition.
func candidates(partitions int) (ns []int) {
	for unit := 1; ; unit *= 10 {
		for _, n := range []int{1, 2, 3, 5, 7} {
			if n*unit >= min(partitions, 2000) {
				return append(ns, min(partitions, 2000))
			}
			ns = append(ns, n*unit)
		}
	}
}

// propose finds the bounds that cost least among those with which 99 % of the records
// are settled in time. If there are none, it returns those that are fastest.
func (m *model) propose(ctx context.Context, lag time.Duration, price float64) (cheapest, fastest *outcome, err error) {
	ns := candidates(len(m.lanes))
	for i, least := range ns {
		if least > 200 || cheapest != nil && float64(least)*m.length.Hours() >= cheapest.PollerHours {
			break
		}
		for _, most := range ns[i:] {
			if ctx.Err() != nil {
				return nil, nil, fmt.Errorf("interrupted while looking for bounds: %w", ctx.Err())
			}
			o := m.simulate(bounds{least, most}, price)
			if o.LagP99Seconds == nil {
				continue
			}
			if fastest == nil || *o.LagP99Seconds < *fastest.LagP99Seconds {
				fastest = &o
			}
			if *o.LagP99Seconds <= lag.Seconds() {
				if cheapest == nil || o.PollerHours < cheapest.PollerHours {
					cheapest = &o
				}
				break // a larger maximum is no cheaper
			}
		}
	}
	if cheapest != nil {
		fastest = nil
	}
	return cheapest, fastest, nil
}

// Print prints it for people.
func (a *advice) Print(w io.Writer) {
	t := &a.Trace
	fmt.Fprintf(w, "\nThe trace: %s of %d partitions, a lag of %s records and %s that came; a call takes %s, and has %d records at most.\n",
		span(t.Seconds), t.Partitions, demo.Grouped(t.Lag), demo.Grouped(t.Records), span(t.CallMillis/1000), t.Batch)
	if t.Failed > 0 || t.Throttled > 0 {
		fmt.Fprintf(w, "%s failed calls and %s throttles are not replayed.\n", demo.Grouped(t.Failed), demo.Grouped(t.Throttled))
	}
	if t.Unknown > 0 {
		fmt.Fprintf(w, "In %d samples a lag was unknown: what came then is taken from before and after.\n", t.Unknown)
	}
	fmt.Fprintf(w, "\n%-12s %5s %5s %12s %12s %12s %8s %13s %10s %10s\n", "", "min", "max", "all settled", "lag p50", "lag p99", "pollers", "poller-hours", "EPU-hours", "cost")
	line := func(name string, o *outcome) {
		cost := "-"
		if o.Cost != nil {
			cost = fmt.Sprintf("%.4g", *o.Cost)
		}
		fmt.Fprintf(w, "%-12s %5d %5d %12s %12s %12s %8d %13.4f %10.4f %10s\n", name, o.Min, o.Max, after(o.SettledSeconds), after(o.LagP50Seconds), after(o.LagP99Seconds), o.PollersMax, o.PollerHours, o.EPUHours, cost)
	}
	line("recorded", &a.Recorded)
	line("simulated", &a.Replayed)
	if a.Asked.bounds != a.Replayed.bounds {
		line("asked for", a.Asked)
	}
	switch {
	case a.Proposed != nil:
		line("proposed", a.Proposed)
		fmt.Fprintf(w, "\nFor a time lag of %s (p99): esm.WithMinPollers(%d), esm.WithMaxPollers(%d).\n", span(a.LagSeconds), a.Proposed.Min, a.Proposed.Max)
	case a.Fastest != nil:
		line("fastest", a.Fastest)
		fmt.Fprintf(w, "\nNo bounds have a time lag of %s (p99): a partition has one batch in flight, and more pollers than partitions do nothing. More partitions, larger batches or a faster function would.\n", span(a.LagSeconds))
	case a.LagSeconds > 0:
		fmt.Fprintf(w, "\nNo bounds settle all records within a day.\n")
	}
}

func after(seconds *float64) string {
	if seconds == nil {
		return "unknown"
	}
	return span(*seconds)
}

// span is a time with three digits.
func span(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.3g ms", s*1000)
	case s < 100:
		return fmt.Sprintf("%.3g s", s)
	}
	return strings.TrimSuffix(strings.TrimSuffix(time.Duration(s*float64(time.Second)).Round(time.Second).String(), "0s"), "0m")
}

// picture draws lag and pollers.
func (m *model) picture(a *advice) []byte {
	f := plot.Figure{Name: "What other bounds would have done", Head: "What other bounds would have done", Below: "seconds since the trace began"}
	lag, pollers := plot.Panel{Name: "Offset lag (records)"}, plot.Panel{Name: "Pollers", Steps: true}
	add := func(name string, o *outcome, series []scalesim.Point) {
		f.Legend = append(f.Legend, fmt.Sprintf("%s: %d to %d pollers, all settled after %s", name, o.Min, o.Max, after(o.SettledSeconds)))
		var l, p []plot.Point
		for _, at := range series {
			y := float64(at.Lag)
			if at.Lag < 0 {
				y = math.NaN()
			}
			l, p = append(l, plot.Point{X: at.At.Seconds(), Y: y}), append(p, plot.Point{X: at.At.Seconds(), Y: float64(at.Pollers)})
		}
		lag.Curves, pollers.Curves = append(lag.Curves, l), append(pollers.Curves, p)
	}
	add("recorded", &a.Recorded, m.series)
	add("simulated", &a.Replayed, a.Replayed.run.Series)
	if a.Asked.bounds != a.Replayed.bounds {
		add("asked for", a.Asked, a.Asked.run.Series)
	}
	if a.Proposed != nil {
		add("proposed", a.Proposed, a.Proposed.run.Series)
	}
	f.Panels = []plot.Panel{lag, pollers}
	return f.SVG()
}
