package esmtest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// timed is an Invoker that tells how long another one takes.
type timed struct {
	next esm.Invoker
	tell func(took time.Duration)
}

func (i timed) Invoke(ctx context.Context, b *esm.Batch) error {
	began := time.Now()
	defer func() { i.tell(time.Since(began)) }()
	if err := i.next.Invoke(ctx, b); err != nil {
		return fmt.Errorf("batch %s: %w", b.ID, err)
	}
	return nil
}

func ExampleTestInvoker() {
	var t *testing.T // of func TestTimed(t *testing.T)
	esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
		return timed{next: target, tell: func(time.Duration) {}}
	})
}

// without is an Invoker that keeps some records from another one.
type without struct {
	next esm.Invoker
	drop func(r *kgo.Record) bool
}

func (i without) Invoke(ctx context.Context, b *esm.Batch) error {
	kept := slices.DeleteFunc(slices.Clone(b.Records), i.drop)
	if len(kept) == 0 {
		return nil // they are settled
	}
	return i.next.Invoke(ctx, b.With(kept))
}

// newWithout drops some of the suite's records: see Drops for what they are.
func newWithout(_ testing.TB, target esm.InvokerFunc) esm.Invoker {
	return without{next: target, drop: func(r *kgo.Record) bool { return string(r.Key) == "key 1" }}
}

// A filter drops records, and says so.
func ExampleTestInvoker_drops() {
	var t *testing.T // of func TestWithout(t *testing.T)
	esmtest.TestInvoker(t, newWithout, esmtest.Drops)
}
