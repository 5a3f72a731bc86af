package proof_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestARecordThatComesAloneIsHandledAtOnce, unless a window was asked for, which
// AWS's limits have.
func TestARecordThatComesAloneIsHandledAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name        string
		opts        []esm.Option
		least, most time.Duration
	}{
		{"the defaults", nil, 0, time.Millisecond},
		{"AWS's limits", []esm.Option{esm.WithAWSLimits()}, 500 * time.Millisecond, 501 * time.Millisecond},
		{"AWS's limits without their window", []esm.Option{esm.WithAWSLimits(), esm.WithBatchWindow(0)}, 0, time.Millisecond},
		{"a window before AWS's limits", []esm.Option{esm.WithBatchWindow(time.Minute), esm.WithAWSLimits()}, 500 * time.Millisecond, 501 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
				inv := esmtest.NewInvoker(t)
				esmtest.Start(t, k.Source("orders", "billing"), inv, append([]esm.Option{quiet()}, tt.opts...)...)
				for i := range 10 {
					time.Sleep(7 * time.Second)
					began := time.Now()
					k.ProduceTo("orders", int32(i%3), "a")
					inv.Wait(i + 1)
					if took := inv.Calls()[i].At.Sub(began); took < tt.least || took > tt.most {
						t.Errorf("record %d: its call began after %s, want %s to %s", i, took, tt.least, tt.most)
					}
				}
			})
		})
	}
}

// TestWithoutAWindowThinPartitionsShareACall: what came while all slots were
// busy goes together, whatever partitions it is of, and one by one otherwise.
func TestWithoutAWindowThinPartitionsShareACall(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 40
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		inv := esmtest.NewInvoker(t).Takes(100 * time.Millisecond)
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMaxConcurrency(1))
		time.Sleep(time.Second)
		k.ProduceTo("orders", 0, "first")
		time.Sleep(10 * time.Millisecond)
		for p := 1; p < partitions; p++ {
			time.Sleep(time.Millisecond)
			k.ProduceTo("orders", int32(p), "a")
		}
		time.Sleep(time.Second)
		var sizes []int
		for _, c := range inv.Calls() {
			sizes = append(sizes, len(c.Batch.Records))
		}
		if !slices.Equal(sizes, []int{1, partitions - 1}) {
			t.Errorf("the calls carried %v records, want 1 and all others together", sizes)
		}
	})
}

// TestTrickleCostsACallARecordUnlessThereIsAWindow is where the numbers of
// docs/measured.md and of WithBatchWindow come from: 100 partitions with a record
// a second each, which do not come together.
func TestTrickleCostsACallARecordUnlessThereIsAWindow(t *testing.T) {
	for _, tt := range []struct {
		name        string
		opts        []esm.Option
		takes       time.Duration
		least, most float64 // calls a second
	}{
		{"no window", nil, 0, 95, 101},
		{"no window, 50 ms a call", nil, 50 * time.Millisecond, 60, 101},
		{"100 ms", []esm.Option{esm.WithBatchWindow(100 * time.Millisecond)}, 50 * time.Millisecond, 7, 12},
		{"AWS's limits", []esm.Option{esm.WithAWSLimits()}, 50 * time.Millisecond, 1.5, 3},
		{"2 s", []esm.Option{esm.WithBatchWindow(2 * time.Second)}, 50 * time.Millisecond, 0.8, 1.6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				const partitions = 100
				seconds := 10
				if nightly {
					seconds = 60
				}
				k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
				inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(tt.takes); return nil })
				m := esmtest.Start(t, k.Source("orders", "billing"), inv, append([]esm.Option{quiet()}, tt.opts...)...)
				trickle(t, k, "orders", partitions, seconds)
				s := m.Stats()
				if s.SettledEventCount < int64(partitions*(seconds-3)) {
					t.Fatalf("%d records were settled", s.SettledEventCount)
				}
				rate := float64(s.InvokeCount) / float64(seconds)
				t.Logf("%.2f calls a second, %.1f records a call, %d pollers", rate, float64(s.InvokedEventCount)/float64(s.InvokeCount), s.ProvisionedPollers)
				if rate < tt.least || rate > tt.most {
					t.Errorf("%.2f calls a second, want %g to %g", rate, tt.least, tt.most)
				}
			})
		})
	}
}

// trickle writes a record a second to each partition for so many seconds, each at
// a time of its own.
func trickle(t *testing.T, k *esmtest.Kafka, topic string, partitions, seconds int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	type moment struct {
		in        time.Duration
		partition int32
	}
	moments := make([]moment, partitions)
	for p := range moments {
		moments[p] = moment{time.Duration(rng.Int64N(int64(time.Second))), int32(p)}
	}
	slices.SortFunc(moments, func(a, b moment) int { return int(a.in - b.in) })
	client, began := k.Client(), time.Now()
	for s := range seconds {
		for _, at := range moments {
			time.Sleep(time.Until(began.Add(time.Duration(s)*time.Second + at.in)))
			client.Produce(t.Context(), esmtest.At(at.partition, &kgo.Record{Topic: topic, Value: []byte("a")}), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	time.Sleep(time.Until(began.Add(time.Duration(seconds) * time.Second)))
}

// TestThinCallsAreSaidOnce: what they carry is in Stats, and one line of the log says
// what a window would make of it, which it then does.
func TestThinCallsAreSaidOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions, records = 12, "records_per_call=1 calls_per_second=12 "
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		var lines list[string]
		log := func() string { return strings.Join(lines.all(), "") }
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t),
			esm.WithLogger(logger(lines.add)))
		trickle(t, k, "orders", partitions, 290)
		said := func() int { return strings.Count(log(), "calls carry few records") }
		if said() != 0 {
			t.Errorf("said before five minutes: %s", log())
		}
		trickle(t, k, "orders", partitions, 30)
		if got := m.Stats().RecordsPerCall; got < 1 || got > 1.01 {
			t.Errorf("calls carry %g records", got)
		}
		want := records + `advice="if calls cost money or a round trip, WithBatchWindow(500 * time.Millisecond) would make that about 7 records a call and 1.7 calls a second"`
		if !strings.Contains(log(), want) {
			t.Errorf("want %s in\n%s", want, log())
		}
		trickle(t, k, "orders", partitions, 100)
		if said() != 1 {
			t.Errorf("said %d times:\n%s", said(), log())
		}
		if err := m.Update(esm.WithBatchWindow(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		trickle(t, k, "orders", partitions, 310)
		if got := m.Stats().RecordsPerCall; got < 5 || got > 9 {
			t.Errorf("calls carry %g records with the window, and about 7 was promised", got)
		}
		if said() != 1 {
			t.Errorf("said %d times with a window:\n%s", said(), log())
		}
	})
}
