package proof_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// logs collects lines.
type logs struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logs) all(part string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.lines.String()) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

// TestExplainSaysWhatLimitsAMapping, as it goes through what can.
func TestExplainSaysWhatLimitsAMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		var fails sync.Map // partitions
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			time.Sleep(time.Second)
			for tp := range b.ByPartition() {
				if _, bad := fails.Load(tp.Partition); bad {
					return errors.New("billing is down")
				}
			}
			return nil
		})
		says := func(m *esm.Mapping, parts ...string) {
			t.Helper()
			got := m.Explain()
			for _, p := range parts {
				if !strings.Contains(got, p) {
					t.Errorf("it says %q, want %q", got, p)
				}
			}
		}
		m, err := esm.New(k.Source("orders", "billing"), inv, quiet(), esm.WithMaxPollers(1), esm.WithPollerConcurrency(1), esm.WithBatchSize(1))
		if err != nil {
			t.Fatal(err)
		}
		says(m, "It is new: nothing is invoked.")
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		says(m, "Nothing waits in 4 partitions.", "Nothing limits it")
		for range 100 {
			for p := range int32(4) {
				k.ProduceTo("orders", p, "a")
			}
		}
		time.Sleep(30*time.Second + 500*time.Millisecond) // in the middle of calls
		synctest.Wait()
		says(m, "in 4 of 4 partitions, the oldest", "The limit is WithMaxPollers(1): its one slot is busy, a call takes 1s.")
		if err := m.Update(esm.WithMaxPollers(4)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		says(m, "The limit is one call a partition at a time", "Larger batches help (WithBatchSize, 1 now)")
		fails.Store(int32(2), true)
		time.Sleep(10 * time.Second)
		says(m, "orders/2 is held up at offset", "billing is down")
		time.Sleep(2 * time.Minute)
		says(m, "The limit is the function: in all partitions that lag, what failed waits to be tried again.")
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		says(m, "A lag of ", "It is paused: nothing is invoked. Resume it.")
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		says(m, "It is stopped: nothing is invoked.")
	})
}

// TestALagThatGrowsIsExplainedInTheLog, once in a quarter of an hour.
func TestALagThatGrowsIsExplainedInTheLog(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			time.Sleep(time.Second)
			return nil
		})
		var log logs
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), esm.WithBatchSize(1))
		defer m.Stop(t.Context())
		for range 20 * 60 {
			k.ProduceTo("orders", 0, "a", "b")
			time.Sleep(time.Second)
		}
		lines := log.all("the lag grows")
		if len(lines) != 2 {
			t.Fatalf("%d lines: %q", len(lines), lines)
		}
		if !strings.Contains(lines[0], "lag=") || !strings.Contains(lines[0], "one call a partition at a time") {
			t.Errorf("it says %q", lines[0])
		}
	})
}

// TestSettingsAreWhatIsSet, also after an update.
func TestSettingsAreWhatIsSet(t *testing.T) {
	inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil })
	source := esm.Source{Brokers: []string{"b1:9092"}, Topics: []string{"orders"}, Group: "billing"}
	m, err := esm.New(source, inv, esm.WithBatchSize(7), esm.WithMaxRetries(3), esm.WithDestination(esm.Drop))
	if err != nil {
		t.Fatal(err)
	}
	s := m.Settings()
	if s.Name != "billing" || s.Group != "billing" || len(s.Topics) != 1 || s.BatchSize != 7 || s.MinPollers != 1 || s.MaxPollers != 200 || s.MaxConcurrency != esm.Unlimited || s.MaxRetries != 3 || !s.Destination || s.MemoryBudget != 128<<20 {
		t.Errorf("%+v", s)
	}
	s.Topics[0] = "mine"
	if err := m.Update(esm.WithBatchSize(8), esm.WithMaxPollers(9), esm.WithName("b")); err != nil {
		t.Fatal(err)
	}
	if s := m.Settings(); s.BatchSize != 8 || s.MaxPollers != 9 || s.Name != "b" || s.Topics[0] != "orders" {
		t.Errorf("%+v", s)
	}
}
