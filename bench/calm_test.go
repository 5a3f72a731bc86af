package main

import (
	"slices"
	"testing"
)

func TestTurnedBeginsElsewhere(t *testing.T) {
	cs := []contender{{name: "a"}, {name: "b"}, {name: "c"}}
	for by, want := range []string{"abc", "bca", "cab", "abc"} {
		got := ""
		for _, c := range turned(cs, by) {
			got += c.name
		}
		if got != want {
			t.Errorf("by %d: %s, want %s", by, got, want)
		}
	}
	if names := []string{cs[0].name, cs[1].name, cs[2].name}; !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("the list itself was turned: %v", names)
	}
}
