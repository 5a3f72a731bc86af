package demo

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/seed429fd032/esm"
)

// patience is how long nothing may be settled. A Mapping that never comes to
// its end would not be found out otherwise.
const patience = 30 * time.Second

// Drain starts a Mapping, follows it until done reports true, and stops it. It
// reports whether ctx ended before that. Then the invocations were let end, and
// it is no error.
func Drain(ctx context.Context, m *esm.Mapping, progress io.Writer, done func(*esm.Mapping) bool, line func(st *esm.Stats, rate float64) string) (interrupted bool, err error) {
	if err := m.Start(ctx); err != nil && ctx.Err() == nil {
		return false, err
	}
	finished := Follow(ctx, m, progress, done, line)
	interrupted = !finished && ctx.Err() != nil
	if interrupted {
		fmt.Fprintln(progress, "interrupted: letting the invocations end")
	}
	// Not ctx, which may be over: WithStopTimeout bounds it. What goes wrong in
	// it is part of what Err says.
	_ = m.Stop(context.Background())
	return interrupted, m.Err()
}

// Follow shows once a second what a Mapping does, until done reports true, or
// ctx, the Mapping or all progress ends (false). It asks done twenty times a
// second; rate is in records a second.
func Follow(ctx context.Context, m *esm.Mapping, progress io.Writer, done func(*esm.Mapping) bool, line func(st *esm.Stats, rate float64) string) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	shown, shownSettled := began, int64(0)
	moved, settled := began, int64(0)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-m.Done():
			return false // Err says why
		case <-tick.C:
		}
		end := done(m)
		st, now := m.Stats(), time.Now()
		if st.SettledEventCount > settled {
			moved, settled = now, st.SettledEventCount
		}
		if end || now.Sub(shown) >= time.Second {
			rate := float64(st.SettledEventCount-shownSettled) / now.Sub(shown).Seconds()
			shown, shownSettled = now, st.SettledEventCount
			fmt.Fprintf(progress, "%4.0fs  %s\n", now.Sub(began).Seconds(), line(&st, rate))
			for _, p := range m.State().Problems {
				fmt.Fprintf(progress, "       %s: %v\n", p.With, p.Err)
			}
		}
		if end {
			return true
		}
		if now.Sub(moved) > patience {
			fmt.Fprintf(progress, "nothing was settled for %s: giving up\n", patience)
			return false // the check of the example says the rest
		}
	}
}

// Settled reports whether so many records are settled, for Follow and Drain.
func Settled(records int) func(*esm.Mapping) bool {
	return func(m *esm.Mapping) bool { return m.Stats().SettledEventCount >= int64(records) }
}

// Work is what the function of an example does: it takes its time, and ends
// when its context does.
func Work(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
