package engine

import (
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestUnaskedPartitions are those of which nobody was asked since they were assigned.
func TestUnaskedPartitions(t *testing.T) {
	e, now := oneLane(succeeds), time.Now()
	other := partition.ID{Topic: "orders", Partition: 1}
	e.Assign([]partition.ID{other}, now)
	wants := func(when string, orders0Is, otherIs bool) {
		t.Helper()
		if is := e.Here().Unasked; is[orders0] != orders0Is || is[other] != otherIs {
			t.Errorf("%s: %v", when, is)
		}
	}
	wants("at first", true, true)
	e.Asking([]partition.ID{orders0})
	wants("one was asked of", false, true)
	e.Asking([]partition.ID{other})
	e.Enqueue(brings(0, numbered(0, 4)...), now)
	e.Diverged(orders0, 2, nil, now)
	wants("its position went back", false, false)
	e.Lose([]partition.ID{orders0}, now)
	e.Assign([]partition.ID{orders0}, now)
	wants("it came again", true, false)
}
