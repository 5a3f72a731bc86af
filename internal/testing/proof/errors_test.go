package proof_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// A brokenError is an error of which one method misbehaves, or every one.
type brokenError struct {
	method string
	do     func()
	holds  error
}

func (e *brokenError) may(method string) {
	if e.method == method || e.method == "every method" { // of nil it panics
		e.do()
	}
}

func (e *brokenError) Error() string    { e.may("Error"); return "nasty" }
func (e *brokenError) Is(error) bool    { e.may("Is"); return false }
func (e *brokenError) As(any) bool      { e.may("As"); return false }
func (e *brokenError) Unwrap() error    { e.may("Unwrap"); return e.holds }
func (e *brokenError) String() string   { e.may("String"); return "nasty" }
func (e *brokenError) GoString() string { return e.String() }

// nastyPlaces are where an error of the user's gets in.
var nastyPlaces = map[string]func(err error, b *esm.Batch) error{
	"returned":            func(err error, _ *esm.Batch) error { return err },
	"returned, wrapped":   func(err error, _ *esm.Batch) error { return fmt.Errorf("call: %w", wrapper{err}) },
	"returned, joined":    func(err error, _ *esm.Batch) error { return joiner{err, errBilling} },
	"panicked with":       func(err error, _ *esm.Batch) error { panic(err) },
	"why it is permanent": func(err error, _ *esm.Batch) error { return esm.Permanent(err) },
	"why it is too large": func(err error, _ *esm.Batch) error { return esm.TooLarge(err) },
	"why it is throttled": func(err error, _ *esm.Batch) error { return esm.Throttled(time.Second, err) },
	"why it halts":        func(err error, _ *esm.Batch) error { return esm.Halt(err) },
	"said of a record": func(err error, b *esm.Batch) error {
		var f esm.Failures
		f.Add(b.Records[0], err)
		return f.Err()
	},
	"said of a record twice": func(err error, b *esm.Batch) error {
		var f esm.Failures
		f.Add(b.Records[0], err)
		f.StopAt(b.Records[0], err)
		return f.Err()
	},
}

// wrapper and joiner do not look at what they hold.
type wrapper struct{ error }

func (w wrapper) Error() string { return "wrapped" }
func (w wrapper) Unwrap() error { return w.error }

type joiner []error

func (j joiner) Error() string   { return "joined" }
func (j joiner) Unwrap() []error { return j }

// nastyDeeds are what methods do.
var nastyDeeds = map[string]func(m *atomic.Pointer[esm.Mapping]) func(){
	"panics":     func(*atomic.Pointer[esm.Mapping]) func() { return func() { panic("a method") } },
	"exits":      func(*atomic.Pointer[esm.Mapping]) func() { return runtime.Goexit },
	"calls back": func(m *atomic.Pointer[esm.Mapping]) func() { return func() { askAll(m.Load()) } },
}

// askAll asks a Mapping everything, and changes it.
func askAll(m *esm.Mapping) {
	_, _, _, _, _ = m.Stats(), m.State(), m.Ready(), m.Healthy(), m.Err()
	_ = m.AppendPartitions(nil)
	_ = m.Update(esm.WithMaxPollers(50))
}

// TestErrorsWhoseMethodsMisbehave cost their own call only: wherever they get
// in, nobody else waits, and nothing is lost.
func TestErrorsWhoseMethodsMisbehave(t *testing.T) {
	for place, say := range nastyPlaces {
		for deed, do := range nastyDeeds {
			for _, method := range []string{"Error", "Is", "As", "Unwrap", "String", "every method"} {
				t.Run(fmt.Sprintf("%s, %s in %s", place, deed, method), func(t *testing.T) {
					virtual(t, func(t *testing.T) {
						var m atomic.Pointer[esm.Mapping]
						survives(t, &m, say, &brokenError{method: method, do: do(&m)})
					})
				})
			}
		}
		itself := &brokenError{}
		itself.holds = itself
		for name, err := range map[string]error{"a nil pointer": (*brokenError)(nil), "holds itself": itself, "holds itself, large": &largeCircle{}} {
			t.Run(place+", "+name, func(t *testing.T) {
				virtual(t, func(t *testing.T) { survives(t, &atomic.Pointer[esm.Mapping]{}, say, err) })
			})
		}
	}
}

// A largeCircle holds itself in several ways, and says much.
type largeCircle struct{}

func (c *largeCircle) Error() string   { return strings.Repeat("much ", 10_000) }
func (c *largeCircle) Unwrap() []error { return []error{c, nil, errBilling, c} }

// survives has a Mapping with a function that fails twice in such a way, and a
// destination that does.
func survives(t *testing.T, mapping *atomic.Pointer[esm.Mapping], say func(error, *esm.Batch) error, nasty error) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
	var said, delivered atomic.Int64
	inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		if b.Records[0].Partition == 0 && said.Add(1) <= 2 {
			return say(nasty, b)
		}
		return nil
	})
	dest := esm.DestinationFunc(func(context.Context, *esm.Discard) error {
		switch delivered.Add(1) {
		case 1:
			return nasty
		case 2:
			panic(nasty)
		}
		return nil
	})
	looked := esm.Hooks{
		InvokeEnded:    func(i esm.Invocation) { look(i.Err) },
		RetryScheduled: func(i esm.Blocker) { look(i.Err) },
		DeliveryFailed: func(i *esm.Discard) { look(i.Err); look(i.DeliveryErr) },
		Discarded:      func(i *esm.Discard) { look(i.Err) },
		Throttled:      func(i esm.Invocation) { look(i.Err) },
	}
	m := esmtest.New(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBackoff(esm.Constant(time.Second)), esm.WithPauseOnHalt(true),
		esm.WithDestination(dest), esm.WithBatchSize(5), esm.WithHooks(looked))
	mapping.Store(m)
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.ProduceTo("orders", 0, "a", "b", "c")
	k.ProduceTo("orders", 1, "d", "e", "f")
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && (k.Committed("billing", "orders", 0) < 3 || k.Committed("billing", "orders", 1) < 3); {
		time.Sleep(time.Second)
		askAll(m)
		if m.State().Phase == esm.PhaseHalted {
			if err := m.Resume(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a, b := k.Committed("billing", "orders", 0), k.Committed("billing", "orders", 1); a != 3 || b != 3 {
		t.Errorf("committed %d and %d; %+v", a, b, m.State())
	}
	stop(t, m)
	if said.Load() < 1 {
		t.Errorf("it was said %d times", said.Load())
	}
}

// look is a hook that makes the text of an error, as a log does.
func look(err error) {
	if err != nil {
		_ = err.Error()
		_ = fmt.Sprintf("%v %+v %s", err, err, err)
	}
}

// TestErrorWhoseMethodsNeverReturn is a call that never returns: it holds its
// own partition, is shown as that, and nobody else waits.
func TestErrorWhoseMethodsNeverReturn(t *testing.T) {
	for place, say := range nastyPlaces {
		for _, method := range []string{"Error", "Is", "Unwrap", "every method"} {
			t.Run(place+", in "+method, func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
					stuck := make(chan struct{})
					release := sync.OnceFunc(func() { close(stuck) })
					defer release()
					nasty := &brokenError{method: method, do: func() { <-stuck }}
					var handled atomic.Int64
					inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
						if b.Records[0].Partition == 0 && b.Attempt == 1 {
							return say(nasty, b)
						}
						handled.Add(int64(len(b.Records)))
						return nil
					})
					m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(5), esm.WithStopTimeout(5*time.Second), esm.WithMinPollers(2))
					k.ProduceTo("orders", 0, "a")
					time.Sleep(2 * time.Second)
					for range 3 {
						k.ProduceTo("orders", 1, "b")
						time.Sleep(time.Minute)
						askAll(m)
					}
					synctest.Wait()                  // a retry may be under way that is due now
					hangs := m.Stats().BusySlots > 0 // not every method is asked in every place
					if got := k.Committed("billing", "orders", 1); got != 3 && m.State().Phase == esm.PhaseRunning {
						t.Errorf("committed %d of the other partition", got)
					}
					began := time.Now()
					err := m.Stop(t.Context())
					if took := time.Since(began); took > 8*time.Second {
						t.Errorf("Stop took %s", took)
					}
					var drain *esm.DrainError
					if hangs != (errors.As(err, &drain) && len(drain.Stuck) == 1) {
						t.Errorf("it hangs: %v; Stop: %v", hangs, err)
					}
				})
			})
		}
	}
}

// TestFatalErrorOfTheFunctionIsKept: what the function halted with is found in
// what Run returns, however large its text is.
func TestHaltWithALargeReason(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		m := esmtest.New(t, k.Source("orders", "billing"), esm.Each(func(context.Context, *kgo.Record) error {
			return esm.Halt(fmt.Errorf("%w: %s", errBilling, strings.Repeat("x", 10<<20)))
		}), quiet())
		k.Produce("orders", "a")
		err := m.Run(t.Context())
		var halt *esm.HaltError
		if !errors.As(err, &halt) || !errors.Is(err, errBilling) {
			t.Errorf("Run: %.200v", err)
		}
		if n := len(err.Error()); n > 10_000 {
			t.Errorf("a text of %d bytes", n)
		}
		if s := m.State(); len(s.Reason) > 10_000 || len(s.LastResult) > 10_000 {
			t.Errorf("a reason of %d bytes", len(s.Reason))
		}
	})
}
