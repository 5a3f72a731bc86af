package main

import (
	"time"

	"github.com/seed429fd032/esm"
)

// A sample is what a Mapping says of itself at one moment.
type sample struct {
	At       float64 // seconds since Start was called
	Lag      int64   // -1 while it is unknown
	Pollers  int
	InFlight int // invocations
	Settled  int64
}

// A recorder keeps samples, and fewer of them the longer it takes.
type recorder struct {
	all   []sample
	every time.Duration
}

const mostSamples = 4000

// add keeps a sample if it is time for one.
func (r *recorder) add(at time.Duration, st *esm.Stats) {
	if n := len(r.all); n > 0 && at.Seconds()-r.all[n-1].At < r.every.Seconds() {
		return
	}
	s := sample{At: at.Seconds(), Lag: -1, Pollers: st.ProvisionedPollers, InFlight: st.BusySlots, Settled: st.SettledEventCount}
	if lag, known := st.OffsetLag.Sum(); known {
		s.Lag = lag
	}
	if r.all = append(r.all, s); len(r.all) < mostSamples {
		return
	}
	half := r.all[:0]
	for i := 0; i < len(r.all); i += 2 {
		half = append(half, r.all[i])
	}
	r.all, r.every = half, max(2*r.every, 2*tick)
}
