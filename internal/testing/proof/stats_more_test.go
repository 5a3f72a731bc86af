package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestTimeLagIsTheAgeOfTheOldestUnsettledRecord, unknown where nothing of it was read, and 0
// where all is settled.
func TestTimeLagIsTheAgeOfTheOldestUnsettledRecord(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		made := time.Now()
		time.Sleep(time.Hour)
		var fails atomic.Bool
		fails.Store(true)
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			if fails.Load() {
				return errors.New("billing is down")
			}
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet())
		time.Sleep(5 * time.Second)
		if age, known := m.Stats().TimeLag.Max(); age != 0 || !known {
			t.Errorf("without a record it is %s, known: %v", age, known)
		}
		k.ProduceRecords(esmtest.At(0, &kgo.Record{Topic: "orders", Value: []byte("a"), Timestamp: made}), esmtest.At(1, &kgo.Record{Topic: "orders", Value: []byte("b"), Timestamp: made.Add(time.Minute)}))
		time.Sleep(10 * time.Second)
		s := m.Stats()
		if age, known := s.TimeLag.Max(); !known || age != s.At.Sub(made).Truncate(time.Millisecond) && (s.At.Sub(made)-age).Abs() > time.Millisecond {
			t.Errorf("it is %s, known: %v; want %s", age, known, s.At.Sub(made))
		}
		text, err := json.Marshal(s.TimeLag)
		if err != nil || !strings.Contains(string(text), `"unknown":0`) || strings.Contains(string(text), "null") {
			t.Errorf("%s: %v", text, err)
		}
		fails.Store(false)
		time.Sleep(2 * time.Minute)
		if age, known := m.Stats().TimeLag.Max(); age != 0 || !known {
			t.Errorf("with all settled it is %s, known: %v", age, known)
		}
		if age, known := (esm.Stats{}).TimeLag.Max(); age != 0 || known {
			t.Errorf("of nothing it is %s, known: %v", age, known)
		}
	})
}

// TestWhatIsSummedUp: the time of pollers and units, and how long calls took.
func TestWhatIsSummedUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 20))
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			time.Sleep(30 * time.Millisecond)
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(20), esm.WithMaxPollers(20))
		before := m.Stats()
		time.Sleep(10 * time.Minute)
		s := m.Stats()
		if got := s.PollerTimeTotal - before.PollerTimeTotal; got != 200*time.Minute {
			t.Errorf("twenty pollers for ten minutes are %s", got)
		}
		if got := s.EventPollerUnitTimeTotal - before.EventPollerUnitTimeTotal; (got - 20*time.Minute).Abs() > 4*time.Second {
			t.Errorf("two units for ten minutes are %s", got)
		}
		for range 7 {
			k.Produce("orders", "a")
			time.Sleep(time.Second)
		}
		s = m.Stats()
		if n := s.InvokeDurations.Count(); n != 7 || s.InvokeDurations.Sum != 210*time.Millisecond {
			t.Errorf("%d calls took %s", n, s.InvokeDurations.Sum)
		}
		for i, b := range esm.HistogramBounds() {
			if n := s.InvokeDurations.Counts[i]; (n == 7) != (b == 50*time.Millisecond) || n != 0 && n != 7 {
				t.Errorf("%d took %s at most", n, b)
			}
		}
		if s.FetchDuration <= 0 { // a commit takes no time here
			t.Errorf("a fetch took %s", s.FetchDuration)
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		end := m.Stats()
		time.Sleep(time.Hour)
		if s := m.Stats(); s.PollerTimeTotal != end.PollerTimeTotal || s.EventPollerUnitTimeTotal != end.EventPollerUnitTimeTotal {
			t.Errorf("stopped for an hour, %s became %s, and %s %s", end.PollerTimeTotal, s.PollerTimeTotal, end.EventPollerUnitTimeTotal, s.EventPollerUnitTimeTotal)
		}
	})
}
