package esm_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/seed429fd032/esm"
)

// timed logs how long each invocation takes.
func timed(next esm.Invoker) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		began := time.Now()
		err := next.Invoke(ctx, b)
		slog.Info("invoked", "batch", b.ID, "records", len(b.Records), "took", time.Since(began), "err", err)
		return err
	})
}

// A breaker leaves a function alone for a while after it failed several times
// in a row.
type breaker struct {
	next  esm.Invoker
	limit int           // failures in a row
	rest  time.Duration // how long it is left alone

	mu     sync.Mutex // invocations run at the same time
	failed int
	until  time.Time
}

var errResting = errors.New("billing is left alone after it failed")

func (k *breaker) Invoke(ctx context.Context, b *esm.Batch) error {
	k.mu.Lock()
	rest := time.Until(k.until)
	k.mu.Unlock()
	if rest > 0 {
		// The function was not called, so this is no attempt, and nothing of
		// this Mapping is invoked before the time is over.
		return esm.Throttled(rest, errResting)
	}

	err := k.next.Invoke(ctx, b)

	k.mu.Lock()
	defer k.mu.Unlock()
	switch cause := context.Cause(ctx); {
	case err == nil:
		k.failed = 0
	case errors.Is(cause, esm.ErrStopping), errors.Is(cause, esm.ErrRevoked):
		// A call that was cut short proves nothing.
	default:
		k.failed++
		if k.failed >= k.limit {
			k.until = time.Now().Add(k.rest)
		}
	}
	return err
}

// What every call should do is a wrapper around the function. Hooks only
// watch, a wrapper decides.
func ExampleInvoker_wrap() {
	brokers, stopKafka := startKafka(1, "a", "b")
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	billing := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		if b.Attempt <= 2 {
			fmt.Printf("attempt %d: billing is down\n", b.Attempt)
			return errors.New("billing is down")
		}
		fmt.Printf("attempt %d: %d records billed\n", b.Attempt, len(b.Records))
		cancel() // that is all of this example
		return nil
	})
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		timed(&breaker{next: billing, limit: 2, rest: 500 * time.Millisecond}),
		esm.WithBackoff(esm.Constant(10*time.Millisecond)),
		esm.WithBatchWindow(10*time.Millisecond),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	s := m.Stats()
	fmt.Printf("%d failed, %d throttled\n", s.InvokeErrorCount, s.ThrottleCount)
	// Output:
	// attempt 1: billing is down
	// attempt 2: billing is down
	// attempt 3: 2 records billed
	// 2 failed, 1 throttled
}
