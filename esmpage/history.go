package esmpage

import (
	"math"
	"strconv"
	"time"

	"github.com/seed429fd032/esm"
)

// A point is what a chart shows of one moment. What is unknown is NaN.
type point struct {
	at     int64 // ms
	values [columns]float64
}

// The columns of the history, in the order of their names.
const (
	lag = iota
	age
	pollers
	least
	most
	handled
	polled
	mean
	slow
	failing
	throttles
	held
	budget
	busy
	slots
	columns
)

// names are those of the columns in JSON, and their units.
var names = [columns]string{
	"lag",       // records
	"age",       // of the oldest record, in seconds
	"pollers",   //
	"least",     // pollers
	"most",      // pollers
	"handled",   // records a second that were settled
	"polled",    // bytes a second
	"mean",      // ms of a call, of those that ended since the point before
	"slow",      // ms that nineteen of twenty of these took at most
	"errors",    // calls a second that failed
	"throttles", // calls a second that were throttled
	"held",      // bytes
	"budget",    // bytes
	"busy",      // slots
	"slots",     //
}

// pointOf makes a point of a snapshot and the one before, which may be nil.
func pointOf(now, was *esm.Stats) point {
	p := point{at: now.At.UnixMilli()}
	set := func(column int, v float64) { p.values[column] = v }
	for i := range p.values {
		p.values[i] = math.NaN()
	}
	if sum, known := now.OffsetLag.Sum(); known {
		set(lag, float64(sum))
	}
	if oldest, known := now.TimeLag.Max(); known {
		set(age, oldest.Seconds())
	}
	set(pollers, float64(now.ProvisionedPollers))
	set(least, float64(now.MinPollers))
	set(most, float64(now.MaxPollers))
	set(held, float64(now.HeldBytes))
	set(budget, float64(now.MemoryBudget))
	set(busy, float64(now.BusySlots))
	set(slots, float64(now.Slots))
	if was == nil {
		return p
	}
	seconds := now.At.Sub(was.At).Seconds()
	if seconds <= 0 || now.InvokeCount < was.InvokeCount {
		return p // the clock was set, or it is another run
	}
	rate := func(column int, now, was int64) { set(column, float64(now-was)/seconds) }
	rate(handled, now.SettledEventCount, was.SettledEventCount)
	rate(polled, now.PolledByteCount, was.PolledByteCount)
	rate(failing, now.InvokeErrorCount, was.InvokeErrorCount)
	rate(throttles, now.ThrottleCount, was.ThrottleCount)
	if n := now.InvokeDurations.Count() - was.InvokeDurations.Count(); n > 0 {
		set(mean, 1000*(now.InvokeDurations.Seconds-was.InvokeDurations.Seconds)/float64(n))
		set(slow, quantile(&now.InvokeDurations, &was.InvokeDurations, n)/1e6)
	}
	return p
}

// quantile is the bound, in ns, below which nineteen of twenty durations are that came
// between two histograms, between whose bounds it takes a straight line.
func quantile(now, was *esm.Histogram, n int64) float64 {
	const of = 0.95
	bounds := esm.HistogramBounds()
	left, from := of*float64(n), time.Duration(0)
	for i, b := range bounds {
		c := float64(now.Counts[i] - was.Counts[i])
		if c >= left {
			return float64(from) + float64(b-from)*left/c
		}
		left, from = left-c, b
	}
	return float64(from) // longer than the last bound
}

// kept is how many points are kept: those of an hour.
const kept = 3600

// A history keeps the last points. It grows until it is full, and has no other bound than
// that.
type history struct {
	points []point
	next   int // where the next one goes, once it is full
}

func (h *history) add(p point) {
	if len(h.points) < kept {
		h.points = append(h.points, p)
		return
	}
	h.points[h.next] = p
	h.next = (h.next + 1) % kept
}

// list returns a copy, the oldest first.
func (h *history) list() []point {
	return append(append(make([]point, 0, len(h.points)), h.points[h.next:]...), h.points[:h.next]...)
}

// appendColumns appends points as JSON, by column.
func appendColumns(b []byte, ps []point) []byte {
	b = append(b, `{"at":[`...)
	for i := range ps {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, ps[i].at, 10)
	}
	for c, name := range names {
		b = append(b, `],"`...)
		b = append(b, name...)
		b = append(b, `":[`...)
		for i := range ps {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendNumber(b, ps[i].values[c])
		}
	}
	return append(b, "]}"...)
}

// appendNumber appends a number, with the six digits that a chart can show, or null.
func appendNumber(b []byte, v float64) []byte {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return append(b, "null"...)
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', 6, 64)
}
