package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// corrupt says that a lane cannot be read from an offset to another one.
func (e *Engine) corrupt(from, to int64) {
	e.mu.Lock()
	defer e.unlock()
	e.unread(e.lanes[orders0], &Unreadable{from, to, errors.New("corrupt")}, time.Now())
}

// TestWhatIsPassedOverKeepsItsPlace: what comes before it is still being handled
// when that is asked for. What comes after it is not even fetched until then.
func TestWhatIsPassedOverKeepsItsPlace(t *testing.T) {
	order, release := make(chan string, 10), make(chan struct{})
	e := outside{
		function: func(c *Call) plan.Verdict {
			<-release
			order <- fmt.Sprint("handled ", c.Records[0].Offset)
			return succeeded
		},
		destination: func(_ context.Context, r *kgo.Record, _ plan.Portion) error {
			order <- fmt.Sprint("discarded ", r.Offset)
			return nil
		},
	}.oneLane(batchesOf(5))
	e.Enqueue(brings(0, numbered(0, 5)...), time.Now())
	e.until(func(l *lane) bool { return l.state == laneLeased })
	e.corrupt(5, 7)
	if err := e.Skip(orders0, 5, time.Now()); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	e.evict(e.rewound())
	e.unlock()
	e.Enqueue(brings(0, numbered(7, 10)...), time.Now())
	if !e.Pauses()[orders0] {
		t.Error("it is fetched")
	}
	close(release)
	e.until(func(l *lane) bool { return l.rewinding })
	e.mu.Lock()
	nudged, back := e.evict(e.rewound())
	e.unlock()
	if at := back["orders"][0].Offset; at != 7 || nudged["orders"][0].Offset == at {
		t.Fatalf("the client is set to %d, and to %d before", at, nudged["orders"][0].Offset)
	}
	e.Enqueue(brings(0, numbered(7, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 17 })
	e.idle()
	close(order)
	var got []string
	for o := range order {
		got = append(got, o)
	}
	if got, want := strings.Join(got, ", "), "handled 0, discarded 5, handled 7, handled 12"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestWhatIsPassedOverIsNotWhatWasEvicted: between the position, which an eviction
// lowered, and what cannot be read are records.
func TestWhatIsPassedOverIsNotWhatWasEvicted(t *testing.T) {
	e := oneLane(func(*Call) plan.Verdict { return failed("no") }, batchesOf(5))
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.state == laneWaiting })
	e.corrupt(10, 12)
	e.mu.Lock()
	_, back := e.evict(e.evictable(1))
	l := e.lanes[orders0]
	l.paused = false // as when memory is there again
	e.unlock()
	if got := back["orders"][0].Offset; got != 5 {
		t.Fatalf("set back to %d", got)
	}
	if err := e.Skip(orders0, 10, time.Now()); err == nil || e.Pauses()[orders0] {
		t.Errorf("offset 5 is not read again: position %d, skip says %v", l.next, err)
	}
}

// TestRecordsAreReadAgainThoughWhatFollowsCannotBeRead, whether the client says the
// latter before or in the moment when it is to be set back, and whether that was to
// be passed over.
func TestRecordsAreReadAgainThoughWhatFollowsCannotBeRead(t *testing.T) {
	for name, at := range map[string]struct{ before, skipped, after bool }{
		"before": {before: true}, "to be passed over": {before: true, skipped: true}, "in that moment": {after: true},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			e := oneLane(func(c *Call) plan.Verdict {
				<-release
				for _, r := range c.Records {
					r.Value = []byte("mine")
				}
				return failed("no")
			}, batchesOf(5), atOnce)
			e.Enqueue(brings(0, numbered(0, 5)...), time.Now())
			e.until(func(l *lane) bool { return l.state == laneLeased })
			if at.before {
				e.corrupt(5, 7)
			}
			if at.skipped {
				if err := e.Skip(orders0, 5, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			close(release)
			e.until(func(l *lane) bool { return l.rewinding })
			if at.after {
				e.Said(orders0, errors.New("corrupt"), 7)
			}
			err := e.Skip(orders0, 5, time.Now())
			if err == nil {
				t.Error("it is passed over before what comes before it")
			}
			if e.Skip(orders0, 0, time.Now()) == nil {
				t.Error("what is to be read again is passed over")
			}
			e.mu.Lock()
			_, back := e.evict(e.rewound())
			e.unlock()
			if got := back["orders"][0].Offset; got != 0 {
				t.Errorf("set back to %d", got)
			}
			if e.Pauses()[orders0] {
				t.Error("it is not fetched, so that its records do not come again")
			}
		})
	}
}

// TestNothingToReadWhereItCouldNotBeRead: compaction took what was unreadable.
func TestNothingToReadWhereItCouldNotBeRead(t *testing.T) {
	e := oneLane(succeeds, batchesOf(5))
	e.corrupt(0, 2)
	e.mu.Lock()
	l := e.lanes[orders0]
	e.unlock()
	e.Found(Question{ID: orders0, lane: l}, Finding{To: 4, End: 4}, time.Now())
	e.mu.Lock()
	defer e.unlock()
	nudged, back := e.evict(e.rewound())
	if l.unreadable != nil || back["orders"][0].Offset != 4 || nudged["orders"][0].Offset == 4 {
		t.Errorf("the client stays where it stopped: set to %v, %v before", back, nudged)
	}
}

// TestRetentionTakesWhatCannotBeRead: the next question may be minutes away.
func TestRetentionTakesWhatCannotBeRead(t *testing.T) {
	e := oneLane(succeeds, batchesOf(5))
	e.corrupt(0, 2)
	now := time.Now()
	e.ObserveStarts(startsAtOffset(3), now)
	e.mu.Lock()
	_, back := e.evict(e.rewound())
	e.unlock()
	if at := back["orders"][0].Offset; at != 3 || e.Pauses()[orders0] {
		t.Errorf("it is read from %d, or not at all", at)
	}
	if e.Skip(orders0, 0, now) == nil {
		t.Error("it passed over what is gone")
	}
}

// TestALatePlacementIsOfItsLane: the answer to a question that was asked for an
// earlier lane of the partition comes after somebody else had it.
func TestALatePlacementIsOfItsLane(t *testing.T) {
	e := oneLane(succeeds)
	e.mu.Lock()
	e.kill(e.lanes[orders0], ErrRevoked, time.Now())
	e.unlock()
	e.Assign([]partition.ID{orders0}, time.Now())
	e.Postpone([]partition.ID{orders0})
	asked := e.Late()
	e.Lose([]partition.ID{orders0}, time.Now())
	e.Assign([]partition.ID{orders0}, time.Now())
	e.Postpone([]partition.ID{orders0})
	asked[0].At, asked[0].Committed = 100, true
	e.Place(asked, time.Now())
	e.mu.Lock()
	l := e.lanes[orders0]
	if !l.unplaced || l.next >= 0 {
		t.Errorf("it begins at %d, where it was committed before somebody else had it", l.next)
	}
	e.unlock()
	asked = e.Late()
	asked[0].At, asked[0].Committed = 200, true
	e.Place(asked, time.Now())
	e.mu.Lock()
	defer e.unlock()
	if l.unplaced || l.next != 200 || !l.rewinding {
		t.Errorf("it is not placed: %d", l.next)
	}
}

// TestAPartitionOfATopicThatSeemedGoneIsPlaced: nobody would ask again for it.
func TestAPartitionOfATopicThatSeemedGoneIsPlaced(t *testing.T) {
	e := oneLane(succeeds)
	e.mu.Lock()
	e.kill(e.lanes[orders0], ErrRevoked, time.Now())
	e.unlock()
	e.Assign([]partition.ID{orders0}, time.Now())
	e.Postpone([]partition.ID{orders0})
	e.mu.Lock()
	e.lanes[orders0].gone = true
	e.unlock()
	if len(e.Late()) != 1 {
		t.Error("the loop that places it ends for good")
	}
}

// TestWhatIsNotFetchedDoesNotStarve: others would give their records back for it.
func TestWhatIsNotFetchedDoesNotStarve(t *testing.T) {
	e := oneLane(succeeds)
	now := time.Now()
	e.mu.Lock()
	l := e.lanes[orders0]
	l.end, l.endAt = 100, now
	if !e.starved(l, 10, now) {
		t.Error("it does not starve while it is fetched")
	}
	e.unlock()
	e.corrupt(0, 2)
	e.mu.Lock()
	defer e.unlock()
	if e.starved(l, 10, now) {
		t.Error("it starves, and no poll can bring anything")
	}
}
