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

// TestPlansCanBeDone: at most one broker is away at a time, hosts are there
// when something is done to them, and never fewer than two.
func TestPlansCanBeDone(t *testing.T) {
	protocols := map[string]int{}
	for seed := range uint64(500) {
		p := newPlan(seed, 30*time.Minute, "")
		protocols[p.Protocol]++
		var brokersFree, hostsFree time.Duration
		alive := slices.Clone(p.Hosts)
		for i, f := range p.Faults {
			if f.At+f.For > p.For {
				t.Fatalf("seed %d: %s ends after all is over", seed, f)
			}
			if i > 0 && f.At < p.Faults[i-1].At {
				t.Fatalf("seed %d: %s comes after %s", seed, f, p.Faults[i-1])
			}
			if f.Kind.onBrokers() {
				if f.At < brokersFree {
					t.Fatalf("seed %d: %s begins before %s", seed, f, brokersFree)
				}
				brokersFree = f.At + f.For
				continue
			}
			if f.At < hostsFree {
				t.Fatalf("seed %d: %s begins before %s", seed, f, hostsFree)
			}
			hostsFree = f.At + f.For
			at := slices.Index(alive, f.Host)
			switch f.Kind {
			case joinHost:
				if at >= 0 {
					t.Fatalf("seed %d: %s is there", seed, f)
				}
				alive = append(alive, f.Host)
				continue
			case freezeHost:
				if f.For <= sessionTimeout {
					t.Fatalf("seed %d: %s is no longer than its session", seed, f)
				}
			case leaveHost, killHost:
				if f.Host == p.Hosts[0] {
					t.Fatalf("seed %d: %s, and the first one is to stay", seed, f)
				}
			}
			if at < 0 {
				t.Fatalf("seed %d: %s is not there", seed, f)
			}
			if f.Kind == leaveHost || f.Kind == killHost {
				alive = slices.Delete(alive, at, at+1)
			}
			if len(alive) < hostsLeast-1 || len(alive) > hostsMost+1 {
				t.Fatalf("seed %d: after %s there are %v", seed, f, alive)
			}
		}
	}
	for _, p := range []string{cooperative, serverSide, static} {
		if protocols[p] < 100 {
			t.Errorf("%s comes %d times of 500", p, protocols[p])
		}
	}
}

func TestThreeMinutesHaveEveryKindOfFault(t *testing.T) {
	for seed := range uint64(500) {
		seen := map[kind]bool{}
		for _, f := range newPlan(seed, 3*time.Minute, "").Faults {
			seen[f.Kind] = true
		}
		for _, k := range []kind{killBroker, killController, freezeBroker, moveLeaders, hangBroker, cutBroker, killHost, freezeHost, joinHost, leaveHost} {
			if !seen[k] {
				t.Errorf("seed %d: no %s", seed, k)
			}
		}
	}
}
