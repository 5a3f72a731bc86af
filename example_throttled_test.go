package esm_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm"
)

// An HTTP service that is busy says how long it wants to be left alone. The
// records wait for that time, and no attempt is counted.
func ExampleThrottled() {
	brokers, stopKafka := startKafka(1, "a", "b")
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var calls atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer service.Close()

	post := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, service.URL, nil) // with the records as its body
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		fmt.Printf("attempt %d: %s\n", b.Attempt, resp.Status)
		switch {
		case resp.StatusCode == http.StatusTooManyRequests:
			// Without the header seconds is 0: the Mapping chooses.
			seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
			return esm.Throttled(time.Duration(seconds)*time.Second, errors.New(resp.Status))
		case resp.StatusCode >= 300:
			return errors.New(resp.Status)
		}
		cancel() // that is all of this example
		return nil
	})
	m, err := esm.New(esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"}, post,
		esm.WithBatchWindow(10*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// attempt 1: 429 Too Many Requests
	// attempt 1: 200 OK
}
