package esmtest

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/seed429fd032/esm"
)

// Start makes a Mapping and starts it. At the end of the test it is stopped,
// and the test fails if that does not go well: if an invocation ignores that
// its context ended, what was settled could not be committed, or the group
// could not be left. An invocation that still runs then, and ends when its
// context does, is nothing bad, but it is waited for ([esm.WithStopTimeout]).
// A test that expects what is bad stops the Mapping itself.
//
// The test fails, too, if the Invoker changes bytes of a key, a value or a header in
// place: they come again after a failure. It is looked for when Invoke returns, and
// when a record comes again, which sees what a goroutine does that Invoke left
// behind. To store something else in a record, or to forward it as it is, is no
// mistake. [MayWrite] exempts an Invoker.
//
// What the Mapping logs goes to the test's output, unless opts say otherwise.
func Start(t testing.TB, source esm.Source, invoker esm.Invoker, opts ...esm.Option) *esm.Mapping {
	t.Helper()
	m := New(t, source, invoker, opts...)
	if err := m.Start(t.Context()); err != nil {
		t.Fatalf("esmtest: %v", err)
	}
	return m
}

// New is [Start] without starting.
func New(t testing.TB, source esm.Source, invoker esm.Invoker, opts ...esm.Option) *esm.Mapping {
	t.Helper()
	needOwn(t, "a Mapping")
	own := invoker
	if exempt, ok := own.(mayWrite); ok {
		own = exempt.Invoker
	}
	if i, ok := own.(*Invoker); ok && i != nil {
		needSame(t, "this Invoker", i.bubble)
	}
	watchClock(t)
	needNoListener(t)
	return newMapping(t, source, invoker, opts...)
}

// newMapping is New without a look at where it is called.
func newMapping(t testing.TB, source esm.Source, invoker esm.Invoker, opts ...esm.Option) *esm.Mapping {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	m, err := esm.New(source, watched(t, invoker), append([]esm.Option{esm.WithLogger(logger)}, opts...)...)
	if err != nil {
		t.Fatalf("esmtest: %v", err)
	}
	t.Cleanup(func() {
		select {
		case <-m.Done():
			return // the test stopped it, or the function halted it
		default:
		}
		err := m.Stop(context.Background())
		if drain := (*esm.DrainError)(nil); errors.As(err, &drain) && len(drain.Stuck) == 0 && drain.CommitErr == nil && drain.LeaveErr == nil {
			return // what was cancelled has ended
		}
		if err != nil {
			t.Errorf("esmtest: the mapping did not stop well: %v", err)
		}
	})
	return m
}
