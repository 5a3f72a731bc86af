package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// shown is how many failures are printed in full. The others are counted.
const shown = 5

// many runs -seeds, on all processors.
func (h *host) many(ctx context.Context, t task) (int, error) {
	var share func(ctx context.Context, from, n uint64, each func(run) bool) error
	size := uint64(1)
	if t.native {
		file, err := h.build(ctx, false, "")
		if err != nil {
			return broken, err
		}
		size = 50 // of one process: it starts in a fraction of that
		share = func(ctx context.Context, from, n uint64, each func(run) bool) error {
			return h.nativeSeeds(ctx, file, from, n, each)
		}
	} else {
		runs, done, err := h.runner(ctx, false)
		if err != nil {
			return broken, err
		}
		defer done()
		share = func(ctx context.Context, from, _ uint64, each func(run) bool) error {
			v, err := once(ctx, runs, work{seed: from}, t.twice)
			if err == nil {
				each(v)
			}
			return err
		}
	}
	fmt.Fprintf(h.out, "seeds %d to %d\n", t.from, t.from+t.seeds-1)
	s := newSummary(t.seeds)
	stop := s.progress(h.err)
	err := inShares(ctx, t.from, t.seeds, size, share, func(v run) bool {
		if n := s.add(v); n > 0 && n <= shown {
			h.failure(t, v)
		}
		return true
	})
	stop()
	fmt.Fprint(h.out, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.broken {
		err = errors.Join(err, t.keep(v))
	}
	if err != nil || len(s.broken) > 0 {
		return broken, err
	}
	return held, nil
}

// once runs a seed, or runs it twice and adds to what is broken that the two differ.
func once(ctx context.Context, runs func(context.Context, work) (run, error), w work, twice bool) (run, error) {
	v, err := runs(ctx, w)
	if err != nil || !twice {
		return v, err
	}
	again, err := runs(ctx, w)
	if err != nil {
		return v, err
	}
	if a, b := v.print(), again.print(); a != b {
		v.Broken = append(v.Broken, fmt.Sprintf("twice: the same seed gave two runs: %s and %s", a, b))
	}
	return v, nil
}

// failure prints a failing run, with the command that repeats it.
func (h *host) failure(t task, v run) {
	again := fmt.Sprintf("go run . -seed %d%s", v.Seed, nativeFlag(t.native))
	if t.twice && v.judge() == "twice" {
		again = fmt.Sprintf("go run . -seeds 1 -from %d -twice", v.Seed)
	}
	fmt.Fprintf(h.out, "\nFAILED seed %d\n", v.Seed)
	h.show(v, 40)
	fmt.Fprintf(h.out, "again: %s\n\n", again)
}

// inShares hands consecutive seeds to as many workers as there are processors, a
// share at a time. Each is called by one at a time. If it returns false, the share
// is over and no other begins; those that have begun go on.
func inShares(ctx context.Context, from, n, size uint64, do func(ctx context.Context, from, n uint64, each func(run) bool) error, each func(run) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu   sync.Mutex
		next = from
		over bool
		wg   sync.WaitGroup
	)
	take := func() (at, length uint64) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return 0, 0
		}
		at, length = next, min(size, from+n-next)
		next += length
		return at, length
	}
	hand := func(v run) bool {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return false
		}
		more := each(v)
		over = over || !more
		return more
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for ctx.Err() == nil {
				at, length := take()
				if length == 0 {
					return
				}
				if err := do(ctx, at, length, hand); err != nil {
					cancel(err) // the first is the cause
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// progress tells how far it is: once a second where somebody watches, and every
// ten seconds in a log.
func (s *summary) progress(to interface{ Write([]byte) (int, error) }) (stop func()) {
	watched := isTerminal(to)
	every, form := 10*time.Second, "%s\n"
	if watched {
		every, form = time.Second, "\r\x1b[K%s"
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(to, form, s.soFar())
			case <-done:
				if watched {
					fmt.Fprint(to, "\r\x1b[K")
				}
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
