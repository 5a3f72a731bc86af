package esmemf

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// An outbox has lines that wait for the writer. A goroutine writes them, which is there as long
// as they are: what happens to a Mapping waits for its hooks, so these must not wait for a
// writer.
type outbox struct {
	pen   pen
	alarm alarm

	mu      sync.Mutex // guards the rest, and is held for moments
	lines   []waiting
	bytes   int
	writing bool      // the goroutine is there
	since   time.Time // when it called the writer, zero if it does not
	lost    int64     // lines that are not written and will not be
}

// A waiting is a line, or somebody who waits until those before it are written.
type waiting struct {
	line    []byte
	reached chan<- struct{}
}

// mostWaiting is how many bytes of lines wait at most. Those that come then are lost.
const mostWaiting = 4 << 20

// put has a line written.
func (o *outbox) put(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes+len(line) > mostWaiting {
		o.lost++
		o.warn(fmt.Errorf("%d lines wait for the Writer, which is too slow; further ones are lost", len(o.lines)))
		return
	}
	if err := o.hangs(); err != nil {
		o.warn(err)
	}
	o.bytes += len(line)
	o.add(waiting{line: line})
}

// add has something come in its turn. The lock is held.
func (o *outbox) add(w waiting) {
	o.lines = append(o.lines, w)
	if !o.writing {
		o.writing = true
		go o.write()
	}
}

// hangs says how long the writer has been away, if that is too long. The lock is held.
func (o *outbox) hangs() error {
	if o.since.IsZero() || time.Since(o.since) < writeWithin {
		return nil
	}
	return fmt.Errorf("the Writer has not returned for %s, and %d lines wait for it", time.Since(o.since).Round(time.Second), len(o.lines))
}

// warn tells the logger, and does not wait for it. The lock is held.
func (o *outbox) warn(err error) {
	if tell := o.alarm.note(err); tell != nil {
		go tell()
	}
}

// write writes lines until there is none.
func (o *outbox) write() {
	for {
		o.mu.Lock()
		o.since = time.Time{}
		if len(o.lines) == 0 {
			o.lines, o.writing = nil, false
			o.mu.Unlock()
			return
		}
		w := o.lines[0]
		o.lines, o.bytes = o.lines[1:], o.bytes-len(w.line)
		if w.line != nil {
			o.since = time.Now()
		}
		o.mu.Unlock()
		if w.reached != nil {
			close(w.reached)
			continue
		}
		written, err := o.pen.put(w.line)
		if !written {
			o.mu.Lock()
			o.lost++
			o.mu.Unlock()
		}
		o.alarm.tell(err)
	}
}

// wait waits until all is written that was put before.
func (o *outbox) wait(ctx context.Context) error {
	reached := make(chan struct{})
	o.mu.Lock()
	err := o.hangs()
	if err == nil { // or each wait would leave something behind
		o.add(waiting{reached: reached})
	}
	o.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the Writer is not done with the lines: %w", context.Cause(ctx))
	}
}

// losses says how many lines were lost since it was asked last.
func (o *outbox) losses() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	lost := o.lost
	if o.lost = 0; lost == 0 {
		return nil
	}
	return fmt.Errorf("%d lines are lost, since the Writer failed or was too slow", lost)
}
