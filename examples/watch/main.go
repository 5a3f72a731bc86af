// Command watch shows Mappings at work, on a live page.
//
//	cd examples/watch && go run .
//
// starts a Kafka in this process, writes to a topic in waves, and reads it with two Mappings.
// The one scales with the waves; its function cannot handle one key for a while, which holds a
// partition up, and throttles for a while. The other one is quick. The address that it prints
// has the page, with /metrics for Prometheus, /healthz and /readyz beside it. Ctrl-C ends it.
//
//	go run . -check
//
// plays all phases in half a minute, asks the page, the metrics and the probes as a browser and
// Prometheus would, and ends with exit code 0 if everything was there, 1 if not.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmpage"
	"github.com/seed429fd032/esm/esmprom"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() { demo.Main("watch", new(settings)) }

type settings struct {
	addr  string
	wave  time.Duration
	peak  int
	check bool
	read  bool
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	f.StringVar(&s.addr, "addr", "localhost:8090", "`address` of the page; port 0 takes any")
	f.Time(&s.wave, "wave", time.Minute, 5*time.Second, time.Hour, "how long a wave of records is; three are a round of all phases")
	f.Number(&s.peak, "peak", 10_000, 0, 1_000_000, "how many records a second come in the middle of a wave")
	f.BoolVar(&s.check, "check", false, "play all phases in half a minute, and check what the page and the metrics say")
	f.BoolVar(&s.read, "read-only", false, "let nobody pause or change a Mapping on the page")
	f.Check(func() error {
		if s.check && !f.Given("wave") {
			s.wave = 10 * time.Second
		}
		if s.check && !f.Given("addr") {
			s.addr = "localhost:0"
		}
		return nil
	})
}

const topic = "orders"

// A house is what runs.
type house struct {
	billing, search *esm.Mapping
	function        *function
	page            *esmpage.Page
	url             string
	server          *http.Server
	load            *load
}

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
	h, stop, err := s.start(ctx, stderr)
	if err != nil {
		return nil, err
	}
	defer stop()
	fmt.Fprintf(progress, "the page: %s\nmetrics:  %smetrics\nprobes:   %shealthz %sreadyz\n", h.url, h.url, h.url, h.url)
	if s.check {
		return h.check(ctx, progress)
	}
	demo.Follow(ctx, h.billing, progress, func(*esm.Mapping) bool { return false }, func(st *esm.Stats, rate float64) string {
		lag := "unknown"
		if n, known := st.OffsetLag.Sum(); known {
			lag = fmt.Sprint(n)
		}
		return fmt.Sprintf("%-9s lag %-8s %6.0f records/s  pollers %-3d %s", h.function.phase(), lag, rate, st.ProvisionedPollers, st.ScaleReason)
	})
	return nil, nil
}

// start starts everything. stop ends it, in the order in which it must.
func (s *settings) start(ctx context.Context, stderr io.Writer) (h *house, stop func(), err error) {
	var ends []func()
	stop = func() {
		for i := len(ends) - 1; i >= 0; i-- {
			ends[i]()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	brokers, stopKafka, err := demo.StartKafka(ctx, demo.Topic{Name: topic, Partitions: partitions})
	if err != nil {
		return nil, stop, err
	}
	ends = append(ends, stopKafka)
	h = &house{function: newFunction(s.wave)}
	logger := demo.Logger(stderr, slog.LevelError)
	config := esmpage.Config{Title: "esm: examples/watch", Logger: logger}
	if !s.read {
		config.Authorize = func(*http.Request) bool { return true } // the page is for this machine alone
	}
	if h.page, err = esmpage.New(config); err != nil {
		return nil, stop, err
	}
	metrics := esmprom.New()
	for _, one := range []struct {
		into   **esm.Mapping
		name   string
		invoke esm.InvokerFunc
	}{{&h.billing, "billing", h.function.invoke}, {&h.search, "search", quick}} {
		m, err := esm.New(
			esm.Source{Brokers: brokers, Topics: []string{topic}, Group: one.name}, one.invoke,
			esm.WithMinPollers(1), esm.WithMaxPollers(8), esm.WithPollerConcurrency(1),
			esm.WithMaxRetries(8), esm.WithBackoff(esm.Exponential(s.wave/40, s.wave/10)), esm.WithBisect(true), esm.WithDestination(esm.Drop),
			esm.WithLogger(logger), esm.WithHooks(h.page.Hooks()),
		)
		if err != nil {
			return nil, stop, err
		}
		if err := metrics.Add(m); err != nil {
			return nil, stop, err
		}
		if err := h.page.Add(m); err != nil {
			return nil, stop, err
		}
		if err := m.Start(ctx); err != nil {
			return nil, stop, err
		}
		ends = append(ends, func() { _ = m.Stop(context.Background()) })
		*one.into = m
	}
	running, cancel := context.WithCancel(context.Background())
	ends = append(ends, cancel)
	go func() { _ = h.page.Run(running) }()
	if h.load, err = startLoad(running, brokers, s.wave, s.peak); err != nil {
		return nil, stop, err
	}
	ends = append(ends, h.load.stop)
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	mux := http.NewServeMux()
	mux.Handle("/", h.page)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", probe(h.billing.Healthy))
	mux.Handle("GET /readyz", probe(h.billing.Ready))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return nil, stop, err
	}
	h.url = fmt.Sprintf("http://localhost:%d/", listener.Addr().(*net.TCPAddr).Port)
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = h.server.Serve(listener) }()
	ends = append(ends, func() { _ = h.server.Close() })
	return h, stop, nil
}

// probe answers 200, or 503 and why.
func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
