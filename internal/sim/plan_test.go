package sim

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestPlans draws plans: each is the same again, is the same as its JSON, and all kinds of
// faults come, each in its time.
func TestPlans(t *testing.T) {
	did := map[Kind]int{}
	for seed := range uint64(3000) {
		p := Draw(seed)
		var again Plan
		if err := json.Unmarshal([]byte(p.JSON()), &again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, Draw(seed)) || again.JSON() != p.JSON() || again.String() != p.String() {
			t.Fatalf("seed %d: another plan:\n%s%s", seed, p, again)
		}
		for i, f := range p.Faults {
			did[f.Kind]++
			if f.At < 0 || f.At > p.Length || f.For < 0 || i > 0 && f.At < p.Faults[i-1].At {
				t.Fatalf("seed %d: fault %d comes at a wrong time: %s", seed, i, f)
			}
		}
	}
	for _, k := range Kinds {
		if did[k] < 50 {
			t.Errorf("%q comes %d times in 3,000 plans", k, did[k])
		}
	}
}

// TestDiceAreFair throws for odds that are known.
func TestDiceAreFair(t *testing.T) {
	hits, d := 0, dice(7)
	for n := range uint64(100_000) {
		if d.odds(100, "a", n) {
			hits++
		}
		if d.odds(0, "a", n) || d.span(10, "a", n) >= 10 {
			t.Fatal("it is out of bounds")
		}
	}
	if hits < 9_500 || hits > 10_500 {
		t.Errorf("%d hits of 100,000, at odds of 100 in 1,000", hits)
	}
}
