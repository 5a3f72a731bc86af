package kafka

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
)

// TestProblemsDoNotWaitForTheEngine: a dialer or a broker raises them, whatever the
// engine does.
func TestProblemsDoNotWaitForTheEngine(t *testing.T) {
	c, e, w := ordersConsumer()
	no := errors.New("no")
	asked := false
	e.Look(time.Now(), func(*engine.Row) { // with the engine's lock
		asked = true
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.raise("group", no)
			c.raise(connectionProblem+"b:9092", no)
			if !c.disconnected() || c.lastProblem() == nil {
				t.Error("they are not known")
			}
			c.clear("group")
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("they wait for the engine's lock")
		}
		if want := []string{"raised: group", "raised: connection to b:9092", "over: group"}; !slices.Equal(w.heard(), want) {
			t.Errorf("told %q, want %q", w.heard(), want)
		}
	})
	if !asked {
		t.Error("the engine has no partition, so it was not locked")
	}
}
