package esm

import (
	"context"
	"time"
)

// hold is why nothing is leased and nothing polled.
type hold uint8

const (
	holdPause hold = 1 << iota
	holdHalt
	holdStop
)

// hold keeps anything new from being read and invoked, for a reason that lasts
// until resumeFrom ends it. When it returns, the poll that was under way is cut
// short, and no other begins.
func (e *engine) hold(h hold) {
	e.mu.Lock()
	defer e.unlock()
	e.holds |= h
	e.cutPoll()
}

// resumeFrom ends a reason to hold.
func (e *engine) resumeFrom(h hold) {
	e.mu.Lock()
	defer e.unlock()
	e.holds &^= h
	if h == holdHalt {
		e.evidence.ForgetRefusals() // it is given its time again
	}
	e.kick(time.Now())
	e.gateBell.ring()
	e.timeBell.ring()
}

// awaitIdle waits until no call runs, and reports false if stopped was closed or
// ctx ended before.
func (e *engine) awaitIdle(ctx context.Context, stopped <-chan struct{}) bool {
	e.mu.Lock()
	defer e.unlock()
	for len(e.leases) > 0 {
		changed := e.changed.wait()
		e.unlock()
		over := false
		select {
		case <-changed:
		case <-stopped:
			over = true
		case <-ctx.Done():
			over = true
		}
		e.mu.Lock()
		if over {
			return false
		}
	}
	return true
}
