package esm_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed429fd032/esm"
)

// probe answers a health check: 200 if there is no error.
func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}
}

// A host with a lifecycle of its own starts and stops the Mapping itself. A
// larger one is in examples/hostapp.
func ExampleMapping_Start() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	m, err := esm.New(
		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			return nil // what is done with b.Records
		}),
	)
	if err != nil {
		log.Fatal(err)
	}

	// The probes answer from the beginning, also while the group is joined.
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", probe(m.Healthy))
	mux.Handle("GET /readyz", probe(m.Ready))
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Print(err)
			cancel()
		}
	}()

	if err := m.Start(ctx); err != nil {
		log.Fatal(err) // what failed, in the broker's words
	}
	select {
	case <-ctx.Done(): // SIGTERM
	case <-m.Done(): // it stopped itself: see Halt
	}
	cancel() // a second SIGTERM ends the process at once

	// Kubernetes kills after 30 seconds.
	drain, done := context.WithTimeout(context.Background(), 25*time.Second)
	defer done()
	_ = m.Stop(drain)
	_ = server.Shutdown(drain)
	if err := m.Err(); err != nil { // how Stop went, and why it stopped itself
		log.Fatal(err)
	}
}
