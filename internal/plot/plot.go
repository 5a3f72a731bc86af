// Package plot draws figures with curves as an SVG that needs nothing else.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The picture: a head with the legend, and below it rows of two panels.
const (
	plotWidth   = 960
	panelLeft   = 64 // of the first column, with room for the numbers
	panelRight  = 544
	panelWidth  = 392
	panelHeight = 200
	headHeight  = 56  // and legendLine for each line
	rowHeight   = 290 // a panel with its title, its numbers, and the words below
	legendLine  = 20
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
.c4 { stroke: #8250df } .c5 { stroke: #d4a72c } .c6 { stroke: #57606a } .c7 { stroke: #0a7e8c }
.c4, .c5, .c6, .c7 { stroke-dasharray: 8 3 }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1 }
.head, .name, .legend { fill: #f0f6fc }
.back { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #262c36 }
.axis { stroke: #656c76 }
.floor { stroke: #f0f6fc }
.c0 { stroke: #58a6ff } .c1 { stroke: #f778ba } .c2 { stroke: #3fb950 } .c3 { stroke: #f0883e }
.c4 { stroke: #bc8cff } .c5 { stroke: #e3b341 } .c6 { stroke: #9198a1 } .c7 { stroke: #39c5cf }
}
`

// Colours is how many curves look different.
const Colours = 8

// A Figure is a picture.
type Figure struct {
	Name   string // for those who cannot see it
	Head   string
	Legend []string // of the curves, in their order
	Floor  string   // what the dashed curve is, if there is one
	Below  string   // what the numbers below the panels are
	Last   float64  // how far these go at least
	Panels []Panel
}

// A Panel is a part of it.
type Panel struct {
	Name   string
	Steps  bool      // curves jump from value to value
	Curves [][]Point // the first is on top
	Floor  []float64 // the dashed curve, as x and y in turn
	// Most is the highest value that is shown; what is above it goes over the
	// edge. 0 shows all.
	Most float64
}

// A Point of a curve. The curve has a hole where Y is NaN.
type Point struct{ X, Y float64 }

// SVG draws it.
func (f *Figure) SVG() []byte {
	var b bytes.Buffer
	lines := len(f.Legend) + 1
	head := headHeight + legendLine*lines
	height := head + (len(f.Panels)+1)/2*rowHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escaped(f.Name), style)
	fmt.Fprintf(&b, `<rect class="back" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>`+"\n", plotWidth-1, height-1)
	text(&b, "head", 24, 34, f.Head)
	for i, words := range f.Legend {
		legend(&b, i, fmt.Sprintf("curve c%d", i%Colours), words)
	}
	if f.Floor != "" {
		legend(&b, len(f.Legend), "floor", f.Floor)
	}
	last := f.Last
	for _, p := range f.Panels {
		for _, c := range p.Curves {
			if n := len(c); n > 0 {
				last = max(last, c[n-1].X)
			}
		}
	}
	for i := range f.Panels {
		left := panelLeft
		if i%2 == 1 {
			left = panelRight
		}
		f.Panels[i].draw(&b, i, left, head+i/2*rowHeight, last, f.Below)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func legend(b *bytes.Buffer, i int, class, words string) {
	y := headHeight + i*legendLine
	fmt.Fprintf(b, `<path class="%s" d="M24,%d H52"/>`+"\n", class, y)
	text(b, "legend", 60, y+4, words)
}

// draw draws a panel, which has a number, with its upper left corner at left and
// top.
func (p *Panel) draw(b *bytes.Buffer, number, left, top int, last float64, below string) {
	most := 0.0
	for _, curve := range p.Curves {
		for _, at := range curve {
			if at.Y > most { // which NaN never is
				most = at.Y
			}
		}
	}
	for i := 1; i < len(p.Floor); i += 2 {
		most = max(most, p.Floor[i])
	}
	if p.Most > 0 {
		most = min(most, p.Most)
	}
	xMost, yMost := max(last*1.03, 0.1), max(most*1.06, 1)
	xStep, yStep := step(xMost, 9), step(yMost, 6)
	bottom := top + 30 + panelHeight
	x := func(v float64) float64 { return float64(left) + v/xMost*panelWidth }
	y := func(v float64) float64 { return float64(bottom) - v/yMost*panelHeight }

	b.WriteString(`<g class="panel">` + "\n")
	text(b, "name", left, top+16, p.Name)
	for v := 0.0; v <= yMost; v += yStep {
		fmt.Fprintf(b, `<path class="grid" d="M%d,%.1f h%d"/>`+"\n", left, y(v), panelWidth)
		text(b, "number", left-8, int(y(v))+4, short(v))
	}
	for v := 0.0; v <= xMost; v += xStep {
		fmt.Fprintf(b, `<path class="axis" d="M%.1f,%d v5"/>`+"\n", x(v), bottom)
		text(b, "below", int(x(v)), bottom+19, short(v))
	}
	fmt.Fprintf(b, `<path class="axis" fill="none" d="M%d,%d V%d h%d"/>`+"\n", left, top+30, bottom, panelWidth)
	text(b, "below", left+panelWidth/2, bottom+37, below)
	fmt.Fprintf(b, `<clipPath id="p%d"><rect x="%d" y="%d" width="%d" height="%d"/></clipPath>`+"\n", number, left, top+29, panelWidth, panelHeight+2)
	for i, curve := range slices.Backward(p.Curves) {
		var d strings.Builder
		pen := false // whether it is on the paper
		for _, at := range curve {
			v := at.Y
			if math.IsNaN(v) {
				pen = false
				continue
			}
			if p.Steps && pen {
				fmt.Fprintf(&d, "H%.1f ", x(at.X))
			}
			fmt.Fprintf(&d, "%s%.1f,%.1f ", command(!pen), x(at.X), y(v))
			pen = true
		}
		if d.Len() > 0 {
			fmt.Fprintf(b, `<path class="curve c%d" d="%s" clip-path="url(#p%d)"/>`+"\n", i%Colours, d.String(), number)
		}
	}
	if p.Floor != nil {
		var d strings.Builder
		for i := 0; i < len(p.Floor); i += 2 {
			fmt.Fprintf(&d, "%s%.1f,%.1f ", command(i == 0), x(p.Floor[i]), y(p.Floor[i+1]))
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
