package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

var orders1 = partition.ID{Topic: "orders", Partition: 1}

// ofMember is an engine that two partitions were assigned to as a member. It
// returns what it tells of them.
func ofMember(id string, function func(*Call) plan.Verdict) (e *Engine, told func() []string) {
	var said []string // the watcher is called by whoever changes the engine: here, the test
	e = outside{function: function, told: func(event string, args ...any) {
		switch event {
		case "assigned":
			said = append(said, fmt.Sprint("assigned ", args[0]))
		case "revoked":
			r := args[0].(RevokeEvent)
			said = append(said, fmt.Sprintf("revoked %v, lost=%t cancelled=%d", r.Partitions, r.Lost, r.Cancelled))
		}
	}}.engine(usual(), context.Background())
	e.cfg.BatchSize = 10
	e.pool.Resize(1, time.Now())
	e.Join(id)
	e.Assign([]partition.ID{orders0, orders1}, time.Now())
	e.Place([]Placement{{ID: orders0, LeaderEpoch: -1, Committed: true}, {ID: orders1, LeaderEpoch: -1, Committed: true}}, time.Now())
	return e, func() []string {
		all := said
		said = nil
		return all
	}
}

// TestAFrontierIsCommittedOnlyAsTheMemberThatHasThePartition: one may hear last
// that it is somebody else.
func TestAFrontierIsCommittedOnlyAsTheMemberThatHasThePartition(t *testing.T) {
	e, _ := ofMember("first", succeeds)
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 10 })
	fs := e.Books.Frontiers(true, time.Now())
	if len(fs) != 1 || !e.Books.MayCommit(fs[0], "first") {
		t.Fatalf("%+v is not sent", fs)
	}
	for _, other := range []string{"", "second"} {
		if e.Books.MayCommit(fs[0], other) {
			t.Errorf("it is sent as %q", other)
		}
	}
	e.Forget("first", time.Now())
	e.Join("second")
	e.Assign([]partition.ID{orders0}, time.Now())
	for _, any := range []string{"", "first", "second"} {
		if e.Books.MayCommit(fs[0], any) {
			t.Errorf("it is sent as %q after the partition was lost, and came again", any)
		}
	}
}

// TestForgetTakesAllAtOnce: the call is cancelled, and who waits for a commit is
// told.
func TestForgetTakesAllAtOnce(t *testing.T) {
	ended := make(chan error)
	e, told := ofMember("first", func(c *Call) plan.Verdict {
		<-c.Ctx.Done()
		ended <- context.Cause(c.Ctx)
		return failed("no")
	})
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.state == laneLeased })
	told()
	session := e.Books.Session()
	e.Forget("first", time.Now())
	if err := <-ended; !errors.Is(err, ErrRevoked) {
		t.Errorf("the call ended with %v", err)
	}
	select {
	case <-session:
	default:
		t.Error("the session goes on")
	}
	if got := told(); !slices.Equal(got, []string{"revoked [{orders 0} {orders 1}], lost=true cancelled=1"}) {
		t.Errorf("%q", got)
	}
	if id := e.Member(); id != "" {
		t.Errorf("it is still %q", id)
	}
	e.Forget("first", time.Now())
	if got := told(); len(got) > 0 {
		t.Errorf("and again: %q", got)
	}
}

// TestForgetOfAnEarlierMemberTakesNothing: who looked may be late.
func TestForgetOfAnEarlierMemberTakesNothing(t *testing.T) {
	e, told := ofMember("second", succeeds)
	told()
	for _, id := range []string{"first", ""} {
		e.Forget(id, time.Now())
	}
	if got := told(); len(got) > 0 || len(e.lanes) != 2 || e.Member() != "second" {
		t.Errorf("%q, and %d partitions of %q are left", got, len(e.lanes), e.Member())
	}
}

// TestWhatBecomesOfForgottenPartitions is what the client says of them next.
func TestWhatBecomesOfForgottenPartitions(t *testing.T) {
	both := []partition.ID{orders0, orders1}
	for name, c := range map[string]struct {
		says func(t *testing.T, e *Engine)
		told []string
		late []partition.ID // which the client has at the place of before
	}{
		"nothing, and it has them again": {
			says: func(*testing.T, *Engine) {},
			told: []string{"assigned [{orders 0} {orders 1}]"},
			late: both,
		},
		"it gives one up": {
			says: func(t *testing.T, e *Engine) {
				e.Revoke(t.Context(), both[:1], time.Hour, func() error {
					t.Error("a commit is asked for")
					return nil
				})
			},
			told: []string{"assigned [{orders 1}]"},
			late: both[1:],
		},
		"it loses both": {
			says: func(_ *testing.T, e *Engine) { e.Lose(both, time.Now()) },
			told: []string{"assigned []"},
		},
		"it gets one anew": {
			says: func(_ *testing.T, e *Engine) { e.Assign(both[:1], time.Now()) },
			told: []string{"assigned [{orders 0} {orders 1}]", "assigned []"},
			late: both[1:],
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, told := ofMember("first", succeeds)
			e.Forget("first", time.Now())
			told()
			c.says(t, e)
			e.Join("second")
			e.Assign(nil, time.Now())
			if got := told(); !slices.Equal(got, c.told) {
				t.Errorf("told %q, not %q", got, c.told)
			}
			late := e.Late()
			var ids []partition.ID
			for i := range late {
				ids = append(ids, late[i].ID)
				late[i].At, late[i].Committed = 70, true
			}
			slices.SortFunc(ids, partition.ID.Compare)
			if !slices.Equal(ids, c.late) {
				t.Errorf("%v are to be placed, not %v", ids, c.late)
			}
			if paused := e.Pauses(); len(paused) != len(c.late) {
				t.Errorf("%v are paused meanwhile", paused)
			}
			// What comes meanwhile is from where the client was.
			e.Enqueue(brings(0, numbered(10, 10)...), time.Now())
			e.Place(late, time.Now())
			e.mu.Lock()
			_, back := e.evict(e.rewound())
			e.unlock()
			for _, id := range c.late {
				if at := back[id.Topic][id.Partition].Offset; at != 70 {
					t.Errorf("the client is set to %d for %v", at, id)
				}
			}
		})
	}
}
