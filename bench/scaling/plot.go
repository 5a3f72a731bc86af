package main

import (
	"math"
	"slices"

	"github.com/seed429fd032/esm/internal/plot"
)

const mostPoints = 600 // of a curve

// picture shows the lag and the pollers of a row.
func (r *row) picture() []byte {
	f := plot.Figure{Name: r.name + ": " + r.about, Head: "Scaling: " + r.name, Below: "seconds since the start"}
	lag, pollers := plot.Panel{Name: "Offset lag (records)"}, plot.Panel{Name: "Pollers", Steps: true}
	// The one that takes longest and the one that is furthest behind go over the
	// edge, or nothing is seen of the others; and who takes three times as long as ours.
	var ends, behind []float64
	last := 0.0
	for _, v := range r.results {
		if v.name == ours {
			last = 3 * v.run.Ended.Seconds()
		}
		most := 0.0
		for _, p := range v.run.Series {
			most = max(most, float64(p.Lag))
		}
		ends, behind = append(ends, v.run.Ended.Seconds()), append(behind, most)
	}
	last, lag.Most = min(last, second(ends)), second(behind)
	for _, v := range r.results {
		f.Legend = append(f.Legend, v.name)
		var a, b []plot.Point
		stride := (len(v.run.Series) + mostPoints - 1) / mostPoints
		for i, p := range v.run.Series {
			at := p.At.Seconds()
			if at > last {
				break
			}
			if i%max(1, stride) == 0 {
				a = append(a, plot.Point{X: at, Y: float64(p.Lag)})
			}
		}
		n := 0
		for _, s := range v.run.Steps {
			if s.At.Seconds() > last {
				break
			}
			b = append(b, plot.Point{X: s.At.Seconds(), Y: float64(s.To)})
			n = s.To
		}
		b = append(b, plot.Point{X: math.Min(last, v.run.Ended.Seconds()), Y: float64(n)})
		lag.Curves, pollers.Curves = append(lag.Curves, a), append(pollers.Curves, b)
	}
	f.Panels = []plot.Panel{lag, pollers}
	return f.SVG()
}

// second is the greatest but one.
func second(all []float64) float64 {
	slices.Sort(all)
	return all[max(0, len(all)-2)]
}
