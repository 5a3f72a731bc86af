package esmpage_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmpage"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newPage makes a page that lets everybody act.
func newPage(t *testing.T) *esmpage.Page {
	t.Helper()
	return made(t, esmpage.Config{Authorize: func(*http.Request) bool { return true }, Logger: quiet()})
}

func made(t *testing.T, c esmpage.Config) *esmpage.Page {
	t.Helper()
	p, err := esmpage.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newMapping makes a Mapping that nobody starts.
func newMapping(t *testing.T, name string, opts ...esm.Option) *esm.Mapping {
	t.Helper()
	m, err := esm.New(esm.Source{Brokers: []string{"b1:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), append(opts, esm.WithName(name), esm.WithLogger(quiet()))...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func add(t *testing.T, p *esmpage.Page, ms ...*esm.Mapping) {
	t.Helper()
	for _, m := range ms {
		if err := p.Add(m); err != nil {
			t.Fatal(err)
		}
	}
}

// ask asks a handler, as localhost unless change says otherwise.
func ask(h http.Handler, method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "localhost:8080"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// shown is what tests read of a snapshot.
type shown struct {
	Mappings []struct {
		ID, Name, Phase string
		Problems        int
	}
	Shown *struct {
		ID, Name, Explain, Reason string
		State                     struct {
			Phase, AWS string
			Problems   []struct{ With, Text string }
		}
		Stats    map[string]any
		Settings esm.Settings
		Point    map[string][]*float64
		Rows     []struct {
			Topic     string
			Partition int32
			State     string
			Lag       *int64
			Committed *int64
			Held      *struct {
				Offset   int64
				Attempts int
				Err      string
			}
		}
		Left   int
		Seq    int64
		Events []struct {
			Seq               int64
			Kind, Level, Text string
		}
		Steps []struct {
			From, To int
			Reason   string
		}
	}
}

func snapshot(t *testing.T, p http.Handler, of string) (s shown) {
	t.Helper()
	w := ask(p, "GET", "/api/snapshot?m="+of, "")
	text, err := io.ReadAll(w.Body)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, text)
	}
	return s
}
