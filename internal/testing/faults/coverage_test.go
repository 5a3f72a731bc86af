package main

import (
	"slices"
	"testing"
)

func TestARunThatLacksSomethingSaysSo(t *testing.T) {
	c := coverage{}
	if got := c.missing(); !slices.Equal(got, wanted()) {
		t.Errorf("of nothing is missing %q", got)
	}
	for _, what := range wanted() {
		c.add(what)
	}
	if got := c.missing(); len(got) > 0 {
		t.Errorf("of all is missing %q", got)
	}
	delete(c, linePaused)
	if got := c.missing(); !slices.Equal(got, []string{linePaused}) {
		t.Errorf("missing is %q", got)
	}
}
