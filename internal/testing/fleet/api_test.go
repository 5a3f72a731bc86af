package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/build"
	"github.com/seed429fd032/esm/lambdaapi"
)

const mappings = "/2015-03-31/event-source-mappings/"

// A shown is what these tests read of a mapping that the API answers with.
type shown struct {
	UUID, State, FunctionArn       string
	BatchSize                      int
	MaximumBatchingWindowInSeconds int
	ProvisionedPollerConfig        struct{ MinimumPollers, MaximumPollers int }
}

// ask asks the API. do sends a request and returns the status and the body of its answer.
func ask[T any](ctx context.Context, do func(*http.Request) (int, []byte, error), method, url string, body any) (is T, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return is, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return is, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	status, answer, err := do(r)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%d %s", status, answer)
	}
	if err == nil {
		err = json.Unmarshal(answer, &is)
	}
	if err != nil {
		return is, fmt.Errorf("%s %s: %w", method, url, err)
	}
	return is, nil
}

// remote sends a request to a child.
func remote(r *http.Request) (int, []byte, error) {
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// A request is what an API writer asks for.
type request struct {
	Method, UUID, Function string
	Number                 int // in several parameters
}

const doing = "doing"

// writeByAPI is the part of a writer that makes its changes by the API of a Host that runs.
// It says each before it asks for it, and when it was answered.
func writeByAPI(ctx context.Context, p *part, s lambdaapi.Store) error {
	h, err := lambdaapi.NewHost(lambdaapi.Config{Store: s, Functions: func(context.Context, lambdaapi.FunctionName, bool) (esm.Invoker, []esm.Option, error) {
		return esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), nil, nil
	}})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	running.Go(func() { _ = h.Run(ctx) })
	local := func(r *http.Request) (int, []byte, error) {
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.Bytes(), nil
	}
	listed, err := ask[struct{ EventSourceMappings []shown }](ctx, local, http.MethodGet, "http://localhost"+mappings, nil)
	if err != nil {
		return err
	}
	var there []string
	for _, m := range listed.EventSourceMappings {
		if m.State != "Deleting" {
			there = append(there, m.UUID)
		}
	}
	rng := rand.New(rand.NewPCG(p.Seed, 0))
	for step := 0; ctx.Err() == nil; step++ {
		is := request{Method: http.MethodPut, Number: 1 + rng.IntN(300)}
		body := map[string]any{"BatchSize": is.Number, "MaximumBatchingWindowInSeconds": is.Number}
		switch choice := rng.IntN(10); {
		case len(there) < fewest || choice < 3:
			is.Method, is.Function = http.MethodPost, fmt.Sprintf("f%d-%d", p.Seed, step)
			maps.Copy(body, map[string]any{
				"FunctionName": is.Function, "Topics": []string{"orders"}, "StartingPosition": "TRIM_HORIZON", "Enabled": false,
				"SelfManagedEventSource": map[string]any{"Endpoints": map[string]any{"KAFKA_BOOTSTRAP_SERVERS": []string{"localhost:9092"}}},
			})
		case choice < 6:
			is.Method, body = http.MethodDelete, nil
		}
		if is.Method != http.MethodPost {
			is.UUID = there[rng.IntN(len(there))]
		}
		text, err := json.Marshal(is)
		if err != nil {
			return err
		}
		say(doing, string(text))
		var given any
		if body != nil {
			given = body
		}
		got, err := ask[shown](ctx, local, is.Method, "http://localhost"+mappings+is.UUID, given)
		if err != nil {
			return err
		}
		say(done, got.UUID)
		switch is.Method {
		case http.MethodPost:
			there = append(there, got.UUID)
		case http.MethodDelete:
			there = slices.DeleteFunc(there, func(uuid string) bool { return uuid == is.UUID })
		}
	}
	return nil
}

// A kept is what must be kept of a mapping.
type kept struct {
	function string
	number   int
}

// keptOf is what is kept of a Record, and whether it is half of a change.
func keptOf(r *lambdaapi.Record) (k kept, half bool) {
	c := r.Config
	if r.Unreadable() != nil || c.BatchSize == nil || c.MaximumBatchingWindowInSeconds == nil || *c.BatchSize != *c.MaximumBatchingWindowInSeconds {
		return k, true
	}
	return kept{c.FunctionName, *c.BatchSize}, false
}

// TestHostKilled: what the API has answered is there after a kill, and what was asked for
// just then is there whole or not at all.
func TestHostKilled(t *testing.T) {
	rounds := build.Volume(15, 5)
	seed, rng := seeded(t)
	path := filepath.Join(t.TempDir(), "mappings.json")
	is := map[string]kept{}
	changes := 0
	for round := range uint64(rounds) {
		c := start(t, part{Role: "apiwriter", File: path, Seed: seed + round})
		after := rng.IntN(40)
		var last request
		answered := 0
		heard := func(l string) {
			word, rest, _ := strings.Cut(l, " ")
			switch word {
			case doing:
				if err := json.Unmarshal([]byte(rest), &last); err != nil {
					t.Fatal(err)
				}
				return
			case done:
			default:
				return
			}
			answered++
			switch last.Method {
			case http.MethodPost:
				is[rest] = kept{last.Function, last.Number}
			case http.MethodPut:
				is[rest] = kept{is[rest].function, last.Number}
			case http.MethodDelete:
				delete(is, rest)
			}
			last = request{}
		}
		for answered < after {
			l := c.line()
			if l == "" {
				t.Fatalf("round %d: the child ended", round)
			}
			heard(l)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(2 * time.Millisecond)))) // the moment is random, and nothing waits for it
		c.kill()
		for l := range c.lines {
			heard(l)
		}
		changes += answered
		f, err := lambdaapi.OpenFile(path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		all, err := f.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]kept{}
		for uuid, r := range all {
			if r.Deleting {
				continue // the next host removes it
			}
			k, half := keptOf(&r)
			if half {
				t.Errorf("round %d: mapping %s is half of a change: %+v", round, uuid, r)
			}
			got[uuid] = k
		}
		with := maps.Clone(is) // and what was under way
		switch last.Method {
		case http.MethodPost:
			for uuid, k := range got {
				if _, ok := is[uuid]; !ok && k == (kept{last.Function, last.Number}) {
					with[uuid] = k
				}
			}
		case http.MethodPut:
			with[last.UUID] = kept{is[last.UUID].function, last.Number}
		case http.MethodDelete:
			delete(with, last.UUID)
		}
		switch {
		case maps.Equal(got, is):
		case maps.Equal(got, with):
			is = with
		default:
			t.Fatalf("round %d, after %d answers: there is %v, not %v; under way was %+v", round, answered, got, is, last)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d changes were answered in %d rounds", changes, rounds)
}
