// Command watched reads a topic with a Mapping, as the contender esm does in run B, while
// everything looks at it that can: Prometheus scrapes it each second, OpenTelemetry traces
// one call in a hundred, and three viewers follow its page.
package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/bench/job"
	"github.com/seed429fd032/esm/esmotel"
	"github.com/seed429fd032/esm/esmpage"
	"github.com/seed429fd032/esm/esmprom"
)

const viewers = 3

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/twmb/franz-go")
		j.About.Settings = []string{"as esm, with esmprom scraped each second, esmotel that samples 1 % of the calls, and three readers of esmpage's stream"}
		return run(ctx, j)
	})
}

func run(ctx context.Context, j *job.Job) error {
	// Everything here outlives the run: it is ended below.
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	traces := trace.NewTracerProvider(trace.WithSampler(trace.TraceIDRatioBased(0.01)), trace.WithBatcher(nowhere{}))
	telemetry, err := esmotel.New(esmotel.WithTracerProvider(traces))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	page, err := esmpage.New(esmpage.Config{Logger: logger})
	if err != nil {
		return err
	}
	function := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		return job.Call(j, b.Records, func(r *kgo.Record) (int32, int64, []byte) { return r.Partition, r.Offset, r.Value })
	})
	m, err := esm.New(esm.Source{Brokers: strings.Split(j.Brokers, ","), Topics: []string{j.Topic}, Group: j.Group}, telemetry.Invoker(function),
		esm.WithHooks(esm.Hooks{Assigned: func(esm.Rebalance) { j.Assigned() }}), esm.WithHooks(page.Hooks()), esm.WithHooks(telemetry.Hooks()), esm.WithLogger(logger))
	if err != nil {
		return err
	}
	metrics := esmprom.New()
	for _, add := range []func() error{func() error { return metrics.Add(m) }, func() error { return page.Add(m) }, func() error { return telemetry.Add(m) }} {
		if err := add(); err != nil {
			return err
		}
	}
	stop, err := watch(whole, page, metrics)
	if err != nil {
		return err
	}
	if err := m.Start(whole); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-m.Done():
		return m.Err()
	}
	err = m.Stop(whole)
	cancel()
	stop()
	_ = telemetry.Close()
	return err
}

// watch serves the page and the metrics, and reads both until ctx ends. stop waits for that.
func watch(ctx context.Context, page *esmpage.Page, metrics prometheus.Collector) (stop func(), err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "localhost:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var all sync.WaitGroup
	all.Go(func() { _ = server.Serve(listener) })
	all.Go(func() { _ = page.Run(ctx) })
	address := "http://" + listener.Addr().String()
	for range viewers {
		all.Go(func() {
			for ctx.Err() == nil {
				read(ctx, address+"/api/stream") // again, if the page does not run yet
				pause(ctx, 100*time.Millisecond)
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			read(ctx, address+"/metrics")
			pause(ctx, time.Second)
		}
	})
	return func() {
		_ = server.Close()
		all.Wait()
	}, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// read reads an answer to its end.
func read(ctx context.Context, address string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, bufio.NewReader(answer.Body))
}

// nowhere exports spans as an exporter would, to nobody.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []trace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                          { return nil }
