package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/bench/job"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// small is a bench of these sizes with a Kafka of its own.
func small(t *testing.T, s sizes) *bench {
	t.Helper()
	if !kafkatest.Wanted() {
		t.Skip(kafkatest.NotWanted)
	}
	k, err := kafkatest.Start(t.Context(), kafkatest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{
		sizes: s, brokers: strings.Join(k.Addrs, ","), topic: "smoke", into: t.TempDir(), commands: map[string][]string{}, filled: map[string]int64{},
	}
	b.extra.Budget = 128 << 20
	return b
}

func TestFirstSecondsAndSingleRecordsAreMeasured(t *testing.T) {
	b := small(t, sizes{size: 100, stored: 10, cut: time.Minute, firsts: 8000, singles: 20})
	cs := []contender{contenders[place("esm")], bare}
	if err := b.buildPeers(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
	for _, c := range cs {
		r, err := b.run(t.Context(), "G", c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Records != 8000 || r.Duplicates != 0 || r.Cut || r.AssignedSeconds <= r.Seconds {
			t.Errorf("%s: %d records, %d twice, %.3f s from the assignment and %.3f s from the first call", c.name, r.Records, r.Duplicates, r.AssignedSeconds, r.Seconds)
		}
	}
	r, err := b.run(t.Context(), "J", cs[0])
	if err != nil {
		t.Fatal(err)
	}
	for who, l := range map[string]*job.Latency{"esm": r.Latency, "bare": r.Pair.Latency} {
		if l.Count != 20 || l.P50 <= 0 || l.P99 < l.P50 {
			t.Errorf("%s: %+v", who, *l)
		}
	}
}

func TestEveryContenderHandlesAllOfASmallTopicOnce(t *testing.T) {
	b := small(t, sizes{records: 2000, size: 100, stored: 10, partitions: 4, cut: time.Minute})
	for _, c := range contenders {
		if !strings.Contains(c.runs, "B") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			command, err := build(t.Context(), filepath.Join("peers", c.peer), b.into)
			if errors.Is(err, ErrMissing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			b.commands[c.peer] = command
			r, err := b.run(t.Context(), "B", c)
			if err != nil {
				t.Fatal(err)
			}
			if r.Records != b.records || r.Duplicates != 0 || r.Cut {
				t.Errorf("%d of %d records, %d twice, cut %t", r.Records, b.records, r.Duplicates, r.Cut)
			}
			if r.OutOfOrder != 0 && c.is != unordered {
				t.Errorf("%d out of order", r.OutOfOrder)
			}
			if r.CPUSeconds <= 0 || r.PeakRSS <= 0 || len(r.Settings) == 0 || len(r.Versions) < 2 {
				t.Errorf("it does not say what it used, or its versions: %+v", r)
			}
		})
	}
}
