package engine

import (
	"errors"
	"testing"
	"time"
)

// An unlockedTeller is a watcher that knows one problem, and counts how often it was told.
type unlockedTeller struct {
	Watcher
	known *Trouble
	told  int
}

func (w *unlockedTeller) Note(with string, err error, now time.Time) (tell func()) {
	w.known = &Trouble{With: with, Err: err, Since: now, Last: now}
	return func() { w.told++ }
}

func (w *unlockedTeller) Trouble(with string) *Trouble {
	if w.known != nil && w.known.With == with {
		return w.known
	}
	return nil
}

// TestAProblemIsKnownAtOnceAndToldWithoutTheLock: what is told runs user code.
func TestAProblemIsKnownAtOnceAndToldWithoutTheLock(t *testing.T) {
	w := &unlockedTeller{}
	e := New(&Settings{PollerConcurrency: 1, PollerByteRate: -1, MemoryBudget: 1 << 20}, World{}, w, t.Context())
	e.mu.Lock()
	e.problem("lag", errors.New("no"), time.Now())
	if e.trouble("lag") == nil {
		t.Error("a problem is not known before it is told")
	}
	if w.told != 0 {
		t.Error("it is told with the lock")
	}
	e.unlock()
	if w.told != 1 {
		t.Errorf("it was told %d times", w.told)
	}
}
