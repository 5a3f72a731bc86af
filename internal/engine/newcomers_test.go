package engine

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestNewcomersAreFetchedFirst: while memory is short, the lanes that have enough give
// way to those of which nothing has come yet, and no longer.
func TestNewcomersAreFetchedFirst(t *testing.T) {
	const size, share, lanes = 1000, 1000, 5
	for name, end := range map[string]func(e *Engine, id partition.ID, now time.Time){
		"something comes": func(e *Engine, id partition.ID, now time.Time) {
			r := &kgo.Record{Topic: id.Topic, Partition: id.Partition, Offset: 7, Value: make([]byte, size)}
			e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: id.Topic, Partitions: []kgo.FetchPartition{
				{Partition: id.Partition, HighWatermark: 100_000, Records: []*kgo.Record{r}},
			}}}}}, now)
		},
		"it has none": func(e *Engine, id partition.ID, now time.Time) {
			e.Observe([]partition.ID{id}, map[partition.ID]LogEnd{id: {Offset: 7, Asked: now.Add(1)}}, now)
			e.Enqueue(nil, now)
		},
		"it goes": func(e *Engine, id partition.ID, now time.Time) {
			e.Lose([]partition.ID{id}, now)
			e.Enqueue(nil, now)
		},
		"it cannot be read": func(e *Engine, id partition.ID, now time.Time) {
			e.mu.Lock()
			e.lanes[id].unreadable = &Unreadable{}
			e.unlock()
			e.Enqueue(nil, now)
		},
		"time passes": func(e *Engine, _ partition.ID, now time.Time) {
			e.mu.Lock()
			if at := e.nextDue(now); !at.Equal(now.Add(newcomersFor)) {
				t.Errorf("the timekeeper wakes at %v", at)
			}
			e.due(now.Add(newcomersFor))
			e.unlock()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.MemoryBudget = lanes * share * (size + RecordOverhead)
			e := outside{}.engine(s, t.Context())
			now := time.Unix(1_000_000, 0)
			ids := queued(e, size, []int{share / 2, share / 10, share * 3 / 2, 0}, now)
			evicted := e.lanes[ids[3]]
			evicted.state, evicted.paused = laneWaiting, true
			review := func() {
				e.mu.Lock()
				e.review(false, true, now)
				e.unlock()
			}
			review()
			if paused := e.Pauses(); len(paused) != 1 {
				t.Fatalf("without newcomers %v are paused", paused)
			}
			late := partition.ID{Topic: "orders", Partition: lanes - 1}
			e.Assign([]partition.ID{late}, now)
			e.Place([]Placement{{ID: late, At: 7, Committed: true}}, now)
			e.Observe([]partition.ID{late}, map[partition.ID]LogEnd{late: {Offset: 100_000, Asked: now}}, now)
			review()
			if paused := e.Pauses(); len(paused) != 3 || !paused[ids[0]] || !paused[ids[2]] {
				t.Errorf("with a newcomer %v are paused, and not those that have enough", paused)
			}
			end(e, late, now)
			paused := e.Pauses()
			delete(paused, late) // if it cannot be read
			if len(paused) != 1 || !paused[ids[3]] {
				t.Errorf("without newcomers any more %v are paused, and not only what waits for its retry", paused)
			}
			if !e.welcomeUntil.IsZero() {
				t.Error("it waits for newcomers still")
			}
		})
	}
}

// TestAFirstAssignmentHasNoNewcomers: nobody is in the way of its lanes.
func TestAFirstAssignmentHasNoNewcomers(t *testing.T) {
	e := outside{}.engine(usual(), t.Context())
	now := time.Unix(1_000_000, 0)
	ids := queued(e, 10, []int{1, 0, 0}, now)
	if !e.welcomeUntil.IsZero() {
		t.Error("it waits for newcomers")
	}
	e.Assign(ids, now) // of what it has already
	if !e.welcomeUntil.IsZero() {
		t.Error("after the same assignment it waits for newcomers")
	}
}
