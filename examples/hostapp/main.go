// Command hostapp shows a Mapping in a service: an HTTP server with probes that
// starts it, stops it, and ends as it should.
//
//	go run ./examples/hostapp
//
// starts a Kafka in this process, produces an order to it every 20 ms, and has
// them handled. Meanwhile
//
//	curl localhost:8080/healthz           alive? 200, or 503 and why not
//	curl localhost:8080/readyz            at work? 200, or 503 and why not
//	curl localhost:8080/stats             numbers, as JSON; an unknown lag is null
//	curl -X POST localhost:8080/pause     read and invoke nothing, stay in the group
//	curl -X POST localhost:8080/resume    go on
//
// SIGTERM or Ctrl-C drains: readiness goes first, then the Mapping stops (its
// invocations end, their offsets are committed, the group is left), then the
// HTTP server. A second one ends the process at once. The exit code is 0 after
// a clean drain, 1 if it was not clean or the Mapping halted by itself (try
// -halt-after 100), and 2 if it was called wrongly.
//
//	go run ./examples/hostapp -brokers localhost:9092 -topic orders -group billing
//
// does the same with a topic of any Kafka. The records are not looked at.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second signal ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type settings struct {
	listen                string
	brokers, topic, group string
	work, drain           time.Duration
	haltAfter             int64
}

// run does all that main does, until ctx ends, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "hostapp: %v\n", err)
		return 2
	}
	if err := s.run(ctx, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "hostapp: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("hostapp", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`address` of the HTTP server; port 0 takes a free one")
	f.StringVar(&s.brokers, "brokers", "", "`addresses` of a Kafka, with commas between them (default: one in this process)")
	f.StringVar(&s.topic, "topic", "", "the topic to read, with -brokers")
	f.StringVar(&s.group, "group", "", "the consumer group, with -brokers")
	f.DurationVar(&s.work, "work", 20*time.Millisecond, "how long the function takes for a batch")
	f.DurationVar(&s.drain, "drain", 20*time.Second, "how long the Mapping may take to stop")
	f.Int64Var(&s.haltAfter, "halt-after", 0, "have the function halt the Mapping after so many records (default: never)")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, errors.New("see above for the flags that there are")
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not a flag", f.Arg(0))
	case s.brokers == "" && (s.topic != "" || s.group != ""):
		return s, errors.New("-topic and -group need -brokers, the Kafka that they are in")
	case s.brokers != "" && s.topic == "":
		return s, errors.New("-brokers needs -topic, what to read")
	case s.brokers != "" && s.group == "":
		return s, errors.New("-brokers needs -group, the consumer group that keeps the offsets")
	case s.work < 0:
		return s, fmt.Errorf("-work is %s, and must not be negative", s.work)
	case s.drain < 100*time.Millisecond || s.drain > time.Hour:
		return s, fmt.Errorf("-drain is %s, and must be 100ms to 1h", s.drain)
	case s.haltAfter < 0:
		return s, fmt.Errorf("-halt-after is %d, and must not be negative", s.haltAfter)
	}
	return s, nil
}

func (s *settings) run(ctx context.Context, stdout, stderr io.Writer) error {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("%w (choose another address with -listen)", err)
	}
	defer listener.Close()
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if s.brokers == "" {
		stop, err := s.embed(logger)
		if err != nil {
			return err
		}
		defer stop()
	}
	h := &host{committed: map[esm.TopicPartition]int64{}}
	h.mapping, err = esm.New(
		esm.Source{Brokers: strings.Split(s.brokers, ","), Topics: []string{s.topic}, Group: s.group},
		s.function(),
		esm.WithStopTimeout(s.drain),
		esm.WithLogger(logger),
		esm.WithHooks(esm.Hooks{Committed: h.onCommitted}),
	)
	if err != nil {
		return err
	}

	// The server comes first and goes last, so that the probes answer
	// throughout. A page in a browser on this machine must not pause it.
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(h.routes()), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "listening on http://%s\n", listener.Addr())
	failed := h.work(ctx, served, stdout)

	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(failed, server.Shutdown(end))
}

// A host is the service: a Mapping, and what HTTP says of it.
type host struct {
	mapping  *esm.Mapping
	draining atomic.Bool

	mu        sync.Mutex
	committed map[esm.TopicPartition]int64
}

// work starts the Mapping, waits until there is a reason to end, and drains.
func (h *host) work(ctx context.Context, served <-chan error, stdout io.Writer) error {
	var failed error
	if err := h.mapping.Start(ctx); err == nil {
		fmt.Fprintln(stdout, "the mapping is running")
		select {
		case <-ctx.Done(): // SIGTERM
		case <-h.mapping.Done(): // the function halted it: Err says why
		case failed = <-served: // nobody could ask about it any more
		}
	} else if ctx.Err() == nil {
		failed = err
	} // else it was told to end while it started

	h.draining.Store(true)
	fmt.Fprintln(stdout, "draining: not ready any more")
	// Not ctx, which is over. WithStopTimeout bounds it.
	_ = h.mapping.Stop(context.Background())
	h.printCommitted(stdout)
	return errors.Join(failed, h.mapping.Err()) // Err is how the stop went, too
}

// onCommitted is a hook: it keeps what was committed.
func (h *host) onCommitted(i esm.Commit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.Copy(h.committed, i.Offsets)
}

func (h *host) printCommitted(w io.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.mapping.Stats()
	fmt.Fprintf(w, "stopped: %d records handled, offsets committed for %d\n", s.SettledEventCount, s.CommittedEventCount)
	byName := func(a, b esm.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	}
	for _, tp := range slices.SortedFunc(maps.Keys(h.committed), byName) {
		fmt.Fprintf(w, "  %s/%d at offset %d\n", tp.Topic, tp.Partition, h.committed[tp])
	}
}

func (h *host) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", probe(h.mapping.Healthy))
	mux.Handle("GET /readyz", probe(func() error {
		if h.draining.Load() {
			return errors.New("draining")
		}
		return h.mapping.Ready()
	}))
	mux.HandleFunc("GET /stats", h.stats)
	mux.HandleFunc("POST /pause", func(w http.ResponseWriter, r *http.Request) {
		// It returns when no invocation runs any more. If the client goes
		// away before, the Mapping is paused nevertheless.
		answer(w, h.mapping.Pause(r.Context()), http.StatusConflict)
	})
	mux.HandleFunc("POST /resume", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, h.mapping.Resume(), http.StatusConflict)
	})
	return mux
}

// probe answers 200, or 503 and why.
func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		answer(w, check(), http.StatusServiceUnavailable)
	}
}

func answer(w http.ResponseWriter, err error, status int) {
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	fmt.Fprintln(w, "ok")
}

// stats answers with the numbers, and with what is wrong.
func (h *host) stats(w http.ResponseWriter, _ *http.Request) {
	out := struct {
		esm.Stats
		Problems []string
	}{Stats: h.mapping.Stats(), Problems: []string{}}
	for _, p := range h.mapping.State().Problems {
		out.Problems = append(out.Problems, fmt.Sprintf("%s: %v", p.With, p.Err))
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(out) // if it fails, the client is gone
}

// function is what the records go to: it takes its time.
func (s *settings) function() esm.Invoker {
	var handled atomic.Int64
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		if s.haltAfter > 0 && handled.Load() >= s.haltAfter {
			return esm.Halt(fmt.Errorf("-halt-after: %d records were handled", handled.Load()))
		}
		t := time.NewTimer(s.work)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		handled.Add(int64(len(b.Records)))
		return nil
	})
}

// embed starts a Kafka in this process, and somebody who produces to it until
// it is stopped.
func (s *settings) embed(logger *slog.Logger) (stop func(), err error) {
	s.topic, s.group = "orders", "billing"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, s.topic))
	if err != nil {
		return nil, fmt.Errorf("start a Kafka in this process: %w", err)
	}
	s.brokers = strings.Join(cluster.ListenAddrs(), ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic(s.topic),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("connect to the Kafka in this process: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var producer sync.WaitGroup
	producer.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			err := client.ProduceSync(ctx, kgo.StringRecord(fmt.Sprintf(`{"order":%d}`, n))).FirstErr()
			if err != nil && ctx.Err() == nil {
				logger.Error("produce", "err", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		producer.Wait()
		client.Close()
		cluster.Close()
	}, nil
}
