package main

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// A spread is what several runs came to.
type spread struct {
	median, min, max float64
	n                int
}

// spreadOf condenses values. The median of an even number of them is halfway
// between the two in the middle.
func spreadOf(values []float64) (s spread) {
	if len(values) == 0 {
		return s
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{median: (v[(n-1)/2] + v[n/2]) / 2, min: v[0], max: v[n-1], n: n}
}

// format writes the median, and the spread if there is one, with so many
// digits after the point.
func (s spread) format(digits int) string {
	if s.n == 0 {
		return "-"
	}
	text := number(s.median, digits)
	low, high := number(s.min, digits), number(s.max, digits)
	if low == high {
		return text
	}
	return text + " (" + low + " - " + high + ")"
}

// number writes a number with commas between thousands.
func number(v float64, digits int) string {
	text := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	whole, fraction, point := strings.Cut(text, ".")
	var b strings.Builder
	if v < 0 && strings.Trim(text, "0.") != "" {
		b.WriteByte('-')
	}
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	if point {
		b.WriteString("." + fraction)
	}
	return b.String()
}
