package esm

import (
	"time"
)

// counters count since the start.
type counters struct {
	polls, polled, polledBytes                int64
	invoked, failed, settled, committed, lost int64
	invocations, errors, throttles, abandoned int64
	apart                                     int64 // throttles that held up their own partitions only
	retries, commitErrors, rebalances, resets int64
	evicted, reread                           int64
	delivered, undelivered, dropped           int64
}

// A byteRate is at which rate bytes are polled.
type byteRate struct {
	at        time.Time // when it was measured last,
	bytes     int64     // how many there were by then,
	perSecond float64   // and the rate since the time before
}

// measure keeps the rate at which bytes are polled.
func (e *engine) measure(now time.Time) {
	r := &e.rate
	if seconds := now.Sub(r.at).Seconds(); !r.at.IsZero() && seconds > 0 {
		r.perSecond = float64(e.counts.polledBytes-r.bytes) / seconds
	}
	r.at, r.bytes = now, e.counts.polledBytes
}
