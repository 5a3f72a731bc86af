package engine

import (
	"context"
)

// Hold is why nothing is leased and nothing polled.
type Hold uint8

const (
	HoldPause Hold = 1 << iota
	HoldHalt
	HoldStop
)

// Hold keeps anything new from being read and invoked, for a reason that lasts
// until ResumeFrom ends it. When it returns, the poll that was under way is cut
// short, and no other begins.
func (e *Engine) Hold(h Hold) {
	e.mu.Lock()
	defer e.unlock()
	e.holds |= h
	e.cutPoll()
}

// ResumeFrom ends a reason to hold.
func (e *Engine) ResumeFrom(h Hold) {
	e.mu.Lock()
	defer e.unlock()
	e.holds &^= h
	if h == HoldHalt {
		e.evidence.ForgetRefusals() // it is given its time again
	}
	e.kick(e.world.Now())
	e.GateBell.Ring()
	e.timeBell.Ring()
}

// AwaitIdle waits until no call runs, and reports false if stopped was closed or
// ctx ended before.
func (e *Engine) AwaitIdle(ctx context.Context, stopped <-chan struct{}) bool {
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
