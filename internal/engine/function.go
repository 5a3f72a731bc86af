package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A functionWatch says that the function does not get on: that there was
// something to do for minutes, and no call of it has succeeded. It is a Problem
// because nothing else shows it: a call that hangs is no failure, and neither is
// a throttle.
type functionWatch struct {
	since   time.Time    // when the first call began of those after the last success
	last    plan.Outcome // of the last call that was not abandoned,
	lastErr string       // what it returned: a text, since an error may hold one for each record
	lastAt  time.Time    // and when
	ended   time.Time    // when the last call ended, however
}

// functionTrouble is how long no call succeeds before that is a Problem.
const functionTrouble = 5 * time.Minute

// began books that a call began.
func (f *functionWatch) began(now time.Time) {
	if f.since.IsZero() {
		f.since = now
	}
}

// succeeded books that a call did; others may be running.
func (f *functionWatch) succeeded(now time.Time, others bool) {
	f.since = time.Time{}
	if others {
		f.since = now
	}
}

// reviewFunction raises or clears the problem.
func (e *Engine) reviewFunction(now time.Time) {
	f := &e.function
	waits := func(l *lane) bool { return !l.discarding() }
	switch {
	case e.pool.Busy() == 0 && !e.queue.any() && !slices.ContainsFunc(e.waiting, waits) && !e.throttledUntil.After(now):
		f.since = time.Time{} // there is nothing to do for it
	case e.holds != 0 && !f.since.IsZero():
		f.since = now // it is not let do it
	}
	var err error
	if most := max(functionTrouble, 2*e.pace.Service()); !f.since.IsZero() && now.Sub(f.since) >= most && e.holds == 0 {
		err = guard.Keep(fmt.Errorf("no call has succeeded since %s: %s", f.since.Format(time.TimeOnly), e.insteadOfSuccess(now)))
	}
	e.problem("function", err, now)
}

// insteadOfSuccess is what the function does.
func (e *Engine) insteadOfSuccess(now time.Time) string {
	var oldest *lease
	n := 0
	for l := range e.leases {
		if l.poller == nil {
			continue
		}
		if n++; oldest == nil || l.started.Before(oldest.started) {
			oldest = l
		}
	}
	running := ""
	if oldest != nil {
		ran, _ := oldest.ran(now)
		running = fmt.Sprintf("%s, the longest for %s (batch %s of %s)", Plural(n, "call runs", "calls run"), ran.Round(time.Second), oldest.ID, partition.Describe(oldest.partitions()))
	}
	f := &e.function
	switch {
	case oldest != nil && (f.ended.Before(f.since) || f.lastErr == ""):
		return running
	case f.lastErr == "":
		return "none has ended"
	case f.last == plan.OutcomeThrottled:
		return "it is throttled: " + f.lastErr
	}
	return "it fails: " + f.lastErr
}

// unended is since when calls run and none has ended, zero if none runs. Those that
// wait for a place do not count.
func (e *Engine) unended(now time.Time) time.Time {
	var oldest time.Time
	for l := range e.leases {
		if ran, waits := l.ran(now); !waits && (oldest.IsZero() || now.Add(-ran).Before(oldest)) {
			oldest = now.Add(-ran)
		}
	}
	if !oldest.IsZero() && oldest.Before(e.function.ended) {
		return e.function.ended
	}
	return oldest
}

// Plural is a number with the word for one, or for several.
func Plural[N int | int64](n N, one, several string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, several)
}
