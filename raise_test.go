package esm

import (
	"errors"
	"testing"
	"time"
)

// An unlockedTeller is a watcher that knows one problem, and counts how often it was told.
type unlockedTeller struct {
	watcher
	known *trouble
	told  int
}

func (w *unlockedTeller) note(with string, err error, now time.Time) (tell func()) {
	w.known = &trouble{with: with, err: err, since: now, last: now}
	return func() { w.told++ }
}

func (w *unlockedTeller) trouble(with string) *trouble {
	if w.known != nil && w.known.with == with {
		return w.known
	}
	return nil
}

// TestAProblemIsKnownAtOnceAndToldWithoutTheLock: what is told runs user code.
func TestAProblemIsKnownAtOnceAndToldWithoutTheLock(t *testing.T) {
	w := &unlockedTeller{}
	e := newEngine(&settings{pollerConcurrency: 1, pollerByteRate: -1, memoryBudget: 1 << 20}, world{}, w, t.Context())
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
