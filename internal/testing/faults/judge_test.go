package main

import (
	"strings"
	"testing"
	"time"
)

// TestJudgeOrdersLinesByTime: a line of one host may be read after a later one
// of another.
func TestJudgeOrdersLinesByTime(t *testing.T) {
	j := newJudge(storySeed)
	add := func(at int64, host, kind string) {
		j.add(line{At: at, Host: host, Kind: kind, Parts: []part{{}}})
	}
	add(4, "b", lineAssigned)
	add(1, "a", lineAssigned)
	add(3, "a", lineRevoked)
	if err := j.rest(); err != nil {
		t.Error(err)
	}
}

// TestJudgeWaitsForLinesThatAreLate: what is younger is not judged yet.
func TestJudgeWaitsForLinesThatAreLate(t *testing.T) {
	j := newJudge(storySeed)
	now := time.Now()
	j.add(line{At: now.UnixNano(), Host: "a", Kind: lineRevoked, Parts: []part{{}}})
	if err := j.until(now); err != nil {
		t.Fatal(err)
	}
	j.add(line{At: now.UnixNano() - 1, Host: "a", Kind: lineAssigned, Parts: []part{{}}})
	if err := j.until(now.Add(1)); err != nil {
		t.Error(err)
	}
}

func TestJudgeKnowsWhatWaits(t *testing.T) {
	j := newJudge(storySeed)
	s := &story{c: j.checker, at: 1}
	s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, 3).called("a", "2", 4, 9).ended("a", "2", 5, 9) // 4 holds up what follows
	for want, ends := range map[int64]map[int32]int64{
		16: {0: 20},
		0:  {0: 3, prices.first: 100, ledger.first: 100},
		26: {0: 20, 1: 10},
	} {
		if got := j.behind(ends); got != want {
			t.Errorf("%d wait before %v, not %d", got, ends, want)
		}
	}
}

func TestJudgeSeesWhatGrows(t *testing.T) {
	for want, last := range map[string]line{
		"goroutines":         {Goroutines: 31, Heap: 1 << 20, Held: 1 << 20},
		"bytes of live heap": {Goroutines: 10, Heap: 2<<20 + heapGrowth, Held: 1 << 20},
		"its budget is":      {Goroutines: 10, Heap: 1 << 20, Held: budget + onePoll + 1},
	} {
		j := newJudge(storySeed)
		for range 70 {
			j.add(line{Kind: lineStats, Host: "a", Goroutines: 10, Heap: 1 << 20, Held: 1 << 20})
		}
		if err := j.rest(); err != nil {
			t.Fatal(err)
		}
		if j.flat(); len(j.checker.violations) != 0 {
			t.Error(j.checker.violations)
		}
		last.Kind, last.Host = lineStats, "a"
		j.add(last)
		if err := j.rest(); err != nil {
			t.Fatal(err)
		}
		if j.flat(); len(j.checker.violations) != 1 || !strings.Contains(j.checker.violations[0], want) {
			t.Errorf("%s: %q", want, j.checker.violations)
		}
	}
}
