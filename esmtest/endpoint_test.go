package esmtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// An endpoint is a small transport: an Invoker that posts batches to a server
// as JSON. It carries records and throttles, and nothing else.
type endpoint struct {
	url    string
	client *http.Client
}

func (e *endpoint) Invoke(ctx context.Context, b *esm.Batch) error {
	body, err := json.Marshal(b.Records)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusTooManyRequests:
		return esm.Throttled(time.Second, nil)
	}
	return fmt.Errorf("status %s", resp.Status)
}

// newEndpoint starts a server for a target, and makes an endpoint of it.
func newEndpoint(t testing.TB, target esm.InvokerFunc) esm.Invoker {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var records []*kgo.Record
		if err := json.NewDecoder(r.Body).Decode(&records); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // the server notices a cancelled call only after that
		switch err := target(r.Context(), &esm.Batch{Records: records}); {
		case errors.Is(err, esm.ErrThrottled):
			http.Error(w, err.Error(), http.StatusTooManyRequests)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs panics
	server.Start()
	t.Cleanup(server.Close)
	return &endpoint{server.URL, server.Client()}
}

func TestEndpointConforms(t *testing.T) {
	esmtest.TestInvoker(t, newEndpoint, esmtest.NoHalt, esmtest.NoBatchInfo)
}
