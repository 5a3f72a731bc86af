package main

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/bench/job"
)

// idleFor is how long a Mapping with nothing to do is watched.
const idleFor = 30 * time.Second

// idle measures what a large Mapping costs that has nothing to do: as many
// pollers as there may be, all busy at the beginning, and then none, for as
// long as it takes until the scaler would take pollers away.
func idle(ctx context.Context, j *job.Job) error {
	j.About.Settings = []string{"WithMaxPollers(2000), WithPollerConcurrency(1), WithBatchSize(10)"}
	m, err := esm.New(esm.Source{Brokers: strings.Split(j.Brokers, ","), Topics: []string{j.Topic}, Group: j.Group},
		esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			return job.Call(j, b.Records, func(r *kgo.Record) (int32, int64, []byte) { return r.Partition, r.Offset, r.Value })
		}),
		esm.WithMaxPollers(2000), esm.WithPollerConcurrency(1), esm.WithBatchSize(j.Batch), esm.WithLogger(logger()))
	if err != nil {
		return err
	}
	whole := context.WithoutCancel(ctx)
	if err := m.Start(whole); err != nil {
		return err
	}
	<-ctx.Done() // all is handled
	after := time.NewTimer(5 * time.Second)
	defer after.Stop()
	<-after.C // for the last commits
	pollers, goroutines := m.Stats().ProvisionedPollers, runtime.NumGoroutine()
	before, began := cpu(), time.Now()
	after.Reset(idleFor)
	<-after.C
	used := (cpu() - before) / time.Since(began).Seconds()
	j.About.Extra = map[string]float64{"idle_cpu": used, "pollers": float64(pollers), "goroutines": float64(goroutines)}
	return m.Stop(whole)
}
