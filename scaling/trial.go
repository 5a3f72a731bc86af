package scaling

import "time"

// A trial is a step up that is not judged yet.
type trial struct {
	from, to int
	at       time.Time
	rate     float64 // before it
	settled  int64   // at its beginning
}

// try begins a trial of a step up.
func (s *Scaler) try(in *Sample, to int) {
	rate := s.rates.settled
	if rate <= 0 {
		// Nothing to compare with yet, but how long they take.
		rate = float64(in.Busy) * in.BatchRecords / in.BatchTime.Seconds()
	}
	s.trial = &trial{from: in.Pollers, to: to, at: in.At, rate: rate, settled: in.Settled}
}

// judge says whether a step up is to be undone, and to what. It waits for
// three invocations, and judges only what was tried: slots that were busy, and
// enough of them to make a difference that can be told from noise.
func (s *Scaler) judge(in *Sample) (undo int, ok bool) {
	t := s.trial
	if t == nil {
		return 0, false
	}
	ran := in.At.Sub(t.at)
	if ran < max(3*in.BatchTime, time.Second) {
		return 0, false
	}
	s.trial = nil
	expected := float64(t.to)/float64(max(1, t.from)) - 1
	busy := float64(in.Busy) >= 0.8*float64(t.to*in.Concurrency)
	if in.Pollers != t.to || !busy || t.rate <= 0 || expected < 0.2 {
		return 0, false
	}
	gain := float64(in.Settled-t.settled)/ran.Seconds()/t.rate - 1
	if gain >= 0.2*min(expected, 1) {
		return 0, false
	}
	return max(t.from, in.Least), true
}
