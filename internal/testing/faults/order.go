package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed429fd032/esm"
)

// An order is what the parent tells a host to do, one after the other: a word,
// and how long, or which options.
const (
	orderThrottle = "throttle"
	orderBreak    = "break"
	orderPause    = "pause"
	orderHalt     = "halt" // and resume after as long, or never, for 0s
	orderUpdate   = "update"
)

// obey does what an order says. It ends early if ctx does.
func (h *host) obey(ctx context.Context, order string) {
	word, what, _ := strings.Cut(order, " ")
	d, _ := time.ParseDuration(what)
	var err error
	switch word {
	case orderThrottle:
		h.throttled.Store(time.Now().Add(d).UnixNano())
	case orderBreak:
		h.refusing.Store(time.Now().Add(d).UnixNano())
	case orderPause:
		if err = h.mapping.Pause(ctx); err == nil {
			h.tell(line{Kind: linePaused})
			err = h.resumeAfter(ctx, d)
		}
	case orderHalt:
		err = h.halt(ctx, d)
	case orderUpdate:
		i, _ := strconv.Atoi(what)
		s := updates[i].of(h.GroupCalls)
		// Before: calls may have the new ones by the time that it returns.
		h.tell(line{Kind: lineUpdated, BatchSize: s.BatchSize, Concurrency: s.Limit})
		err = h.mapping.Update(s.options()...)
	default:
		err = fmt.Errorf("%q is not an order", order)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, esm.ErrStopped) {
		h.tell(line{Kind: lineRefused, Err: fmt.Sprintf("%s: %v", order, err)})
	}
}

// halt lets the next call halt the Mapping, and resumes it after some time.
func (h *host) halt(ctx context.Context, d time.Duration) error {
	select {
	case <-h.halted: // an old one
	default:
	}
	h.halting.Store(true)
	if d == 0 {
		return nil // it is for good
	}
	// Calls that run then may halt it too, as long as it lasts.
	select {
	case <-h.halted:
		h.halting.Store(false)
		return h.resumeAfter(ctx, d)
	case <-ctx.Done():
		return nil
	}
}

func (h *host) resumeAfter(ctx context.Context, d time.Duration) error {
	if !sleep(ctx, d) {
		return nil
	}
	h.tell(line{Kind: lineResumed})
	return h.mapping.Resume()
}
