package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naive leaves out one after the other until none can be left out.
func naive(all []int, fails func([]int) bool) []int {
	for i := 0; i < len(all); {
		rest := slices.Delete(slices.Clone(all), i, i+1)
		if fails(rest) {
			all, i = rest, 0
		} else {
			i++
		}
	}
	return all
}

// TestShortestIsWhatTheNaiveOneFinds, where only one answer is right: whatever has
// some elements fails. Elsewhere, of what it finds nothing can be left out.
func TestShortestIsWhatTheNaiveOneFinds(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		all := r.Perm(r.IntN(30))
		needed := map[int]bool{}
		for _, x := range all {
			if r.IntN(8) == 0 {
				needed[x] = true
			}
		}
		odd := r.IntN(2) == 0
		fails := func(some []int) bool {
			n := 0
			for _, x := range some {
				if needed[x] {
					n++
				}
			}
			if odd { // not monotone
				return n == len(needed) || len(some) > 3 && len(some)%5 == 0
			}
			return n == len(needed)
		}
		asked := 0
		got, err := shortest(all, func(some []int) (bool, error) { asked++; return fails(some), nil })
		if err != nil {
			t.Fatal(err)
		}
		if want := naive(all, fails); !odd && !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v, and not %v", seed, got, want)
		}
		if len(got) > 0 && (!fails(got) || len(got) > 1 && slices.ContainsFunc(got, func(x int) bool {
			return fails(slices.DeleteFunc(slices.Clone(got), func(y int) bool { return x == y }))
		})) {
			t.Fatalf("seed %d: of %v something can be left out, or it holds", seed, got)
		}
		if most := 2 * (len(all) + 2) * (len(all) + 2); asked > most {
			t.Fatalf("seed %d: %d runs for %d faults", seed, asked, len(all))
		}
	}
	broken := errors.New("broken")
	if _, err := shortest([]int{1, 2, 3}, func(some []int) (bool, error) {
		if len(some) > 0 {
			return false, broken
		}
		return false, nil
	}); !errors.Is(err, broken) {
		t.Errorf("of an error it says %v", err)
	}
}

func TestPlanSurgery(t *testing.T) {
	const plan = `{"seed":12345678901234567890,"faults":[{"a":1.50,"b":"<"},7,{"faults":[]}],"rest":{"faults":1}}`
	faults, err := faultsOf([]byte(plan))
	if err != nil || len(faults) != 3 {
		t.Fatalf("%s, %v", faults, err)
	}
	for _, c := range []struct {
		keep []json.RawMessage
		want string
	}{
		{nil, `{"seed":12345678901234567890,"faults":[],"rest":{"faults":1}}`},
		{faults[:1], `{"seed":12345678901234567890,"faults":[{"a":1.50,"b":"<"}],"rest":{"faults":1}}`},
		{faults[1:], `{"seed":12345678901234567890,"faults":[7,{"faults":[]}],"rest":{"faults":1}}`},
	} {
		if got, err := withFaults([]byte(plan), c.keep); err != nil || string(got) != c.want {
			t.Errorf("%s, %v; want %s", got, err, c.want)
		}
	}
	whole, err := withFaults([]byte(plan), faults)
	if err != nil {
		t.Fatal(err)
	}
	again, err := faultsOf(whole)
	if err != nil || len(again) != 3 || string(again[1]) != "7" {
		t.Errorf("%s, %v", again, err)
	}
	for plan, n := range map[string]int{`{"seed":1}`: 0, `{ "faults" : [ 1 , 2 ] }`: 2, `{"faults":null}`: 0} {
		if f, err := faultsOf([]byte(plan)); err != nil || len(f) != n {
			t.Errorf("%s: %s, %v", plan, f, err)
		}
	}
	for _, plan := range []string{``, `[]`, `{"faults":`, `{"faults":7}`} {
		if f, err := faultsOf([]byte(plan)); err == nil {
			t.Errorf("%q: %s, and no error", plan, f)
		}
	}
}

func TestWorkOf(t *testing.T) {
	for file, want := range map[string]string{
		"{\n \"seed\": 7,\n \"faults\": [ ]\n}\n":                            `7 {"seed":7,"faults":[]}`,
		`{"plan": {"seed": 18446744073709551615}, "judge": "j", "why": "w"}`: `18446744073709551615 {"seed":18446744073709551615}`,
	} {
		w, err := workOf([]byte(file))
		if got := fmt.Sprintf("%d %s", w.seed, w.plan); err != nil || got != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	for _, file := range []string{"", "{}", `{"seed":-1}`, `{"plan":{}}`} {
		if _, err := workOf([]byte(file)); err == nil {
			t.Errorf("%q has no seed, and no error", file)
		}
	}
}

// TestReader: lines come in pieces, and what is not of the contract is log.
func TestReader(t *testing.T) {
	for name, c := range map[string]struct {
		out, how string
		want     string
		wrong    bool
	}{
		"two that hold": {
			"sim: begin 1\nlog of 1\nsim: {\"seed\":1,\"hash\":\"a\"}\nsim: begin 2\nsim: {\"seed\":2}\nPASS\n", "",
			"1 [] log of 1\n|2 [] PASS\n|", false,
		},
		"one is broken": {
			"sim: begin 1\nsim: {\"seed\":1,\"broken\":[\"lost: it\"]}\nsim: begin 2\nsim: {\"seed\":2}\nFAIL\n", "exit status 1",
			"1 [lost: it] |2 [] FAIL\n|", false,
		},
		"it fails although all held": {
			"sim: begin 2\nsim: {\"seed\":2}\nFAIL\n", "exit status 1",
			"2 [crash: after the verdict: exit status 1] FAIL\n|", false,
		},
		"a crash": {
			"sim: begin 1\nsim: {\"seed\":1}\nsim: begin 2 {\"seed\":2}\npanic: oh\n", "exit status 2",
			"1 [] |2 [crash: exit status 2: panic: oh] panic: oh\n|", false,
		},
		"no verdict": {
			"sim: begin 2\n", "", "2 [crash: it ended without a verdict] |", false,
		},
		"the last line has no end": {
			"sim: begin 2\nsim: {\"seed\":2}", "", "2 [] |", false,
		},
		"nothing": {"testing: warning: no tests to run\nPASS\n", "", "", true},
		"garbage": {"sim: begin 2\nsim: {\"seed\":\n", "", "", true},
		"no seed": {"sim: begin x\n", "", "", true},
	} {
		for size := 1; size < len(c.out)+7; size += 7 {
			var got strings.Builder
			r := &reader{each: func(v run) { fmt.Fprintf(&got, "%d %s %s|", v.Seed, v.Broken, v.log) }}
			for piece := range slices.Chunk([]byte(c.out), size) {
				r.Write(piece)
			}
			if err := r.end(c.how); (err != nil) != c.wrong || !c.wrong && got.String() != c.want {
				t.Fatalf("%s: %q, %v; want %q", name, got.String(), err, c.want)
			}
		}
	}
}

func TestReaderKnowsThePlanOfACrash(t *testing.T) {
	var got run
	r := &reader{each: func(v run) { got = v }}
	fmt.Fprint(r, "sim: begin 2 {\"seed\":2,\"faults\":[1]}\n")
	fmt.Fprint(r, "on stderr\n")
	if err := r.end("exit status 2"); err != nil || string(got.Plan) != `{"seed":2,"faults":[1]}` || got.log != "on stderr\n" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLogsAreBounded(t *testing.T) {
	var l text
	for i := range 200_000 {
		l.add(fmt.Appendf(nil, "%d\n", i))
	}
	s := l.String()
	if len(s) > 4*mostOfText || !strings.HasPrefix(s, "0\n1\n") || !strings.HasSuffix(s, "199999\n") || !strings.Contains(s, "[...]") {
		t.Errorf("%d bytes, from %q to %q", len(s), s[:10], s[len(s)-10:])
	}
}

func TestExcerpt(t *testing.T) {
	if got := excerpt("1\n2\n3\n", 2); got != "2\n3" {
		t.Errorf("%q", got)
	}
	if got := excerpt("1\npanic: x\n\n3\n4\n", 3); got != "panic: x\n\n3" {
		t.Errorf("%q", got)
	}
}

// TestWayCountsTheRunsItHas: one run that breaks is enough, and only of that judge.
func TestWayCountsTheRunsItHas(t *testing.T) {
	for tries, want := range map[int]bool{1: false, 2: false, 3: true, 9: true} {
		n := 0
		y := way{tries: tries, runs: func(context.Context, work) (run, error) {
			n++
			return run{Broken: []string{[]string{"", "order: 1", "order: 2", "lost: 3"}[min(n, 3)]}}, nil
		}}
		v, yes, err := y.breaks(t.Context(), work{seed: 1}, "lost")
		if err != nil || yes != want || n != min(tries, 3) || yes && v.judge() != "lost" {
			t.Errorf("%d tries: %v after %d runs, %v", tries, yes, n, err)
		}
	}
}

func TestJudges(t *testing.T) {
	v := run{Broken: []string{"lost: a: b", "order"}}
	if v.judge() != "lost" || !v.brokenBy("order") || v.brokenBy("b") || (run{}).judge() != "" {
		t.Error(v.judge())
	}
	if got := nameOf("a b/c9"); got != "a-b-c9" {
		t.Error(got)
	}
}
