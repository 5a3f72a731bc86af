// Command esm reads a topic with a Mapping.
package main

import (
	"context"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/bench/job"
	"github.com/seed429fd032/esm/scaling"
)

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/twmb/franz-go")
		if j.Mode == "idle" {
			return idle(ctx, j)
		}
		return run(ctx, j)
	})
}

// settings are the options of a mode, each with its reason.
func settings(j *job.Job) (opts []esm.Option, said []string) {
	add := func(o esm.Option, why string) {
		opts, said = append(opts, o), append(said, why)
	}
	if j.Run == "A" { // which is AWS's published run
		add(esm.WithAWSLimits(), "WithAWSLimits: 5 MB/s and 5 calls a poller, a window of 500 ms")
	} else {
		said = append(said, "its defaults: no byte rate, and no batch window: a batch holds what is there, where the others wait for up to 500 ms to fill theirs (not in F)")
	}
	switch j.Mode {
	case "1":
		said = append(said, "from 1 poller, the default")
	case "10":
		add(esm.WithMinPollers(10), "WithMinPollers(10)")
	case "100":
		add(esm.WithMinPollers(100), "WithMinPollers(100)")
	case "848":
		said = append(said, "kgo.ServerSideBalancer: a group of KIP-848, with the broker's defaults")
	case "encode":
		said = append(said, "the function makes the event of AWS Lambda of each batch first")
	case "ondemand":
		add(esm.WithOnDemand(true), "WithOnDemand: scales once a minute, as AWS's does")
	default:
		if j.Function > 0 { // otherwise one poller is more than enough
			add(esm.WithMinPollers(min(100, j.Partitions)), "WithMinPollers(100, or as many as partitions): nothing to scale up first")
		}
	}
	if j.Batch != 100 {
		add(esm.WithBatchSize(j.Batch), "WithBatchSize of the run")
	}
	if j.Budget != 128<<20 {
		add(esm.WithMemoryBudget(j.Budget), "WithMemoryBudget as asked")
	}
	if j.Poison >= 0 {
		add(esm.WithBisect(true), "WithBisect: finds the record that fails a batch")
		add(esm.WithMaxRetries(j.Retries), "WithMaxRetries(3)")
		add(esm.WithBackoff(esm.Constant(j.Retry)), "WithBackoff(Constant(1s)), like all others")
		add(esm.WithDestination(esm.DestinationFunc(func(context.Context, *esm.Discard) error {
			j.GiveUp()
			return nil
		})), "WithDestination that counts")
	}
	return opts, said
}

// events keeps buffers for them, as an Invoker does.
var events = sync.Pool{New: func() any { return new([]byte) }}

func run(ctx context.Context, j *job.Job) error {
	opts, said := settings(j)
	j.About.Settings = said
	var pollers atomic.Int64
	opts = append(opts,
		esm.WithHooks(esm.Hooks{
			Assigned: func(r esm.Rebalance) {
				j.Assigned()
				j.Moved(true, numbers(r))
			},
			Revoked: func(r esm.Rebalance) { j.Moved(false, numbers(r)) },
			Scaled:  func(d scaling.Decision) { pollers.Store(max(pollers.Load(), int64(d.To))) },
		}),
		esm.WithLogger(logger()))
	source := esm.Source{Brokers: strings.Split(j.Brokers, ","), Topics: []string{j.Topic}, Group: j.Group}
	if j.Mode == "848" {
		source.Client = append(source.Client, kgo.ServerSideBalancer())
	}
	m, err := esm.New(source,
		esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			if j.Mode == "encode" {
				event := events.Get().(*[]byte)
				*event = b.AppendJSON((*event)[:0])
				events.Put(event)
			}
			return job.Call(j, b.Records, func(r *kgo.Record) (int32, int64, []byte) { return r.Partition, r.Offset, r.Value })
		}), opts...)
	if err != nil {
		return err
	}
	// Its context outlives the run: Stop ends it.
	if err := m.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-m.Done():
		return m.Err()
	}
	st := m.Stats()
	j.About.Extra = map[string]float64{
		"pollers_max": float64(pollers.Load()), "rebalances": float64(st.RebalanceCount), "read_bytes": float64(st.FetchedByteCount),
	}
	return m.Stop(context.WithoutCancel(ctx))
}

// numbers are those of the partitions that moved.
func numbers(r esm.Rebalance) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for _, p := range r.Partitions {
			if !yield(p.Partition) {
				return
			}
		}
	}
}

func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
