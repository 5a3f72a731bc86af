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
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() { demo.Main("hostapp", new(settings)) }

// Run serves until ctx ends, or the Mapping does.
func (s *settings) Run(ctx context.Context, stdout, stderr io.Writer) (demo.Result, error) {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return nil, fmt.Errorf("%w (choose another address with -listen)", err)
	}
	defer listener.Close()
	logger := demo.Logger(stderr, slog.LevelWarn)
	stop, err := s.embed(ctx, logger)
	if err != nil {
		return nil, err
	}
	defer stop()
	h := &host{committed: map[esm.TopicPartition]int64{}}
	h.mapping, err = esm.New(
		esm.Source{Brokers: s.Brokers, Topics: []string{s.Topic}, Group: s.Group},
		s.function(),
		esm.WithStopTimeout(s.drain),
		esm.WithLogger(logger),
		esm.WithHooks(esm.Hooks{Committed: h.onCommitted}),
	)
	if err != nil {
		return nil, err
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
	return nil, errors.Join(failed, server.Shutdown(end))
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
