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
// as JSON. A status tells it what became of the whole batch, or that some records
// failed, which the body lists. It knows nothing of halts.
type endpoint struct {
	url    string
	client *http.Client
}

// A fault is a record that failed, as the server tells it.
type fault struct {
	esm.TopicPartition
	Offset  int64
	Text    string
	As      string // its esm.Outcome
	Stopped bool
}

func (f fault) add(to *esm.Failures) {
	r := &kgo.Record{Topic: f.Topic, Partition: f.Partition, Offset: f.Offset}
	err := errors.New(f.Text)
	switch f.As {
	case esm.OutcomePermanent.String():
		err = esm.Permanent(err)
	case esm.OutcomeTooLarge.String():
		err = esm.TooLarge(err)
	}
	if f.Stopped {
		to.StopAt(r, err)
	} else {
		to.Add(r, err)
	}
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
	case http.StatusMultiStatus:
		var faults []fault
		if err := json.NewDecoder(resp.Body).Decode(&faults); err != nil {
			return err
		}
		if len(faults) == 0 {
			return errors.New("some records failed, but the server does not say which")
		}
		var failures esm.Failures
		for _, f := range faults {
			f.add(&failures)
		}
		return failures.Err()
	case http.StatusTooManyRequests:
		return esm.Throttled(time.Second, nil)
	case http.StatusRequestEntityTooLarge:
		return esm.TooLarge(nil)
	case http.StatusUnprocessableEntity:
		return esm.Permanent(nil)
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
		err := target(r.Context(), &esm.Batch{Records: records})
		status := http.StatusInternalServerError
		switch esm.Classify(r.Context(), err) {
		case esm.OutcomeSuccess:
			return
		case esm.OutcomePartial:
			var faults []fault
			for _, f := range esm.FailuresOf(err) {
				faults = append(faults, fault{f.TopicPartition, f.Offset, f.Err.Error(), esm.Classify(r.Context(), f.Err).String(), f.Stopped})
			}
			w.WriteHeader(http.StatusMultiStatus)
			_ = json.NewEncoder(w).Encode(faults)
			return
		case esm.OutcomeThrottled:
			status = http.StatusTooManyRequests
		case esm.OutcomeTooLarge:
			status = http.StatusRequestEntityTooLarge
		case esm.OutcomePermanent:
			status = http.StatusUnprocessableEntity
		}
		http.Error(w, err.Error(), status)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs panics
	server.Start()
	t.Cleanup(server.Close)
	return &endpoint{server.URL, server.Client()}
}

func TestEndpointConforms(t *testing.T) {
	esmtest.TestInvoker(t, newEndpoint, esmtest.NoHalt, esmtest.NoBatchInfo)
}
