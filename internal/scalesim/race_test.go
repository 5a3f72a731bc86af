package scalesim

import (
	"testing"

	"github.com/seed429fd032/esm/internal/testing/build"
)

// slowUnderRace leaves a test out under the race detector: a simulation is one
// goroutine, so there is nothing to find, and it takes fifteen times as long.
func slowUnderRace(t *testing.T) {
	t.Helper()
	if build.Race {
		t.Skip("one goroutine: nothing to find, and slow")
	}
}
