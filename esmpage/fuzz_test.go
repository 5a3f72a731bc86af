package esmpage

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
)

// FuzzAction: whatever the body of a request, it is an error or an action whose options can
// be judged.
func FuzzAction(f *testing.F) {
	for _, s := range []string{`{"id":"1","name":"a","do":"update","minPollers":1,"maxPollers":2,"batchSize":3,"batchWindowMs":4}`, `{"id":"1"} x`, `{"batchWindowMs":9223372036854775807}`, `{"batchWindowMs":-9223372036854775808}`, "null", "[]", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a, err := parseAction(strings.NewReader(body))
		if err != nil {
			return
		}
		if len(body) > mostAction+1 && strings.TrimSpace(body[mostAction:]) != "" {
			t.Fatalf("%d bytes were read", len(body))
		}
		if a.BatchWindowMS != nil {
			if d, ms := window(*a.BatchWindowMS), int64(*a.BatchWindowMS); (d < 0) != (ms < 0) || ms < 1<<40 && ms > -1<<40 && d.Milliseconds() != ms {
				t.Fatalf("%d ms are %s", ms, d)
			}
		}
		set := 0
		for _, is := range []bool{a.MinPollers != nil, a.MaxPollers != nil, a.BatchSize != nil, a.BatchWindowMS != nil} {
			if is {
				set++
			}
		}
		if opts := a.options(); len(opts) != set {
			t.Fatalf("%q has %d options", body, len(opts))
		}
	})
}

// FuzzHost: no name that is not in the list passes for one that is.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"localhost", "localhost:80", "[::1]:80", "::1", "localhost.", "LOCALHOST", "evil.example", "localhost@evil.example", "[localhost]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		is := hostOf(host)
		if is == "localhost" && !strings.Contains(strings.ToLower(host), "localhost") {
			t.Fatalf("%q is %q", host, is)
		}
		if is != strings.ToLower(is) {
			t.Fatalf("%q is %q", host, is)
		}
	})
}

// TestAHistoryKeepsTheLast, as a list that is cut would.
func TestAHistoryKeepsTheLast(t *testing.T) {
	var h history
	var naive []point
	for i := range 3*kept + 17 {
		p := point{at: int64(i)}
		h.add(p)
		naive = append(naive, p)
		if i%997 == 0 || i > 3*kept {
			want := naive[max(0, len(naive)-kept):]
			got := h.list()
			if len(got) != len(want) || got[0].at != want[0].at || got[len(got)-1].at != want[len(want)-1].at {
				t.Fatalf("after %d there are %d points, from %d to %d", i+1, len(got), got[0].at, got[len(got)-1].at)
			}
		}
	}
}

// TestPushKeepsTheLast, and writes into no slice that somebody has.
func TestPushKeepsTheLast(t *testing.T) {
	var s []int
	var handed [][]int
	for i := range 1000 {
		s = push(s, i, 10)
		if len(s) > 10 || s[len(s)-1] != i || s[0] != max(0, i-9) {
			t.Fatalf("%v", s)
		}
		handed = append(handed, s)
	}
	for i, s := range handed {
		if s[len(s)-1] != i || s[0] != max(0, i-9) {
			t.Fatalf("what was handed out as %d is %v", i, s)
		}
	}
}

// TestTheQuantileIsBetweenItsBounds.
func TestTheQuantileIsBetweenItsBounds(t *testing.T) {
	var was, now esm.Histogram
	now.Counts[3], now.Counts[6] = 90, 10 // up to 10 ms, up to 100 ms
	if q := time.Duration(quantile(&now, &was, 100)); q != 75*time.Millisecond {
		t.Errorf("it is %s", q)
	}
	was.Counts = now.Counts
	now.Counts[17] += 5
	if q := time.Duration(quantile(&now, &was, 5)); q != 15*time.Minute {
		t.Errorf("beyond all bounds it is %s", q)
	}
}

func TestNumbersInJSON(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1.5: "1.5", 1234567: "1234567", 0.1: "0.1", math.Inf(1): "null", -3: "-3", 123456.7: "123457", 123456789: "123456789"} {
		if got := string(appendNumber(nil, v)); got != want {
			t.Errorf("%v is %s", v, got)
		}
	}
	if got := string(appendNumber(nil, math.NaN())); got != "null" {
		t.Errorf("what is unknown is %s", got)
	}
}
