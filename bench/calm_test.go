package main

import (
	"slices"
	"testing"
)

// TestEachRoundHasAnOrderOfItsOwn: in five rounds nobody always follows the same
// one, nothing is left out, and the order of a round is always the same.
func TestEachRoundHasAnOrderOfItsOwn(t *testing.T) {
	before := map[string]map[string]bool{}
	for round := 1; round <= 5; round++ {
		order := shuffled(contenders, round)
		var names, again []string
		for i, c := range order {
			names = append(names, c.name)
			again = append(again, shuffled(contenders, round)[i].name)
			if before[c.name] == nil {
				before[c.name] = map[string]bool{}
			}
			if i > 0 {
				before[c.name][order[i-1].name] = true
			}
		}
		if !slices.Equal(names, again) {
			t.Errorf("round %d has two orders: %v, %v", round, names, again)
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != len(contenders) {
			t.Errorf("round %d: %v", round, names)
		}
	}
	for name, others := range before {
		if len(others) < 3 {
			t.Errorf("%s comes after %v", name, others)
		}
	}
}
