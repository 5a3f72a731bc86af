package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed429fd032/esm"
)

// A breaker leaves a function alone for a while after it failed several times
// in a row. When that is over it lets one call through, and by how that ends
// it closes, or stays open for as long again.
//
// What it holds back it answers with esm.Throttled: the function was not
// called, so that is no attempt, and the Mapping does not come again before
// the time is over. A call that it lets through it neither repeats nor judges
// otherwise than the function did.
type breaker struct {
	next   esm.Invoker
	limit  int
	rest   time.Duration
	report func(...any)

	mu     sync.Mutex
	state  breakerState
	failed int       // in a row, while closed
	until  time.Time // while open
}

type breakerState int

const (
	closed  breakerState = iota
	open                 // the function is left alone
	probing              // one call is on its way, to see
)

var (
	errOpen     = errors.New("the breaker is open")
	errPanicked = errors.New("the function did not return")
)

func (k *breaker) Invoke(ctx context.Context, b *esm.Batch) (err error) {
	wait, probe := k.ask(time.Now())
	if wait > 0 {
		return esm.Throttled(wait, errOpen)
	}
	err = errPanicked // what is seen of a panic, which goes on to the Mapping
	defer func() { k.learn(ctx, err, probe, time.Now()) }()
	err = k.next.Invoke(ctx, b)
	return err
}

// ask returns how long to wait, or 0 and whether the call is the one to see.
func (k *breaker) ask(now time.Time) (wait time.Duration, probe bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.state == closed:
		return 0, false
	case k.state == probing:
		return k.rest / 4, false
	case now.Before(k.until):
		return k.until.Sub(now), false
	}
	k.state = probing
	k.report("breaker: one call, to see")
	return 0, true
}

// learn notes how a call ended.
func (k *breaker) learn(ctx context.Context, err error, probe bool, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !probe && k.state != closed {
		return // it began before the breaker opened
	}
	cause := context.Cause(ctx)
	nothing := err != nil && // a call that was cut short, or did not reach the function, proves nothing
		(errors.Is(cause, esm.ErrStopping) || errors.Is(cause, esm.ErrRevoked) || errors.Is(err, esm.ErrThrottled))
	switch {
	case nothing && probe:
		k.state, k.until = open, now // the next call is to see
	case nothing:
	case err == nil:
		if probe {
			k.report("breaker: closed, the service is well")
		}
		k.state, k.failed = closed, 0
	case probe:
		k.open(now, "still failing")
	default:
		if k.failed++; k.failed >= k.limit {
			k.open(now, fmt.Sprintf("%d failures in a row", k.failed))
		}
	}
}

// open leaves the function alone for a while. The lock is held.
func (k *breaker) open(now time.Time, why string) {
	k.state, k.failed, k.until = open, 0, now.Add(k.rest)
	k.report(fmt.Sprintf("breaker: open for %s, %s", k.rest, why))
}
