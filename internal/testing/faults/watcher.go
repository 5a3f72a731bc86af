package main

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A watcher asks what is committed, as anybody can, and whether that moves.
type watcher struct {
	admin *kadm.Client
	ends  func() map[int32]int64
	judge *judge

	mu      sync.Mutex
	last    map[int32]int64
	moved   map[int32]time.Time // when it moved, or had nothing to do
	longest time.Duration
}

// patience is how long a partition with records may go without a commit: two
// faults one after the other, one of which may swallow the request to join the
// group, each with a session that has to end, and a rebalance that waits for it.
const patience = 2 * time.Minute

// run looks once a second.
func (w *watcher) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.look(ctx); err != nil {
			return err
		}
	}
}

func (w *watcher) look(ctx context.Context) error {
	ends := w.ends()
	ask, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	offsets, err := w.admin.FetchOffsets(ask, group)
	if err != nil {
		return nil // the brokers are being broken
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, end := range ends {
		at := int64(0)
		if o, ok := offsets.Lookup(topicOf(n).name, n-topicOf(n).first); ok {
			if o.Err != nil {
				continue
			}
			at = max(0, o.At)
		}
		// It may be less than it was, for a second: see commitLog.
		if last, known := w.last[n]; !known || at > last || at >= end || w.judge.takenUpTo(n, end) {
			w.moved[n] = now
		}
		w.last[n] = max(w.last[n], at)
		still := now.Sub(w.moved[n])
		w.longest = max(w.longest, still)
		if still > patience {
			return w.judge.brokenPart(n, "nothing was committed for %s; it stands at %d of %d", still.Round(time.Second), at, end)
		}
	}
	return nil
}

// wait waits until all below these ends is committed.
func (w *watcher) wait(ctx context.Context, ends map[int32]int64, most time.Duration) error {
	for deadline := time.Now().Add(most); ; {
		w.mu.Lock()
		behind, one := 0, int32(0)
		for n, end := range ends {
			if w.last[n] < end && !w.judge.takenUpTo(n, end) {
				behind, one = behind+1, n
			}
		}
		w.mu.Unlock()
		if behind == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return w.judge.brokenPart(one, "it and %d others were not done %s after the last fault", behind-1, most)
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return nil
		}
	}
}
