package esmtest_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A recorder is a test that may fail without failing the one that watches it.
type recorder struct {
	testing.TB // the one that watches, for what is not here
	ctx        context.Context

	mu       sync.Mutex
	failures []string
	cleanups []func()
	over     bool
}

// watch runs f as a test of its own, with its cleanups, and returns how it
// failed.
func watch(t testing.TB, f func(t testing.TB)) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{TB: t, ctx: ctx}
	alone(func() { f(r) })
	cancel()
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			defer r.mu.Unlock()
			r.over = true
			return r.failures
		}
		next := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		alone(next)
	}
}

// alone runs f on a goroutine of its own, which FailNow ends.
func alone(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over { // testing panics then
		r.TB.Errorf("a test was told after its end: %s", s)
	}
	r.failures = append(r.failures, strings.TrimSpace(s))
}

func (r *recorder) Helper()                  {}
func (r *recorder) Log(...any)               {}
func (r *recorder) Logf(string, ...any)      {}
func (r *recorder) Output() io.Writer        { return io.Discard }
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Fail()                    { r.note("failed") }
func (r *recorder) FailNow()                 { r.Fail(); runtime.Goexit() }
func (r *recorder) Error(args ...any)        { r.note(fmt.Sprintln(args...)) }
func (r *recorder) Fatal(args ...any)        { r.Error(args...); runtime.Goexit() }
func (r *recorder) Errorf(format string, args ...any) {
	r.note(fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}
func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// wantFailure fails unless there is one failure and it holds all of this.
func wantFailure(t testing.TB, failures []string, parts ...string) {
	t.Helper()
	if len(failures) != 1 {
		t.Errorf("%d failures, not one: %q", len(failures), failures)
		return
	}
	for _, part := range parts {
		if !strings.Contains(failures[0], part) {
			t.Errorf("a failure does not mention %q: %s", part, failures[0])
		}
	}
}

func TestRecorderFailsInPlaceOfTheTest(t *testing.T) {
	var steps []string
	failures := watch(t, func(t testing.TB) {
		t.Cleanup(func() { steps = append(steps, "first cleanup") })
		t.Cleanup(func() {
			if t.Context().Err() != nil {
				steps = append(steps, "last cleanup")
			}
			t.Fatal("in a cleanup")
		})
		t.Errorf("one %s", "error")
		t.Fatalf("and %s end", "the")
		steps = append(steps, "after the end")
	})
	if want := []string{"one error", "and the end", "in a cleanup"}; !slices.Equal(failures, want) {
		t.Errorf("%q", failures)
	}
	if want := []string{"last cleanup", "first cleanup"}; !slices.Equal(steps, want) {
		t.Errorf("%q", steps)
	}
}
