package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/scaling"
)

const (
	// tick is how often the Mapping is looked at.
	tick = 50 * time.Millisecond
	// patience is how long nothing may be settled. A Mapping that never came to
	// its end would not be found out otherwise.
	patience = 30 * time.Second
)

// mapping makes the Mapping of a job. Its pollers are what AWS's are, because the
// figures beside it are AWS's. All else that is not in the scenario has its default.
func (j *job) mapping(handled func([]*kgo.Record), hooks esm.Hooks, logs io.Writer) (*esm.Mapping, error) {
	options := []esm.Option{
		esm.WithAWSLimits(),
		esm.WithBatchSize(j.Scenario.Batch),
		esm.WithHooks(hooks),
		esm.WithLogger(demo.Logger(logs, slog.LevelWarn)),
	}
	if j.Mode.OnDemand {
		options = append(options, esm.WithOnDemand(true))
	} else {
		options = append(options, esm.WithMinPollers(j.Mode.Min), esm.WithMaxPollers(j.Mode.Max))
	}
	return esm.New(
		esm.Source{Brokers: j.Brokers, Topics: []string{j.Topic}, Group: j.Group, Start: esm.TrimHorizon()},
		esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			if err := demo.Work(ctx, j.Scenario.Function); err != nil {
				return err
			}
			handled(b.Records)
			return nil
		}),
		options...,
	)
}

// run drains the topic, and measures it.
func (j *job) run(ctx context.Context, line func(string), logs io.Writer) (*outcome, error) {
	check := newCheck(j.Scenario)
	var firstPolled, lastSettled, most atomic.Int64
	m, err := j.mapping(check.handled, esm.Hooks{
		Polled:      func(esm.Poll) { firstPolled.CompareAndSwap(0, time.Now().UnixNano()) },
		InvokeEnded: func(esm.Invocation) { lastSettled.Store(time.Now().UnixNano()) },
		Scaled: func(d scaling.Decision) {
			for was := most.Load(); int64(d.To) > was && !most.CompareAndSwap(was, int64(d.To)); was = most.Load() {
			}
		},
	}, logs)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var samples recorder
	interrupted := false
	if err := m.Start(ctx); err == nil {
		interrupted = !watch(ctx, m, check, &samples, began, line)
	} else if ctx.Err() == nil {
		return nil, err
	} else {
		interrupted = true
	}
	if interrupted {
		line("interrupted: letting the invocations end")
	}
	// Not ctx, which may be over: WithStopTimeout bounds it. What goes wrong in
	// it is part of what Err says.
	_ = m.Stop(context.Background())
	if err := m.Err(); err != nil {
		return nil, err
	}
	st := m.Stats()
	cpu, rss := usage() // before anything that is not the Mapping's

	committed, err := demo.Committed(context.Background(), j.Brokers, j.Topic, j.Group)
	if err != nil {
		return nil, err
	}
	s := check.judge(committed, interrupted)
	s.Rebalances = st.RebalanceCount
	s.Invocations = st.InvokeCount
	s.ReadBytes = st.FetchedByteCount
	s.CPUSeconds, s.PeakRSS = cpu, rss
	if first := firstPolled.Load(); first > 0 {
		s.FirstSeconds = time.Unix(0, first).Sub(began).Seconds()
		s.Seconds = max(0, time.Duration(lastSettled.Load()-first).Seconds())
	}
	s.PollersMax = int(most.Load())
	for _, p := range samples.all {
		s.PollersMax = max(s.PollersMax, p.Pollers) // also what it began with
	}
	return &outcome{Summary: *s, Samples: samples.all}, nil
}

// watch shows what the Mapping does and keeps samples of it, until all is
// settled, nothing is any more, or the Mapping ends (true), or ctx does.
func watch(ctx context.Context, m *esm.Mapping, check *check, samples *recorder, began time.Time, line func(string)) bool {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	shown, moved, settled, shownSettled := began, began, int64(0), int64(0)
	show := func(now time.Time, st *esm.Stats) {
		lag := "unknown"
		if n, known := st.OffsetLag.Sum(); known {
			lag = demo.Grouped(n)
		}
		rate := float64(st.SettledEventCount-shownSettled) / now.Sub(shown).Seconds()
		shown, shownSettled = now, st.SettledEventCount
		line(fmt.Sprintf("%4.0fs  lag %-9s  %7s records/s  %3d in flight  pollers %-3d  %s", now.Sub(began).Seconds(), lag,
			demo.Grouped(int64(rate)), st.BusySlots, st.ProvisionedPollers, st.ScaleReason))
		for _, p := range m.State().Problems {
			line(fmt.Sprintf("       %s: %v", p.With, p.Err))
		}
	}
	var rows []esm.PartitionStats
	for {
		rows = m.AppendPartitions(rows[:0])
		done := check.reached(rows)
		st := m.Stats()
		now := time.Now()
		samples.add(now.Sub(began), &st)
		if st.SettledEventCount > settled {
			moved, settled = now, st.SettledEventCount
		}
		if done || now.Sub(shown) >= time.Second {
			show(now, &st)
		}
		if done {
			return true
		}
		if now.Sub(moved) > patience {
			line(fmt.Sprintf("nothing was settled for %s: giving up", patience))
			return true // the check says the rest
		}
		select {
		case <-ctx.Done():
			return false
		case <-m.Done():
			return true
		case <-ticker.C:
		}
	}
}
