package engine

import "time"

// pace measures how long invocations take and what they carry, for the scaler
// and for the decision what to copy. Averages move by a tenth with each
// invocation, and faster at first.
type pace struct {
	completed int64
	took      average // seconds, of all
	full      struct{ took, records, bytes average }
}

type average struct {
	value float64
	n     int
}

func (a *average) add(v float64) {
	a.n = min(a.n+1, 10)
	a.value += (v - a.value) / float64(a.n)
}

// ended notes an invocation that reached the function. full is whether
// it carried about as much as a batch can.
func (p *pace) ended(took time.Duration, records int, bytes int64, full bool) {
	p.completed++
	p.took.add(took.Seconds())
	if full {
		p.full.took.add(took.Seconds())
		p.full.records.add(float64(records))
		p.full.bytes.add(float64(bytes))
	}
}

// service is how long an invocation takes on average.
func (p *pace) service() time.Duration {
	return time.Duration(p.took.value * float64(time.Second))
}

// batch is how long an invocation with a full batch takes, and what it
// carries. Before there was one it takes the others for it: an invocation that
// costs the same whatever it carries is the usual case. The time is 0 only
// while none has ended.
func (p *pace) batch(size int, recordBytes float64) (took time.Duration, records, bytes float64) {
	took, records, bytes = p.service(), float64(size), float64(size)*recordBytes
	if p.full.took.n > 0 {
		took, records, bytes = time.Duration(p.full.took.value*float64(time.Second)), p.full.records.value, p.full.bytes.value
	}
	if p.completed > 0 {
		took = max(took, time.Nanosecond) // in virtual time a function may take none
	}
	return took, records, bytes
}
