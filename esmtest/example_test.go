package esmtest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

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
