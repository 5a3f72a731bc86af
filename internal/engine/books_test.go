package engine

import (
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestGoingBackBehindACommitWithoutAnAnswer: the group may have it. A crash would
// skip what is read again, unless the group is told that the partition went back.
func TestGoingBackBehindACommitWithoutAnAnswer(t *testing.T) {
	for name, answer := range map[string]func(e *Engine, fs []Frontier){
		"when it went back": func(*Engine, []Frontier) {},
		"but an error": func(e *Engine, fs []Frontier) {
			_ = e.Books.Committed(fs, []CommitAnswer{{Err: errNoAnswer}}, 0, time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := oneLane(succeeds, batchesOf(10))
			e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
			e.until(func(l *lane) bool { return l.frontier() == 10 })
			fs := e.Books.Frontiers(true, time.Now())
			if len(fs) != 1 || fs[0].At != 10 || !e.Books.MayCommit(fs[0], "") {
				t.Fatalf("%+v is sent", fs)
			}
			answer(e, fs)
			e.Diverged(orders0, 0, nil, time.Now())
			if err := e.Books.Committed(fs, make([]CommitAnswer, 1), 0, time.Now()); err != nil {
				t.Fatal(err)
			}
			if fs = e.Books.Frontiers(true, time.Now()); len(fs) != 1 || fs[0].At != 0 {
				t.Fatalf("%+v is sent then", fs)
			}
			if err := e.Books.Committed(fs, make([]CommitAnswer, 1), 0, time.Now()); err != nil {
				t.Fatal(err)
			}
			// Now the group has what it was told last, and nothing further.
			e.Hold(HoldPause)
			e.Enqueue(brings(0, numbered(0, 8)...), time.Now())
			e.Diverged(orders0, 6, nil, time.Now())
			if fs = e.Books.Frontiers(true, time.Now()); len(fs) > 0 {
				t.Errorf("%+v is sent though the group has it", fs)
			}
		})
	}
}

// TestAssignedAgainBeforeTheGroupKnowsThatItWentBack: the client goes to what the
// group has, which is further, and is to come back.
func TestAssignedAgainBeforeTheGroupKnowsThatItWentBack(t *testing.T) {
	e := oneLane(succeeds, batchesOf(10))
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 10 })
	fs := e.Books.Frontiers(true, time.Now())
	if err := e.Books.Committed(fs, make([]CommitAnswer, len(fs)), 0, time.Now()); err != nil {
		t.Fatal(err)
	}
	e.Diverged(orders0, 4, nil, time.Now())
	e.Assign([]partition.ID{orders0}, time.Now())
	e.Place([]Placement{{ID: orders0, At: 10, LeaderEpoch: -1, Committed: true}}, time.Now())
	e.mu.Lock()
	defer e.unlock()
	_, back := e.evict(e.rewound())
	if at := back["orders"][0].Offset; len(back) != 1 || at != 4 || e.lanes[orders0].frontier() != 4 {
		t.Errorf("the client is set to %v, and the frontier is %d", back, e.lanes[orders0].frontier())
	}
}

// TestGoingBackKeepsTheStartThatIsToBeCommitted: of Latest, where to begin is
// written down at once. It was not yet when the log of the broker turned out to be
// shorter.
func TestGoingBackKeepsTheStartThatIsToBeCommitted(t *testing.T) {
	e := oneLane(succeeds, batchesOf(10))
	id := partition.ID{Topic: orders0.Topic, Partition: orders0.Partition + 1}
	e.Assign([]partition.ID{id}, time.Now())
	e.Place([]Placement{{ID: id, At: 10, LeaderEpoch: -1, Anchor: true}}, time.Now())
	e.Diverged(id, 7, nil, time.Now())
	fs := e.Books.Frontiers(true, time.Now())
	if len(fs) != 1 || fs[0].ID != id || fs[0].At != 7 {
		t.Errorf("%+v is sent", fs)
	}
}
