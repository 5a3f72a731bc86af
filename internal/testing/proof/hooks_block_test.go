package proof_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// hookNames are those that a short life calls.
var hookNames = []string{"StateChanged", "Assigned", "Polled", "InvokeStarted", "InvokeEnded", "Committed", "Sampled", "Scaled", "Revoked", "RetryScheduled"}

// TestHookThatWaitsForItsMapping is left behind by it: each hook, at its first
// and at its last call, calls what waits for the Mapping, and so for itself.
func TestHookThatWaitsForItsMapping(t *testing.T) {
	for does, do := range map[string]func(*esm.Mapping){
		"stops":          func(m *esm.Mapping) { _ = m.Stop(context.Background()) },
		"stops by a ctx": func(m *esm.Mapping) { ctx, done := context.WithCancel(context.Background()); done(); _ = m.Stop(ctx) },
		"pauses":         func(m *esm.Mapping) { _ = m.Pause(context.Background()); _ = m.Resume() },
		"waits":          func(m *esm.Mapping) { <-m.Done() },
		"starts":         func(m *esm.Mapping) { _ = m.Start(context.Background()) },
	} {
		for _, name := range hookNames {
			t.Run(name+" "+does, func(t *testing.T) {
				virtual(t, func(t *testing.T) { hookWaits(t, name, do, does == "stops by a ctx") })
			})
		}
	}
}

// hurried is whether it stops without waiting for calls.
func hookWaits(t *testing.T, name string, do func(*esm.Mapping), hurried bool) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
	var mapping atomic.Pointer[esm.Mapping]
	var calls, returned atomic.Int64
	hooks := esm.AllHooks(func(hook string, _ any) {
		if m := mapping.Load(); m != nil && hook == name && calls.Add(1) <= 3 { // what it does may call it
			do(m)
			returned.Add(1)
		}
	})
	inv := esmtest.NewInvoker(t).Fail(8, errBilling) // until a partition fails alone
	m := esmtest.New(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(hooks), esm.WithStopTimeout(8*time.Second), esm.WithBackoff(esm.Constant(time.Second)))
	mapping.Store(m)
	k.Produce("orders", "a", "b", "c", "d")
	began := time.Now()
	if err := m.Start(t.Context()); err != nil && !errors.Is(err, esm.ErrStopped) {
		t.Errorf("Start: %v", err)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("Start took %s", took)
	}
	time.Sleep(time.Minute)
	began = time.Now()
	err := m.Stop(context.Background())
	if took := time.Since(began); took > 18*time.Second {
		t.Errorf("Stop took %s: %v", took, err)
	}
	if drain := (*esm.DrainError)(nil); err != nil {
		// A stop that is cut short finds the invocation whose hook it is in, and
		// cancels those that run beside it.
		inHook := errors.As(err, &drain) && len(drain.Stuck) == 1 && name == "InvokeStarted"
		beside := hurried && drain != nil && drain.Cancelled > 0 && len(drain.Stuck) == 0
		if drain == nil || !inHook && !beside && !strings.Contains(err.Error(), "the hook "+name+" (WithHooks)") {
			t.Errorf("Stop: %v", err)
		}
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	if calls.Load() == 0 || min(calls.Load(), 3) != returned.Load() {
		t.Errorf("%d calls, of which %d returned", calls.Load(), returned.Load())
	}
	if s := m.State(); s.Phase != esm.PhaseStopped || len(s.Problems) > 0 {
		t.Errorf("%+v", s)
	}
}

// TestHookThatNeverReturns holds nothing up for long, is named, and is called
// again when it does.
func TestHookThatNeverReturns(t *testing.T) {
	for f := range reflect.TypeFor[esm.Hooks]().Fields() {
		t.Run(f.Name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
				stuck := make(chan struct{})
				release := sync.OnceFunc(func() { close(stuck) })
				defer release()
				var calls, others atomic.Int64
				hangs := esm.AllHooks(func(hook string, _ any) {
					if hook == f.Name {
						calls.Add(1)
						<-stuck
					}
				})
				hears := esm.AllHooks(func(string, any) { others.Add(1) })
				inv := esmtest.NewInvoker(t).Fail(1, errBilling)
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(hangs), esm.WithHooks(hears), esm.WithBackoff(esm.Constant(time.Second)))
				for range 20 {
					k.Produce("orders", "a", "b", "c", "d")
					time.Sleep(5 * time.Second)
				}
				waitFor(t, time.Minute, "handled", func() bool { return len(inv.Values()) == 80 })
				most := int64(4)
				if f.Name == "InvokeStarted" || f.Name == "InvokeEnded" {
					most += 4 // the other slots of the poller call it at the same time
				}
				if n := calls.Load(); n > most {
					t.Errorf("%d calls of a hook that never returns", n)
				}
				if others.Load() < 50 {
					t.Errorf("another one's hooks were called %d times", others.Load())
				}
				named := false
				for _, p := range m.State().Problems {
					named = named || p.With == "hooks" && strings.Contains(p.Err.Error(), "has not returned since") && time.Since(p.Since) > time.Minute
				}
				if named != (calls.Load() > 0) {
					t.Errorf("%d calls hang, and the state says %v", calls.Load(), m.State().Problems)
				}
				if err := m.Healthy(); err != nil {
					t.Error(err)
				}
				had := calls.Load()
				release()
				time.Sleep(time.Second)
				if ps := m.State().Problems; len(ps) != 0 {
					t.Errorf("they returned, and there are still %v", ps)
				}
				for range 3 {
					k.Produce("orders", "a", "b", "c", "d")
					time.Sleep(5 * time.Second)
				}
				if f.Name == "InvokeEnded" && calls.Load() <= had {
					t.Error("a hook that returned is not called again")
				}
				stop(t, m)
			})
		})
	}
}

// A brokenHandler is a log handler of which one method misbehaves, once it is
// on.
type brokenHandler struct {
	on     *atomic.Bool
	method string
	do     func()
}

func (h brokenHandler) may(method string) {
	if h.on.Load() && (h.method == method || h.method == "all") {
		h.do()
	}
}

func (h brokenHandler) Enabled(context.Context, slog.Level) bool  { h.may("Enabled"); return true }
func (h brokenHandler) Handle(context.Context, slog.Record) error { h.may("Handle"); return errBilling }
func (h brokenHandler) WithAttrs([]slog.Attr) slog.Handler        { h.may("WithAttrs"); return h }
func (h brokenHandler) WithGroup(string) slog.Handler             { h.may("WithGroup"); return h }

// TestLogHandlerThatMisbehaves harms nothing but the log.
func TestLogHandlerThatMisbehaves(t *testing.T) {
	type doer func(stuck <-chan struct{}, m *atomic.Pointer[esm.Mapping]) func()
	for does, do := range map[string]doer{
		"panics": func(<-chan struct{}, *atomic.Pointer[esm.Mapping]) func() { return func() { panic("a log") } },
		"blocks": func(stuck <-chan struct{}, _ *atomic.Pointer[esm.Mapping]) func() { return func() { <-stuck } },
		"calls back": func(_ <-chan struct{}, m *atomic.Pointer[esm.Mapping]) func() {
			return func() {
				if m := m.Load(); m != nil {
					_, _, _ = m.Stats(), m.State(), m.Healthy()
					_ = m.Update(esm.WithBatchSize(50))
				}
			}
		},
		"stops": func(_ <-chan struct{}, m *atomic.Pointer[esm.Mapping]) func() {
			return func() {
				if m := m.Load(); m != nil {
					_ = m.Stop(context.Background())
				}
			}
		},
	} {
		for _, method := range []string{"Enabled", "Handle", "WithAttrs", "all"} {
			t.Run(does+" in "+method, func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
					stuck := make(chan struct{})
					defer close(stuck)
					var mapping atomic.Pointer[esm.Mapping]
					on := &atomic.Bool{}
					on.Store(true)
					began := time.Now()
					h := brokenHandler{on, method, do(stuck, &mapping)}
					inv := esmtest.NewInvoker(t).Fail(1, errBilling)
					m, err := esm.New(k.Source("orders", "billing"), inv, esm.WithLogger(slog.New(h)), esm.WithBackoff(esm.Constant(time.Second)))
					if took := time.Since(began); took > 10*time.Second {
						t.Errorf("New took %s", took)
					}
					if err != nil {
						if oe := (*esm.OptionError)(nil); !errors.As(err, &oe) || oe.Option != "WithLogger" || method != "WithAttrs" && method != "all" {
							t.Fatal(err)
						}
						return
					}
					if method == "WithAttrs" && (does == "panics" || does == "blocks") {
						t.Fatal("New says nothing")
					}
					mapping.Store(m)
					k.Produce("orders", "a", "b", "c", "d")
					if err := m.Start(t.Context()); err != nil && !(errors.Is(err, esm.ErrStopped) && does == "stops") {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Minute)
					if got := len(inv.Values()); got != 4 && does != "stops" {
						t.Errorf("handled %d", got)
					}
					began = time.Now()
					err = m.Stop(t.Context())
					if took := time.Since(began); took > 30*time.Second {
						t.Errorf("Stop took %s", took)
					}
					if hangs := does == "blocks" || does == "stops" && method != "WithAttrs"; (err != nil) && !(hangs && strings.Contains(err.Error(), "the log handler")) {
						t.Errorf("Stop: %v", err)
					}
				})
			})
		}
	}
}
