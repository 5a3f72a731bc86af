package engine

import (
	"time"

	"github.com/seed429fd032/esm/internal/pollers"
)

// counters count since the start.
type counters struct {
	polls, Polled, PolledBytes                int64
	Invoked, Failed, Settled, Committed, Lost int64
	Invocations, Errors, Throttles, Abandoned int64
	apart                                     int64 // throttles that held up their own partitions only
	Retries, CommitErrors, Rebalances, Resets int64
	Evicted, Reread                           int64
	Delivered, Undelivered, Dropped           int64
}

// A byteRate is at which rate bytes are polled.
type byteRate struct {
	at        time.Time // when it was measured last,
	bytes     int64     // how many there were by then,
	perSecond float64   // and the rate since the time before
	units     float64   // seconds of event poller units, summed up
}

// measure keeps the rate at which bytes are polled.
func (e *Engine) measure(now time.Time) {
	r := &e.rate
	if seconds := now.Sub(r.at).Seconds(); !r.at.IsZero() && seconds > 0 {
		r.perSecond = float64(e.counts.PolledBytes-r.bytes) / seconds
		r.units += float64(pollers.Units(e.pool.Size(), r.perSecond)) * seconds
	}
	r.at, r.bytes = now, e.counts.PolledBytes
}
