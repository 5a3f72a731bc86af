package esmprom_test

import (
	"context"
	"fmt"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmprom"
)

func Example() {
	m, err := esm.New(
		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.Each(func(context.Context, *kgo.Record) error { return nil }),
	)
	if err != nil {
		log.Fatal(err)
	}
	metrics := esmprom.New()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	if err := metrics.Add(m); err != nil { // before m.Run
		log.Fatal(err)
	}
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})

	fmt.Println(scrapeFor(handler, "esm_phase", "esm_events_polled_total"))
	// Output:
	// esm_events_polled_total{mapping="billing"} 0
	// esm_phase{mapping="billing",phase="halted"} 0
	// esm_phase{mapping="billing",phase="new"} 1
	// esm_phase{mapping="billing",phase="paused"} 0
	// esm_phase{mapping="billing",phase="running"} 0
	// esm_phase{mapping="billing",phase="starting"} 0
	// esm_phase{mapping="billing",phase="stopped"} 0
	// esm_phase{mapping="billing",phase="stopping"} 0
}

// A host whose Mappings come and go, as lambdaapi.Host, has a list of them.
func ExampleCollector_Sync() {
	running := map[string]*esm.Mapping{} // or host.Mappings()
	metrics := esmprom.New()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	http.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		if err := metrics.Sync(maps.Values(running)); err != nil {
			log.Print(err)
		}
		handler.ServeHTTP(w, r)
	})
}

// scrapeFor returns the lines of these metrics.
func scrapeFor(h http.Handler, names ...string) string {
	var lines []string
	for line := range strings.Lines(page(h)) {
		for _, name := range names {
			if strings.HasPrefix(line, name+"{") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(lines, "\n")
}

// page returns what a scrape gets.
func page(h http.Handler) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}
