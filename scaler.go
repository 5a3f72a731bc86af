package esm

import (
	"context"
	"fmt"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/explain"
	"github.com/seed429fd032/esm/internal/kafka"
	"github.com/seed429fd032/esm/scaling"
)

// A scaleLoop asks the scaler once a second, or when there is news, and does what
// it says.
//
// It has a goroutine of its own and waits for no broker, so a broker that does not
// answer cannot keep the others' partitions from their pollers. What it knows of
// partitions is what the engine has heard by then; where that is too old, it is
// unknown, and the scaler is told so. It waits for hooks, which are bounded.
type scaleLoop struct {
	engine *engine.Engine
	watch  *teller
	config func() *config // as it was updated last
	scaler *scaling.Scaler
	growth explain.Growth
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
}

const scaleEvery = time.Second

// startScaling begins to scale. cancel ends it.
func startScaling(e *engine.Engine, w *teller, c func() *config) *scaleLoop {
	mode := scaling.Provisioned
	if c().OnDemand {
		mode = scaling.OnDemand
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &scaleLoop{engine: e, watch: w, config: c, scaler: scaling.New(mode), cancel: cancel, done: make(chan struct{})}
	go l.run(ctx)
	return l
}

func (l *scaleLoop) run(ctx context.Context) {
	defer close(l.done)
	timer := time.NewTimer(scaleEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.engine.ScaleBell:
		}
		again := scaleEvery
		if d := l.scale(time.Now()); d > 0 {
			again = min(again, d)
		}
		timer.Reset(again)
	}
}

// scale asks the scaler once, and returns when it wants to be asked again, 0 if it
// does not say.
func (l *scaleLoop) scale(now time.Time) (again time.Duration) {
	e := l.engine
	s, ok := e.Sample(now)
	if !ok {
		return 0
	}
	d := l.scaler.Decide(s)
	d.Mapping = l.watch.name
	if tell := l.watch.Note("lag", tooSmall(d, l.config()), now); tell != nil {
		tell()
	}
	e.Decided(d, now)
	l.grows(&s, now)
	fire(l.watch.watch, func(h *Hooks) func(scaling.Decision) { return h.Sampled }, d)
	return d.Again
}

// grows writes to the log that the lag grows, and why, if it does.
func (l *scaleLoop) grows(s *scaling.Sample, now time.Time) {
	if s.Idle {
		l.growth.Rest()
	}
	if s.Idle || !l.growth.Due(now) {
		return
	}
	lag := int64(0)
	for i := range s.Lanes {
		if lag += s.Lanes[i].Lag; s.Lanes[i].Lag < 0 {
			lag = -1
			break
		}
	}
	if l.growth.Look(now, lag, s.Settled) {
		f := l.watch.explains(l.engine, l.config())
		l.watch.write(func() { l.watch.logger.Warn("the lag grows", "lag", lag, "explanation", f.String()) })
	}
}

// ended waits until scaling has ended, after cancel, and reports whether it did
// before the time was over.
func (l *scaleLoop) ended(ctx context.Context) bool {
	select {
	case <-l.done:
		return true
	case <-ctx.Done():
	}
	last := time.NewTimer(kafka.EndTimeout)
	defer last.Stop()
	select {
	case <-l.done:
		return true
	case <-last.C:
		return false
	}
}

// tooSmall is the problem of a lag that grows under a setting.
func tooSmall(d scaling.Decision, c *config) error {
	option, is, share := "", 0, 0
	switch d.Short {
	case scaling.MaxPollers:
		option, is, share = "WithMaxPollers", c.MaxPollers, d.Sample.Most
	case scaling.PollerByteRate:
		if n := d.Reason.NeededByteRate; n > c.PollerByteRate {
			return fmt.Errorf("it grows, and WithPollerByteRate, which is %d, is what holds it; %d would do", c.PollerByteRate, n)
		}
		option, is = "WithPollerByteRate", c.PollerByteRate
	case scaling.MaxConcurrency:
		option, is, share = "WithMaxConcurrency", c.MaxConcurrency, d.Sample.MaxConcurrency
	default:
		return nil
	}
	if c.GroupBounds && share > 0 {
		return fmt.Errorf("it grows, and %s, which is %d for the whole group and %d for what this process has of it, is what holds it", option, is, share)
	}
	return fmt.Errorf("it grows, and %s, which is %d, is what holds it", option, is)
}
