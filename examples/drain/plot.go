package main

import (
	"fmt"
	"math"

	"github.com/seed429fd032/esm/internal/plot"
)

const mostPoints = 500 // of a curve

// A point is what the curves show at one moment after the first record.
type point struct {
	at                           float64
	lag, pollers, inFlight, rate float64
}

// points makes curves of samples. Invocations come in waves as long as the
// function takes, so what is a rate, or swings like one, is averaged.
func points(o *outcome) (ps []point) {
	first := o.Summary.FirstSeconds
	var all []sample
	for _, s := range o.Samples {
		if s.At >= first && first > 0 {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil
	}
	took := all[len(all)-1].At - first
	half := max(min(max(took/60, 0.15), 0.3), 2*took/float64(len(all))) // seconds to each side
	near := make([]struct{ from, to int }, len(all))
	from, to := 0, 0
	for i, s := range all {
		for all[from].At < s.At-half {
			from++
		}
		for to < len(all) && all[to].At <= s.At+half {
			to++
		}
		near[i].from, near[i].to = from, to
	}
	rates := make([]float64, len(all))
	for i, w := range near {
		begin, end := all[w.from], all[w.to-1]
		if took := end.At - begin.At; took > 0 {
			rates[i] = float64(end.Settled-begin.Settled) / took
		}
	}
	stride := (len(all) + mostPoints - 1) / mostPoints
	for i, s := range all {
		if i%stride != 0 && i != len(all)-1 {
			continue
		}
		p := point{at: s.At - first, lag: float64(s.Lag), pollers: float64(s.Pollers)}
		if s.Lag < 0 {
			p.lag = math.NaN()
		}
		// A rate is averaged once more: where a wave begins in its time makes
		// much of a difference.
		w := near[i]
		for k := w.from; k < w.to; k++ {
			p.inFlight += float64(all[k].InFlight) / float64(w.to-w.from)
			p.rate += rates[k] / float64(w.to-w.from)
		}
		ps = append(ps, p)
	}
	return ps
}

// A panel is one of the four figures.
type panel struct {
	name  string
	of    func(point) float64
	steps bool // it jumps from value to value
	// floor is the curve of the floor, as x and y in turn.
	floor []float64
}

func panels(s scenario) []panel {
	ps := []panel{
		{name: "Offset lag (records)", of: func(p point) float64 { return p.lag }},
		{name: "Pollers", of: func(p point) float64 { return p.pollers }, steps: true},
		{name: "Invocations in flight", of: func(p point) float64 { return p.inFlight }},
		{name: "Throughput (records a second)", of: func(p point) float64 { return p.rate }},
	}
	if end := s.floor(); end > 0 {
		lanes, rate := float64(s.Partitions), float64(s.Records)/end
		ps[0].floor = []float64{0, float64(s.Records), end, 0}
		ps[2].floor = []float64{0, lanes, end, lanes, end, 0}
		ps[3].floor = []float64{0, rate, end, rate, end, 0}
	}
	return ps
}

// picture draws the runs as an SVG that needs nothing else.
func picture(s scenario, runs []*outcome) []byte {
	f := plot.Figure{Name: "Draining " + s.String(), Head: s.String(), Below: "seconds since the first record", Last: s.floor()}
	curves := make([][]point, len(runs))
	for i, o := range runs {
		curves[i] = points(o)
		f.Legend = append(f.Legend, legendOf(o))
	}
	if s.floor() > 0 {
		f.Floor = seconds(s.floor()) + ": the floor, the function alone with one invocation at a time for each partition"
	}
	for _, p := range panels(s) {
		q := plot.Panel{Name: p.name, Steps: p.steps, Floor: p.floor}
		for _, curve := range curves {
			var c []plot.Point
			for _, at := range curve {
				c = append(c, plot.Point{X: at.at, Y: p.of(at)})
			}
			q.Curves = append(q.Curves, c)
		}
		f.Panels = append(f.Panels, q)
	}
	return f.SVG()
}

func legendOf(o *outcome) string {
	s := &o.Summary
	words := onDemand
	if s.Min != nil {
		words = fmt.Sprintf("%s, %d to %d pollers", provisioned, *s.Min, *s.Max)
	}
	took := seconds(s.Seconds)
	if s.Interrupted {
		took = "interrupted"
	}
	words = took + ": " + words
	if s.AWSSeconds != nil {
		words += fmt.Sprintf(" (AWS published %g min)", *s.AWSSeconds/60)
	}
	return words
}
