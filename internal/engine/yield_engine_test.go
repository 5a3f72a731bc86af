package engine

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// TestLanesYield to one of which nothing comes, because others use the
// allowance up; but not for ever, because its broker may be gone.
func TestLanesYieldToOneThatIsPushedAside(t *testing.T) {
	d := newDriver(1, nil)
	defer d.stop()
	e, now := d.e, d.now
	a, b := partition.ID{Topic: "orders", Partition: 0}, partition.ID{Topic: "orders", Partition: 1}
	e.Place([]Placement{{ID: a}, {ID: b}}, now)
	poll := func(brings bool) {
		p := kgo.FetchPartition{Partition: 1, HighWatermark: 1}
		if p.Err = fmt.Errorf("the client says: %w", memory.ErrRefused); brings {
			p.Err, p.Records = nil, []*kgo.Record{{Topic: "orders", Partition: 1}}
		}
		e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{p}}}}}, now)
	}
	is := func(what string, paused bool) {
		t.Helper()
		if p := e.Pauses(); p[a] != paused || p[b] {
			t.Errorf("%s: paused are %v", what, p)
		}
	}
	for range yieldAfter - 1 {
		poll(false)
	}
	is("refused twice", false)
	poll(false)
	is("refused again", true)
	poll(true)
	is("it got something", false)
	for range yieldAfter {
		poll(false)
	}
	is("refused again", true)
	e.mu.Lock()
	if next := e.nextDue(now); next.IsZero() || next.After(now.Add(yieldFor)) {
		t.Errorf("it is looked at again at %v", next)
	}
	e.due(now.Add(yieldFor))
	e.mu.Unlock()
	is("for too long", false)
}
