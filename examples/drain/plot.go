package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// The picture: a head with the legend, and below it two rows of two panels.
const (
	plotWidth   = 960
	panelLeft   = 64 // of the first column, with room for the numbers
	panelRight  = 544
	panelWidth  = 392
	panelHeight = 200
	headHeight  = 56  // and legendLine for each run
	rowHeight   = 290 // a panel with its title, its numbers, and the words below
	legendLine  = 20
	mostPoints  = 500 // of a curve
)

// style has the colours for a light and a dark background. The picture brings
// its background: it cannot know what it will stand on.
const style = `
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #57606a }
.head { font-size: 17px; font-weight: 600; fill: #1f2328 }
.name { font-size: 14px; font-weight: 600; fill: #1f2328 }
.legend { font-size: 13px; fill: #1f2328 }
.number { text-anchor: end }
.below { text-anchor: middle }
.back { fill: #ffffff; stroke: #d0d7de }
.grid { stroke: #e4e8ec }
.axis { stroke: #8c959f }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round }
.floor { fill: none; stroke: #1f2328; stroke-width: 1.3; stroke-dasharray: 5 4 }
.c0 { stroke: #0969da } .c1 { stroke: #bf3989 } .c2 { stroke: #1a7f37 } .c3 { stroke: #bc4c00 }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1 }
.head, .name, .legend { fill: #f0f6fc }
.back { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #262c36 }
.axis { stroke: #656c76 }
.floor { stroke: #f0f6fc }
.c0 { stroke: #58a6ff } .c1 { stroke: #f778ba } .c2 { stroke: #3fb950 } .c3 { stroke: #f0883e }
}
`

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

// plot draws the runs as an SVG that needs nothing else.
func plot(s scenario, runs []*outcome) []byte {
	var b bytes.Buffer
	head := headHeight + legendLine*(len(runs)+1)
	height := head + 2*rowHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, "<title>Draining %s</title>\n<style>%s</style>\n", escaped(s.String()), style)
	fmt.Fprintf(&b, `<rect class="back" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>`+"\n", plotWidth-1, height-1)
	text(&b, "head", 24, 34, s.String())

	curves := make([][]point, len(runs))
	last := s.floor()
	for i, o := range runs {
		curves[i] = points(o)
		if n := len(curves[i]); n > 0 {
			last = max(last, curves[i][n-1].at)
		}
		legend(&b, i, fmt.Sprintf("curve c%d", i%4), legendOf(o))
	}
	if s.floor() > 0 {
		legend(&b, len(runs), "floor", seconds(s.floor())+": the floor, the function alone with one invocation at a time for each partition")
	}
	for i, p := range panels(s) {
		left := panelLeft
		if i%2 == 1 {
			left = panelRight
		}
		p.draw(&b, left, head+i/2*rowHeight, last, curves)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
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

func legend(b *bytes.Buffer, i int, class, words string) {
	y := headHeight + i*legendLine
	fmt.Fprintf(b, `<path class="%s" d="M24,%d H52"/>`+"\n", class, y)
	text(b, "legend", 60, y+4, words)
}

// draw draws a panel with its upper left corner at left and top.
func (p *panel) draw(b *bytes.Buffer, left, top int, last float64, curves [][]point) {
	most := 0.0
	for _, curve := range curves {
		for _, at := range curve {
			if v := p.of(at); v > most { // which NaN never is
				most = v
			}
		}
	}
	for i := 1; i < len(p.floor); i += 2 {
		most = max(most, p.floor[i])
	}
	xMost, yMost := max(last*1.03, 0.1), max(most*1.06, 1)
	xStep, yStep := step(xMost, 9), step(yMost, 6)
	bottom := top + 30 + panelHeight
	x := func(v float64) float64 { return float64(left) + v/xMost*panelWidth }
	y := func(v float64) float64 { return float64(bottom) - v/yMost*panelHeight }

	b.WriteString(`<g class="panel">` + "\n")
	text(b, "name", left, top+16, p.name)
	for v := 0.0; v <= yMost; v += yStep {
		fmt.Fprintf(b, `<path class="grid" d="M%d,%.1f h%d"/>`+"\n", left, y(v), panelWidth)
		text(b, "number", left-8, int(y(v))+4, short(v))
	}
	for v := 0.0; v <= xMost; v += xStep {
		fmt.Fprintf(b, `<path class="axis" d="M%.1f,%d v5"/>`+"\n", x(v), bottom)
		text(b, "below", int(x(v)), bottom+19, short(v))
	}
	fmt.Fprintf(b, `<path class="axis" fill="none" d="M%d,%d V%d h%d"/>`+"\n", left, top+30, bottom, panelWidth)
	text(b, "below", left+panelWidth/2, bottom+37, "seconds since the first record")
	for i, curve := range curves {
		var d strings.Builder
		pen := false // whether it is on the paper
		for _, at := range curve {
			v := p.of(at)
			if math.IsNaN(v) {
				pen = false
				continue
			}
			if p.steps && pen {
				fmt.Fprintf(&d, "H%.1f ", x(at.at))
			}
			fmt.Fprintf(&d, "%s%.1f,%.1f ", command(!pen), x(at.at), y(v))
			pen = true
		}
		if d.Len() > 0 {
			fmt.Fprintf(b, `<path class="curve c%d" d="%s"/>`+"\n", i%4, d.String())
		}
	}
	if p.floor != nil {
		var d strings.Builder
		for i := 0; i < len(p.floor); i += 2 {
			fmt.Fprintf(&d, "%s%.1f,%.1f ", command(i == 0), x(p.floor[i]), y(p.floor[i+1]))
		}
		fmt.Fprintf(b, `<path class="floor" d="%s"/>`+"\n", d.String())
	}
	b.WriteString("</g>\n")
}

func command(move bool) string {
	if move {
		return "M"
	}
	return "L"
}

// step is a round distance between numbers, so that there are at most so many
// up to most.
func step(most float64, count int) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(most/float64(count))))
	for _, m := range []float64{1, 2, 5} {
		if unit*m*float64(count) >= most {
			return unit * m
		}
	}
	return unit * 10
}

// short writes a number with few signs.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}

func text(b *bytes.Buffer, class string, x, y int, words string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x, y, escaped(words))
}

func escaped(words string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(words)) // never fails: see strings.Builder
	return b.String()
}
