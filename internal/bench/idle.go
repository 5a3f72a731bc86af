package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm"
)

// What the idle run is about: as many partitions and pollers as there may be,
// with work for all of them at the beginning and then none, for as long as it
// takes until the scaler would take pollers away.
const (
	idlePartitions = 2000
	idleRecords    = 200_000
	idleFor        = 30 * time.Second
)

// idle measures what a large Mapping costs that has nothing to do.
func idle(ctx context.Context, s settings) (result, error) {
	var seen atomic.Int64
	done := make(chan struct{})
	invoker := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		wait(ctx, time.Second)
		if seen.Add(int64(len(b.Records))) == s.records {
			close(done)
		}
		return nil
	})
	m, err := esm.New(esm.Source{Brokers: strings.Split(s.brokers, ","), Topics: []string{s.topic}, Group: esm.EphemeralGroup()}, invoker,
		esm.WithMaxPollers(idlePartitions), esm.WithPollerConcurrency(1), esm.WithBatchSize(10),
		esm.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	if err != nil {
		return result{}, err
	}
	if err := m.Start(ctx); err != nil {
		return result{}, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
	wait(ctx, 5*time.Second) // for the last commits
	r := result{Records: seen.Load(), Pollers: m.Stats().ProvisionedPollers, Goroutines: runtime.NumGoroutine()}
	before, _ := usage()
	began := time.Now()
	wait(ctx, idleFor)
	after, _ := usage()
	r.IdleCPU = (after - before) / time.Since(began).Seconds()
	return r, m.Stop(ctx)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// measureIdle fills a topic with many partitions and runs the child.
func measureIdle(ctx context.Context, s settings) error {
	s.topic, s.partitions, s.records = s.topic+"-idle", idlePartitions, idleRecords
	if _, err := fill(ctx, s); err != nil {
		return err
	}
	r, err := run(ctx, s, []string{"-child", "idle"})
	if err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	fmt.Printf("idle with %d partitions and %d pollers: %d MiB at most, %.1f %% of a processor, %d goroutines\n",
		idlePartitions, r.Pollers, r.PeakRSS>>20, 100*r.IdleCPU, r.Goroutines)
	return nil
}
