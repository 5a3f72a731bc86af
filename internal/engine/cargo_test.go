package engine

import (
	"math"
	"slices"
	"testing"
	"time"
)

// A stretch is a time in which calls carry the same.
type stretch struct {
	lasts     time.Duration
	calls     int // a second
	records   int // in each ten calls
	bytes     int64
	batchSize int           // 100 if 0
	window    time.Duration // what is set
}

func TestThinCallsAreSaidOnceAndAgainOnlyAfterItWasBetter(t *testing.T) {
	const m = time.Minute
	thin := stretch{lasts: 20 * m, calls: 100, records: 10, bytes: 100}
	with := func(change func(*stretch)) stretch { s := thin; change(&s); return s }
	thick := with(func(s *stretch) { s.records = 50 })
	fair := with(func(s *stretch) { s.records = 30 })
	for _, tt := range []struct {
		name string
		all  []stretch
		said []time.Duration // when, at the earliest; ten seconds more at most
	}{
		{"thin", []stretch{thin}, []time.Duration{5 * m}},
		{"not for long enough", []stretch{with(func(s *stretch) { s.lasts = 4*m + 50*time.Second })}, nil},
		{"few calls", []stretch{with(func(s *stretch) { s.calls = 9 })}, nil},
		{"enough calls", []stretch{with(func(s *stretch) { s.calls = 11 })}, []time.Duration{5 * m}},
		{"one record a batch", []stretch{with(func(s *stretch) { s.batchSize = 1 })}, nil},
		{"two records a batch", []stretch{with(func(s *stretch) { s.batchSize = 2 })}, []time.Duration{5 * m}},
		{"a window is set", []stretch{with(func(s *stretch) { s.window = time.Millisecond })}, nil},
		{"records that fill a batch by their size", []stretch{with(func(s *stretch) { s.bytes = 3 << 20 })}, nil},
		{"two a call", []stretch{with(func(s *stretch) { s.records = 20 })}, nil},
		{"not quite two a call", []stretch{with(func(s *stretch) { s.records = 19 })}, []time.Duration{5 * m}},
		{"no calls at all", []stretch{with(func(s *stretch) { s.calls, s.records = 0, 0 })}, nil},
		{"thin again after no calls", []stretch{thin, {lasts: time.Hour}, thin}, []time.Duration{5 * m}},
		{"thin again after it was fair", []stretch{thin, fair, thin}, []time.Duration{5 * m}},
		{"thin again after it was better", []stretch{thin, thick, thin}, []time.Duration{5 * m, 43*m + 45*time.Second}},
		{"thin again after a window", []stretch{thin, with(func(s *stretch) { s.window = time.Second }), thin}, []time.Duration{5 * m, 40 * m}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c cargo
			began := time.Unix(0, 0)
			now := began
			var said []time.Duration
			for _, s := range tt.all {
				cfg := &Settings{BatchSize: 100, BatchBytes: 4 << 20, BatchWindow: s.window}
				if s.batchSize > 0 {
					cfg.BatchSize = s.batchSize
				}
				for end := now.Add(s.lasts); now.Before(end); now = now.Add(time.Second) {
					c.mark(now)
					e, say := c.thin(cfg, now)
					if say {
						said = append(said, now.Sub(began))
						if e.Calls < float64(s.calls)*0.9 || e.Calls > float64(s.calls)*1.1 || e.Then < 2*e.Records || e.Then > float64(cfg.BatchSize) {
							t.Errorf("%+v", e)
						}
					}
					for i := range s.calls {
						n := (i+1)*s.records/10 - i*s.records/10
						c.add(n, int64(n)*s.bytes)
					}
				}
			}
			if !slices.EqualFunc(said, tt.said, func(is, want time.Duration) bool { return is >= want && is <= want+10*time.Second }) {
				t.Errorf("said after %v, want %v", said, tt.said)
			}
			if len(c.marks) > 40 {
				t.Errorf("%d marks", len(c.marks))
			}
		})
	}
}

// TestWhatAWindowWouldMakeOfThinCalls: the numbers that TestTrickle of
// internal/testing/proof measures with 100 records a second.
func TestWhatAWindowWouldMakeOfThinCalls(t *testing.T) {
	var c cargo
	at := time.Unix(0, 0)
	c.mark(at)
	for range 100 * 300 {
		c.add(1, 10)
	}
	at = at.Add(300 * time.Second)
	c.mark(at)
	e, say := c.thin(&Settings{BatchSize: 100, BatchBytes: 4 << 20}, at)
	if !say || e.Calls != 100 || e.Records != 1 || math.Abs(e.Then-51) > 0.01 {
		t.Errorf("%t %+v", say, e)
	}
}

func TestNoCallsCarryNothingKnown(t *testing.T) {
	var c cargo
	if l, over := c.last(time.Unix(9, 0)); l.each() != 0 || over != 0 {
		t.Errorf("%+v over %s", l, over)
	}
	c.add(3, 30)
	if l, _ := c.last(time.Unix(9, 0)); l.each() != 3 {
		t.Errorf("%+v", l)
	}
}
