package plot

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
)

// TestFigureIsXML, whatever the words are, and its curves have holes.
func TestFigureIsXML(t *testing.T) {
	f := Figure{
		Name: "a < b & c", Head: "<head>", Legend: []string{"one & two"}, Floor: "floor", Below: "seconds", Last: 10,
		Panels: []Panel{
			{Name: "lag", Curves: [][]Point{{{0, 1}, {1, math.NaN()}, {2, 3}}}},
			{Name: "pollers", Steps: true, Curves: [][]Point{{{0, 1}, {2, 3}}}, Floor: []float64{0, 5, 10, 5}},
			{Name: "nothing"},
		},
	}
	svg := f.SVG()
	for in := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := in.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
	}
	s := string(svg)
	if n := strings.Count(s, `class="panel"`); n != 3 {
		t.Errorf("%d panels", n)
	}
	if n := strings.Count(s, `class="floor"`); n != 2 { // and one in the legend
		t.Errorf("%d dashed curves", n)
	}
	if strings.Contains(s, "NaN") || !strings.Contains(s, "one &amp; two") {
		t.Errorf("%s", s)
	}
	// The first curve is two pieces, and the second one goes across before it goes up.
	if !strings.Contains(s, `d="M64.0,`) || strings.Count(s[strings.Index(s, `curve c0" d="M64`):], "M") < 2 || !strings.Contains(s, "H") {
		t.Errorf("%s", s)
	}
}

// TestFirstCurveIsOnTop: it is drawn last. What is above the most that is shown
// is drawn too, and cut off at the edge, so that the scale is that of the rest.
func TestFirstCurveIsOnTop(t *testing.T) {
	f := Figure{Panels: []Panel{{Most: 100, Curves: [][]Point{{{0, 100}, {1, 0}}, {{0, 1000}, {1, 0}}}}}}
	s := string(f.SVG())
	if strings.LastIndex(s, `curve c0"`) < strings.LastIndex(s, `curve c1"`) || !strings.Contains(s, ">100</text>") || strings.Contains(s, ">200</text>") {
		t.Errorf("%s", s)
	}
	if strings.Count(s, `clip-path="url(#p0)"`) != 2 || strings.Count(s, `<clipPath id="p0">`) != 1 {
		t.Errorf("%s", s)
	}
}

func TestStep(t *testing.T) {
	for _, tt := range []struct {
		most  float64
		count int
		want  float64
	}{{1.06, 6, 0.2}, {106, 6, 20}, {22, 6, 5}, {2_120_000, 6, 500_000}, {20.6, 9, 5}, {80, 9, 10}, {9, 9, 1}, {0.1, 9, 0.02}} {
		if got := step(tt.most, tt.count); math.Abs(got-tt.want) > tt.want/1e6 {
			t.Errorf("%v in %d: %v", tt.most, tt.count, got)
		}
	}
}
