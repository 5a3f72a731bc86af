package proof_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestALeaderlessPartitionHoldsNoOtherUp: what can be placed is placed at once.
// The other one is named for as long as it has no leader, and begins where it
// should when it has one, minutes later: with Latest where it stood, otherwise at
// its start.
func TestALeaderlessPartitionHoldsNoOtherUp(t *testing.T) {
	for name, start := range map[string]esm.StartingPosition{"latest": esm.Latest(), "horizon": esm.TrimHorizon()} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 6))
				fill(k, "orders", 6, 10)
				elect := bereave(t, k, "orders", 3)
				source := unhurried(k)
				source.Start = start
				inv := esmtest.NewInvoker(t)
				began := time.Now()
				m := esmtest.Start(t, source, inv, quiet())
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it started after %s", took)
				}
				older := 10
				if name == "latest" {
					older = 0
				}
				for p := range int32(6) {
					if p != 3 {
						fillPartition(k, "orders", p, "later", 5)
					}
				}
				time.Sleep(5 * time.Minute)
				for p := range int32(6) {
					want := older + 5
					if p == 3 {
						want = 0
					}
					if got := valuesOf(inv, p); len(got) != want {
						t.Errorf("partition %d: handled %q", p, got)
					}
				}
				said := ""
				for _, p := range m.State().Problems {
					said += p.With + ": " + p.Err.Error() + "\n"
				}
				if !strings.Contains(said, "topic orders partition 3") {
					t.Errorf("after five minutes State says %q", said)
				}
				elect()
				fillPartition(k, "orders", 3, "later", 5)
				time.Sleep(30 * time.Second)
				got := valuesOf(inv, 3)
				if len(got) != older+5 || got[older] != fmt.Sprintf("later %d/0", 3) {
					t.Errorf("when it has a leader: handled %q", got)
				}
				if at := k.Committed("billing", "orders", 3); at != 15 {
					t.Errorf("committed %d", at)
				}
				if ps := m.State().Problems; len(ps) != 0 {
					t.Errorf("problems that are over: %+v", ps)
				}
			})
		})
	}
}
