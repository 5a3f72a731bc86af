package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed429fd032/esm"
)

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
