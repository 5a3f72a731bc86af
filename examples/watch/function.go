package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

const callTime = 50 * time.Millisecond

// poison is a key that the function cannot handle in the second wave of a round.
var poison = []byte("order-13")

// A function takes 50 ms a batch. In the second wave of each round it fails on one key; at the
// end of the third it throttles.
type function struct {
	wave    time.Duration
	started time.Time
}

func newFunction(wave time.Duration) *function { return &function{wave, time.Now()} }

// phase is what it does now: "well", "poison" or "throttles".
func (f *function) phase() string {
	at := time.Since(f.started) % (3 * f.wave)
	switch {
	case at >= f.wave && at < 2*f.wave:
		return "poison"
	case at >= 3*f.wave-f.wave/2:
		return "throttles"
	}
	return "well"
}

func (f *function) invoke(ctx context.Context, b *esm.Batch) error {
	if err := demo.Work(ctx, callTime); err != nil {
		return err
	}
	switch f.phase() {
	case "throttles":
		return esm.Throttled(f.wave/20, nil)
	case "poison":
		var failures esm.Failures
		for _, r := range b.Records {
			if bytes.Equal(r.Key, poison) {
				failures.Add(r, fmt.Errorf("the order has no <customer>: %q", r.Key))
			}
		}
		return failures.Err()
	}
	return nil
}

// quick is the function of the other Mapping.
func quick(ctx context.Context, _ *esm.Batch) error { return demo.Work(ctx, time.Millisecond) }
