package job

import (
	"context"
	"time"
)

// Gather makes batches of n records out of single ones. A batch that is not
// full waits for the rest of its window. It returns when call returns false,
// when in is closed, or when ctx ends. It is for contenders whose client hands
// out records one by one.
func Gather[R any](ctx context.Context, in <-chan R, n int, window time.Duration, call func([]R) bool) {
	var timer *time.Timer
	for {
		batch := make([]R, 0, n)
		select {
		case r, ok := <-in:
			if !ok {
				return
			}
			batch = append(batch, r)
		case <-ctx.Done():
			return
		}
		var over <-chan time.Time
	fill:
		for len(batch) < n {
			select {
			case r, ok := <-in:
				if !ok {
					break fill
				}
				batch = append(batch, r)
				continue
			default:
			}
			if window <= 0 {
				break
			}
			if over == nil {
				if timer == nil {
					timer = time.NewTimer(window)
					defer timer.Stop()
				} else {
					timer.Reset(window)
				}
				over = timer.C
			}
			select {
			case r, ok := <-in:
				if !ok {
					break fill
				}
				batch = append(batch, r)
			case <-over:
				break fill
			case <-ctx.Done():
				return
			}
		}
		if !call(batch) {
			return
		}
	}
}

// GatherRuns is Gather for clients that hand out runs of records.
func GatherRuns[R any](ctx context.Context, in <-chan []R, n int, window time.Duration, call func([]R) bool) {
	var rest []R
	var over <-chan time.Time // when what rests has waited long enough
	for {
		for len(rest) >= n {
			if !call(rest[:n]) {
				return
			}
			rest, over = rest[n:], nil
		}
		if len(rest) > 0 && over == nil {
			over = time.After(window)
		}
		select {
		case run, ok := <-in:
			if !ok {
				if len(rest) > 0 {
					call(rest)
				}
				return
			}
			// In a new array: the batches before it are in use.
			rest = append(rest[:len(rest):len(rest)], run...)
		case <-over:
			if !call(rest) {
				return
			}
			rest, over = nil, nil
		case <-ctx.Done():
			return
		}
	}
}
