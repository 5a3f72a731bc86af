// Package pace measures how long invocations take and what they carry, which the
// scaler and the engine go by. Pure.
package pace

import (
	"slices"
	"time"
)

// A Pace is what is known of the invocations since the start. Averages move by a
// tenth with each invocation, and faster at first. The zero Pace has seen none.
type Pace struct {
	Completed, Failed int64
	Took              Histogram
	Round             Round
	took              average // seconds, of all
	full              struct{ took, records, bytes average }
}

type average struct {
	value float64
	n     int
}

func (a *average) add(v float64) {
	a.n = min(a.n+1, 10)
	a.value += (v - a.value) / float64(a.n)
}

// A Round is the invocations since the number of pollers changed, and since no more
// of them run than there are slots: what that change did to the function.
type Round struct {
	Ended int64 // of all that reached the function
	Full  int64 // that began since then, had a full batch, and succeeded
	since time.Time
	took  [63]time.Duration // of the last of these
}

// Begin begins a round: the number of pollers has changed.
func (r *Round) Begin(now time.Time) { r.since, r.Ended, r.Full = now, 0, 0 }

// Times are how long the last of them took: the median, and how far apart the first
// and the third quartile are. Both are 0 if there is none.
func (r *Round) Times() (median, spread time.Duration) {
	last := r.took
	n := min(int(r.Full), len(last))
	if n == 0 {
		return 0, 0
	}
	slices.Sort(last[:n])
	return last[n/2], last[n*3/4] - last[n/4]
}

// A Call is an invocation that reached the function and ended.
type Call struct {
	Began     time.Time
	Ended     time.Time
	Took      time.Duration // without the time in which it waited for a place
	Records   int
	Bytes     int64
	Full      bool // a first attempt with as much as a batch can have
	Leaving   bool // when it ended, there were more of them than slots
	Failed    bool
	Succeeded bool // it settled records
}

// Note notes one.
func (p *Pace) Note(c Call) {
	p.Completed++
	if c.Failed {
		p.Failed++
	}
	p.took.add(c.Took.Seconds())
	p.Took.Add(c.Took)
	p.Round.Ended++
	if c.Leaving {
		p.Round.Begin(c.Ended)
	}
	if !c.Full {
		return
	}
	p.full.took.add(c.Took.Seconds())
	p.full.records.add(float64(c.Records))
	p.full.bytes.add(float64(c.Bytes))
	if c.Succeeded && !c.Began.Before(p.Round.since) {
		p.Round.took[p.Round.Full%int64(len(p.Round.took))] = c.Took
		p.Round.Full++
	}
}

// Service is how long an invocation takes on average.
func (p *Pace) Service() time.Duration {
	return time.Duration(p.took.value * float64(time.Second))
}

// Batch is how long an invocation with a full batch takes, and what it
// carries. Before there was one it takes the others for it: an invocation that
// costs the same whatever it carries is the usual case. The time is 0 only
// while none has ended.
func (p *Pace) Batch(size int, recordBytes float64) (took time.Duration, records, bytes float64) {
	took, records, bytes = p.Service(), float64(size), float64(size)*recordBytes
	if p.full.took.n > 0 {
		took, records, bytes = time.Duration(p.full.took.value*float64(time.Second)), p.full.records.value, p.full.bytes.value
	}
	if p.Completed > 0 {
		took = max(took, time.Nanosecond) // in virtual time a function may take none
	}
	return took, records, bytes
}
