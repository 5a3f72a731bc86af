package scaling

import "time"

const (
	throttledFor  = time.Minute
	throttledStep = 15 * time.Second // between steps back to where it throttled
	// throttledOnce is how long after a throttle others are of the same round: of
	// calls that began before there were fewer pollers. Nothing begins at once
	// after a throttle.
	throttledOnce = 500 * time.Millisecond
)

// A throttleLimit is how many pollers there may be after a throttle: half of what
// there were, and a quarter more every fifteen seconds once a minute is over.
type throttleLimit struct {
	pollers int // 0 for any number
	until   time.Time
	at      time.Time // of the last throttle that halved it
}

func (t *throttleLimit) set(in *Sample, pollers int) {
	t.pollers, t.until, t.at = pollers, in.At.Add(throttledFor), in.At
}

// same reports whether a throttle now is of the same round as the last one.
func (t *throttleLimit) same(in *Sample) bool { return in.At.Sub(t.at) < throttledOnce }

// most is how many pollers there may be, or 0 for any number.
func (t *throttleLimit) most(in *Sample) int {
	if t.pollers == 0 || in.At.Before(t.until) {
		return t.pollers
	}
	t.pollers += max(1, t.pollers/4)
	t.until = in.At.Add(throttledStep)
	if t.pollers >= in.Most {
		t.pollers = 0
	}
	return t.pollers
}
