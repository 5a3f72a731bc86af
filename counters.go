package esm

import (
	"time"

	"github.com/seed429fd032/esm/scaling"

	"github.com/seed429fd032/esm/internal/plan"
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

// tally counts what became of an invocation.
func (e *engine) tally(l *lease, v plan.Verdict, took time.Duration, now time.Time) {
	e.progress = now
	e.function.ended = now
	if v.Outcome != plan.OutcomeAbandoned {
		e.function.last, e.function.lastErr, e.function.lastAt = v.Outcome, "", now
		if v.Err != nil {
			e.function.lastErr = v.Err.Error() // which keep made
		}
	}
	if v.Outcome != plan.OutcomeThrottled && v.Outcome != plan.OutcomeHalt && v.Outcome != plan.OutcomeAbandoned && !v.Blamed {
		e.evidence.Answered()
	}
	if v.Outcome == plan.OutcomeSuccess || v.Outcome == plan.OutcomePartial && len(v.Failures) < l.count {
		e.function.succeeded(now, e.pool.Busy() > 0)
	}
	switch v.Outcome {
	case plan.OutcomeFailure:
		e.counts.errors++
		e.counts.failed += int64(l.count)
	case plan.OutcomeAbandoned:
		e.counts.abandoned++
		return
	case plan.OutcomePartial:
		e.counts.errors++
		e.counts.failed += int64(len(v.Failures))
	case plan.OutcomePermanent, plan.OutcomeTooLarge:
		e.counts.errors++
		e.counts.failed += int64(l.count)
	case plan.OutcomeThrottled, plan.OutcomeHalt:
		return
	}
	full := 2*l.count >= e.cfg.batchSize || 2*l.bytes >= int64(e.cfg.batchBytes)
	e.pace.ended(took, l.count, l.bytes, full)
	if e.pace.completed == scaling.Completions {
		e.scaleBell.ring()
	}
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
