package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/seed429fd032/esm"
)

// A layer counts what one of the wrappers, or the service, was asked and
// answered.
type layer struct {
	name string

	mu                           sync.Mutex
	calls, ok, failed, throttled int64
	took                         time.Duration
}

// watch counts the calls of an Invoker.
func (l *layer) watch(next esm.Invoker) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		began := time.Now()
		err := next.Invoke(ctx, b)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls++
		l.took += time.Since(began)
		switch {
		case err == nil:
			l.ok++
		case errors.Is(err, esm.ErrThrottled):
			l.throttled++
		default:
			l.failed++
		}
		return err
	})
}

// table prints what the layers saw, the outermost first.
func table(w io.Writer, layers []*layer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tcalls\tok\tfailed\tthrottled\tmean\t")
	for _, l := range layers {
		mean := time.Duration(0)
		if l.calls > 0 {
			mean = l.took / time.Duration(l.calls)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\t\n", l.name, l.calls, l.ok, l.failed, l.throttled, mean.Round(100*time.Microsecond))
	}
	_ = t.Flush() // to where the lines before it went
}

// A report is what happened, to be checked.
type report struct {
	layers            []*layer // timing, breaker, timeout, service
	stats             esm.Stats
	handled, repeated int64
	all               bool  // whether exactly these
	records           int64 // records should have been handled and committed
}

// check says what does not hold.
func (r *report) check() error {
	var errs []error
	same := func(what string, got, want int64) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s: %d, and %d was expected", what, got, want))
		}
	}
	timing, breaker, timeout, service := r.layers[0], r.layers[1], r.layers[2], r.layers[3]
	same("calls that the breaker saw of those that were timed", breaker.calls, timing.calls)
	same("calls that the breaker let through or held back", timeout.calls+breaker.throttled, breaker.calls)
	same("calls that reached the service", service.calls, timeout.calls)
	same("calls that failed, as the service and the breaker saw it", breaker.failed, service.failed)

	same("calls, as the Mapping counts them", r.stats.InvokeCount, timing.calls)
	same("throttled calls, as the Mapping counts them", r.stats.ThrottleCount, timing.throttled)
	same("failed calls, as the Mapping counts them", r.stats.InvokeErrorCount+r.stats.AbandonedCount, timing.failed)

	if r.stats.RebalanceCount == 0 { // another member of the group may bring records back
		same("records that came again or out of order", r.repeated, 0)
	}
	if r.all {
		same("records handled", r.handled, r.records)
		same("records whose offset is committed", r.stats.CommittedEventCount, r.records)
	}
	return errors.Join(errs...)
}
