package main

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestTheSamePlanComesOfTheSameSeed(t *testing.T) {
	if a, b := newPlan(7, time.Hour, ""), newPlan(7, time.Hour, ""); !reflect.DeepEqual(a, b) {
		t.Errorf("%s\nand\n%s", a, b)
	}
	if a, b := newPlan(7, time.Hour, ""), newPlan(8, time.Hour, ""); reflect.DeepEqual(a.Faults, b.Faults) {
		t.Error("two seeds have the same faults")
	}
}

// TestPlansCanBeDone: at most one broker is away at a time, and hosts are there
// when something is done to them, never fewer than two.
func TestPlansCanBeDone(t *testing.T) {
	protocols := map[string]int{}
	for seed := range uint64(100) {
		p := newPlan(seed, 30*time.Minute, "")
		protocols[p.Protocol]++
		free := map[track]time.Duration{}
		born := map[string]time.Duration{}
		alive := slices.Clone(p.Hosts)
		for i, f := range p.Faults {
			if f.At+f.For > p.For {
				t.Fatalf("seed %d: %s ends after all is over", seed, f)
			}
			if i > 0 && f.At < p.Faults[i-1].At {
				t.Fatalf("seed %d: %s comes after %s", seed, f, p.Faults[i-1])
			}
			of := f.Kind.track()
			if f.At < free[of] {
				t.Fatalf("seed %d: %s begins before %s", seed, f, free[of])
			}
			free[of] = f.At + f.For
			if of == brokersTrack {
				continue
			}
			if f.Kind == takeGroup || f.Kind == takeTopic {
				if f.Host != "" || (f.Topic != "") != (f.Kind == takeTopic) || f.For < 4*time.Second {
					t.Fatalf("seed %d: %s of host %q, topic %q", seed, f, f.Host, f.Topic)
				}
				continue
			}
			at := slices.Index(alive, f.Host)
			switch f.Kind {
			case joinHost:
				if at >= 0 {
					t.Fatalf("seed %d: %s is there", seed, f)
				}
				alive = append(alive, f.Host)
				born[f.Host] = f.At
				continue
			case freezeHost:
				if f.For <= sessionTimeout {
					t.Fatalf("seed %d: %s is no longer than its session", seed, f)
				}
			case leaveHost, killHost, killAndTake, haltHost:
				if f.Host == p.Hosts[0] {
					t.Fatalf("seed %d: %s, and the first one is to stay", seed, f)
				}
			case haltForAWhile:
				if p.haltsForGood(f.Host) {
					t.Fatalf("seed %d: %s, and it would stop", seed, f)
				}
			}
			if at < 0 || of == mappingsTrack && f.At < born[f.Host]+5*time.Second {
				t.Fatalf("seed %d: %s is not there", seed, f)
			}
			if f.Kind == leaveHost || f.Kind == killHost || f.Kind == killAndTake || f.Kind == haltHost {
				for _, g := range p.Faults[:i] { // what lasts is over when it goes
					if g.Kind.track() == mappingsTrack && g.Host == f.Host && g.At+g.For > f.At {
						t.Fatalf("seed %d: %s during %s", seed, f, g)
					}
				}
				alive = slices.Delete(alive, at, at+1)
			}
			if len(alive) < hostsLeast-1 || len(alive) > hostsMost+1 {
				t.Fatalf("seed %d: after %s there are %v", seed, f, alive)
			}
		}
	}
	for _, p := range []string{cooperative, serverSide, static} {
		if protocols[p] < 15 {
			t.Errorf("%s comes %d times of 100", p, protocols[p])
		}
	}
}

// TestThreeMinutesHaveEveryKindOfFault: and a member that leaves while nothing
// was broken for long enough that it must not repeat anything.
func TestThreeMinutesHaveEveryKindOfFault(t *testing.T) {
	for seed := range uint64(500) {
		seen := map[kind]bool{}
		calmly := false
		p := newPlan(seed, wholeRun, "")
		for _, f := range p.Faults {
			seen[f.Kind] = true
			if f.Kind == leaveHost {
				near := slices.ContainsFunc(p.Faults, func(g fault) bool {
					return (g.Kind.track() == brokersTrack || slices.Contains([]kind{freezeHost, takeGroup, takeTopic}, g.Kind)) && g.At < f.At+near && g.At+g.For+near >= f.At
				})
				calmly = calmly || !near
			}
		}
		for _, kinds := range kindsOf {
			for _, k := range kinds {
				if !seen[k] {
					t.Fatalf("seed %d: no %s", seed, k)
				}
			}
		}
		if !calmly {
			t.Fatalf("seed %d: nobody leaves while nothing is broken", seed)
		}
	}
}

// TestShortPlansAreBroken: half a minute is enough for a fault of a broker.
func TestShortPlansAreBroken(t *testing.T) {
	broken := 0
	for seed := range uint64(200) {
		if slices.ContainsFunc(newPlan(seed, 30*time.Second, "").Faults, func(f fault) bool { return f.Kind.track() == brokersTrack }) {
			broken++
		}
	}
	if broken < 100 {
		t.Errorf("%d of 200", broken)
	}
}
