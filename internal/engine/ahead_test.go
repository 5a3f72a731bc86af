package engine

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/offset"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// An heir is an engine whose partition begins at 10 with the commit of an earlier
// owner, which says that 12 to 19 and 25 to 29 are settled, of leader epoch 4 at most.
type heir struct {
	*Engine
	handled []int64
	lost    []span
	resets  []int64
	told    []string
}

func newHeir(change ...func(*Settings)) *heir {
	h := &heir{}
	h.Engine = outside{
		function: func(c *Call) plan.Verdict {
			for _, r := range c.Records {
				h.handled = append(h.handled, r.Offset)
			}
			return succeeded
		},
		told: func(event string, args ...any) {
			switch event {
			case "recordsLost":
				h.lost = append(h.lost, span{args[1].(int64), args[2].(int64)})
			case "positionReset":
				h.resets = append(h.resets, args[2].(int64))
			case "log":
				h.told = append(h.told, args[1].(string))
			}
		},
	}.oneLane(change...)
	h.Place([]Placement{{ID: orders0, At: 10, LeaderEpoch: 4, Committed: true, Mark: mark.Mark{Epoch: 4, Runs: []offset.Run{{Lo: 12, Hi: 20}, {Lo: 25, Hi: 30}}}}}, time.Now())
	return h
}

// arrive is a poll of records of an epoch, from an offset to before another.
func (h *heir) arrive(epoch int32, from, to int64) {
	records := numbered(from, to-from)
	for _, r := range records {
		r.LeaderEpoch = epoch
	}
	h.Enqueue(brings(0, records...), time.Now())
	h.idle()
}

// commits is what is to be committed now.
func (h *heir) commits() (at int64, m mark.Mark) {
	fs := h.Books.Frontiers(true, time.Now())
	if len(fs) == 0 {
		return -1, m
	}
	_ = h.Books.Committed(fs, []CommitAnswer{{Err: errors.New("no")}}, 0, time.Now()) // it is asked again
	return fs[0].At, fs[0].Mark
}

func (h *heir) wants(t *testing.T, frontier int64, handled ...int64) {
	t.Helper()
	h.mu.Lock()
	defer h.unlock()
	if got := h.lanes[orders0].frontier(); got != frontier || !slices.Equal(h.handled, handled) {
		t.Errorf("the frontier is %d, not %d; handled %v, not %v", got, frontier, h.handled, handled)
	}
}

// TestWhatIsAheadIsSettledAsItArrives, and not before: the frontier never passes what
// nobody has looked at, and each commit says the rest.
func TestWhatIsAheadIsSettledAsItArrives(t *testing.T) {
	h := newHeir(batchesOf(2))
	h.arrive(4, 10, 12)
	h.wants(t, 12, 10, 11)
	if at, m := h.commits(); at != 12 || m.Epoch != 4 || !slices.Equal(m.Runs, []offset.Run{{Lo: 12, Hi: 20}, {Lo: 25, Hi: 30}}) {
		t.Errorf("%d is committed, with %v", at, m)
	}
	h.arrive(4, 12, 16)
	h.wants(t, 16, 10, 11)
	if at, m := h.commits(); at != 16 || !slices.Equal(m.Runs, []offset.Run{{Lo: 16, Hi: 20}, {Lo: 25, Hi: 30}}) {
		t.Errorf("%d is committed, with %v", at, m)
	}
	h.arrive(4, 16, 27)
	h.wants(t, 24, 10, 11, 20, 21, 22, 23)
	if at, m := h.commits(); at != 24 || !slices.Equal(m.Runs, []offset.Run{{Lo: 25, Hi: 30}}) {
		t.Errorf("%d is committed, with %v", at, m)
	}
	h.arrive(5, 30, 31) // nothing came of the rest of it; 24 waits for one more
	h.wants(t, 31, 10, 11, 20, 21, 22, 23, 24, 30)
	if at, m := h.commits(); at != 31 || len(m.Runs) != 0 {
		t.Errorf("%d is committed, with %v", at, m)
	}
	if h.memory.Held() != 0 || len(h.told) != 0 {
		t.Errorf("%d bytes are held; told %v", h.memory.Held(), h.told)
	}
}

// TestWhatIsAheadIsNoGapOfARecord: the record behind it may fail.
func TestWhatIsAheadIsNoGapOfARecord(t *testing.T) {
	h := newHeir(batchesOf(1), func(s *Settings) { s.Backoff = always(time.Hour) })
	h.world.Invoke = func(c *Call) {
		if c.Verdict = succeeded; c.Records[0].Offset >= 20 {
			c.Verdict = failed("no")
		}
	}
	h.arrive(4, 10, 12)
	h.arrive(4, 20, 21) // compaction took what is between
	h.wants(t, 20)
}

// TestWhatRetentionTookAheadIsNotLost: it was settled.
func TestWhatRetentionTookAheadIsNotLost(t *testing.T) {
	h := newHeir(batchesOf(1))
	h.ObserveStarts(startsAtOffset(28), time.Now())
	if !slices.Equal(h.lost, []span{{10, 12}, {20, 25}}) {
		t.Errorf("lost %v", h.lost)
	}
	h.arrive(4, 28, 32)
	h.wants(t, 32, 30, 31)
}

// TestWhatWasWrittenAnewIsNotPassedOver: the first record of a later epoch ends the
// belief in all of it, and in what was passed over before.
func TestWhatWasWrittenAnewIsNotPassedOver(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first int64 // of the later epoch
		begin int64 // where the lane begins again, -1 if it goes on
	}{
		{"nothing was passed over", 10, -1},
		{"some was", 15, 15},
		{"a record that is not settled", 22, 22},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeir(batchesOf(1))
			if tt.first > 10 {
				h.arrive(4, 10, tt.first)
			}
			h.arrive(5, tt.first, tt.first+5)
			if len(h.told) != 1 || h.told[0] != disbelieved {
				t.Errorf("told %v", h.told)
			}
			h.mu.Lock()
			l := h.lanes[orders0]
			if l.rewinding != (tt.begin >= 0) || len(l.ahead.runs) > 0 || !l.anchor {
				t.Errorf("rewinding %t, ahead %v, anchor %t", l.rewinding, l.ahead, l.anchor)
			}
			if tt.begin >= 0 && l.next != tt.begin {
				t.Errorf("it goes on at %d", l.next)
			}
			h.unlock()
			if tt.begin < 0 {
				h.wants(t, 15, 10, 11, 12, 13, 14)
			} else if len(h.resets) != 1 {
				t.Errorf("resets %v", h.resets)
			}
			if at, m := h.commits(); at < 0 || len(m.Runs) > 0 {
				t.Errorf("%d is committed, with %v: the commit of before is still believed", at, m)
			}
		})
	}
}

// TestWhatEndsBeforeTheMarkIsNotBelieved: the log is another one.
func TestWhatEndsBeforeTheMarkIsNotBelieved(t *testing.T) {
	for end, believed := range map[int64]bool{29: false, 30: true} {
		h := newHeir(batchesOf(1))
		f := brings(0, numbered(10, 15)...)
		f[0].Topics[0].Partitions[0].HighWatermark = end
		h.Enqueue(f, time.Now())
		h.idle()
		if (len(h.told) == 0) != believed || slices.Contains(h.handled, 13) == believed {
			t.Errorf("the log ends at %d: told %v, handled %v", end, h.told, h.handled)
		}
	}
}

// TestAgainIsWhatTheCommitDoesNotSay.
func TestAgainIsWhatTheCommitDoesNotSay(t *testing.T) {
	e := oneLane(func(c *Call) plan.Verdict {
		var failures []plan.Failure
		for i := 0; i < len(c.Records); i += 2 {
			failures = append(failures, failure(i))
		}
		return partly(failures...)
	}, batchesOf(10))
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.idle()
	if n := e.SettledAbove(); n != 5 {
		t.Errorf("%d come again with no commit at all", n)
	}
	for said, want := range []int{5, 4, 3, 2, 1, 0} {
		e.mu.Lock()
		e.markDirty(e.lanes[orders0])
		e.lanes[orders0].saidOf = 0
		e.unlock()
		fs := e.Books.Frontiers(true, time.Now())
		if n := e.SettledAbove(); n != 5 {
			t.Errorf("%d come again while nothing is answered", n)
		}
		_ = e.Books.Committed(fs, []CommitAnswer{{Said: said}}, 0, time.Now())
		if n := e.SettledAbove(); n != want {
			t.Errorf("the commit says %d of 5, and %d come again", said, n)
		}
	}
	var gone RevokeEvent
	e.watch.(*recorder).told = func(event string, args ...any) {
		if event == "revoked" {
			gone = args[0].(RevokeEvent)
		}
	}
	e.mu.Lock()
	e.lanes[orders0].saidTo = 6
	e.unlock()
	e.Revoke(t.Context(), []partition.ID{orders0}, time.Second, func() error { return nil })
	if gone.Again != 2 {
		t.Errorf("%d are told to come again", gone.Again)
	}
}

// TestNothingNewIsNotCommitted: what a commit says already, or what there is no room
// for, is no reason for another one.
func TestNothingNewIsNotCommitted(t *testing.T) {
	e := oneLane(func(c *Call) plan.Verdict { return partly(failure(0)) }, batchesOf(4))
	e.Enqueue(brings(0, numbered(0, 4)...), time.Now())
	e.idle()
	if fs := e.Books.Frontiers(false, time.Now()); len(fs) > 0 {
		t.Errorf("without marks: %v", fs)
	}
	e.mu.Lock()
	e.markDirty(e.lanes[orders0])
	e.unlock()
	fs := e.Books.Frontiers(true, time.Now())
	if len(fs) != 1 || fs[0].At != 0 || !slices.Equal(fs[0].Mark.Runs, []offset.Run{{Lo: 1, Hi: 4}}) {
		t.Fatalf("%v", fs)
	}
	_ = e.Books.Committed(fs, []CommitAnswer{{Said: 1}}, 0, time.Now())
	e.mu.Lock()
	e.markDirty(e.lanes[orders0])
	e.unlock()
	if fs := e.Books.Frontiers(true, time.Now()); len(fs) > 0 {
		t.Errorf("once more: %v", fs)
	}
}

// TestMarkersAreNotSaid: they are fetched again as such, and there may be many.
func TestMarkersAreNotSaid(t *testing.T) {
	e := oneLane(func(*Call) plan.Verdict { return failed("no") }, batchesOf(2))
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.idle()
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[orders0]
	for at := int64(2); at < 10; at += 3 {
		l.settled.Settle(at, at+1, 0)
	}
	if m := l.mark(); len(m.Runs) > 0 || l.settled.End() != 9 {
		t.Errorf("%v, and it ends at %d", m, l.settled.End())
	}
}
