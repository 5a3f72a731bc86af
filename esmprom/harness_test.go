package esmprom_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmprom"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// virtual runs a test in virtual time. It needs the Kafka client's locks to be
// known to synctest, which a build tag does.
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, f)
}

func quiet() esm.Option { return esm.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))) }

// unstarted makes a Mapping that nobody starts.
func unstarted(t *testing.T, opts ...esm.Option) *esm.Mapping {
	t.Helper()
	m, err := esm.New(esm.Source{Brokers: []string{"kafka.test:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), append([]esm.Option{quiet()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// add makes a Collector of Mappings.
func add(t *testing.T, c *esmprom.Collector, mappings ...*esm.Mapping) *esmprom.Collector {
	t.Helper()
	for _, m := range mappings {
		if err := c.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// A scrape has the value of each sample, by its name and the values of its labels but for
// that of the Mapping if that is billing: esm_offset_lag, esm_phase{running}.
type scrape map[string]float64

// gather scrapes a Collector, by a registry that looks closely.
func gather(t *testing.T, c prometheus.Collector) scrape {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := scrape{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				if l.GetName() != "mapping" || l.GetValue() != "billing" {
					labels = append(labels, l.GetValue())
				}
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			if h := m.GetHistogram(); h != nil {
				found[name+"_count"], found[name+"_sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
				continue
			}
			found[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return found
}

// want fails the test unless these samples have these values.
func (s scrape) want(t *testing.T, want scrape) {
	t.Helper()
	for name, value := range want {
		if got, there := s[name]; !there || got != value {
			t.Errorf("%s is %v, there: %v; want %v", name, got, there, value)
		}
	}
}

// absent fails the test if there is any of these samples.
func (s scrape) absent(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if value, there := s[name]; there {
			t.Errorf("%s is there: %v", name, value)
		}
	}
}

// ones returns the labels for which a set has a 1.
func (s scrape) ones(set string) (labels []string) {
	for name, value := range s {
		if label, ok := strings.CutPrefix(name, set+"{"); ok && value == 1 {
			labels = append(labels, strings.TrimSuffix(label, "}"))
		}
	}
	slices.Sort(labels)
	return labels
}

// A gate holds back what brokers say while it is shut.
type gate struct {
	mu   sync.Mutex
	shut map[string]chan struct{} // by the address of a broker: closed when it opens
}

// set shuts it for a broker, or opens it.
func (g *gate) set(addr string, shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was := g.shut[addr]; was != nil {
		close(was)
		delete(g.shut, addr)
	}
	if shut {
		if g.shut == nil {
			g.shut = map[string]chan struct{}{}
		}
		g.shut[addr] = make(chan struct{})
	}
}

func (g *gate) closed(addr string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut[addr]
}

// through makes a client go through the gate.
func (g *gate) through(k *esmtest.Kafka) kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := k.Dial(ctx, network, addr)
		return &gatedConn{Conn: conn, gate: g, addr: addr, over: make(chan struct{})}, err
	})
}

// A gatedConn is a connection whose answers come late.
type gatedConn struct {
	net.Conn
	gate *gate
	addr string
	once sync.Once
	over chan struct{}
}

func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if shut := c.gate.closed(c.addr); shut != nil {
		select {
		case <-shut:
		case <-c.over:
			return 0, net.ErrClosed
		}
	}
	return n, err
}

func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.over) })
	return c.Conn.Close()
}
