package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// startsAtOffset is what a broker says of where the only partition starts.
func startsAtOffset(at int64) map[partition.ID]LogStart {
	return map[partition.ID]LogStart{orders0: {Offset: at, LeaderEpoch: -1}}
}

// TestLossWhileACallRuns: what the call has and what is queued is handled, and
// what was never read is lost at once.
func TestLossWhileACallRuns(t *testing.T) {
	var lost []span
	release, called := make(chan struct{}), make(chan struct{}, 10)
	var handled []int64
	e := outside{
		function: func(c *Call) plan.Verdict {
			called <- struct{}{}
			<-release
			for _, r := range c.Records {
				handled = append(handled, r.Offset)
			}
			return succeeded
		},
		told: func(event string, args ...any) {
			if event == "recordsLost" {
				lost = append(lost, span{args[1].(int64), args[2].(int64)})
			}
		},
	}.oneLane(batchesOf(10))
	e.Enqueue(brings(0, numbered(0, 20)...), time.Now())
	<-called
	e.ObserveStarts(startsAtOffset(50), time.Now())
	// A response was under way, and the broker is asked once more.
	e.Enqueue(brings(0, numbered(20, 35)...), time.Now())
	e.ObserveStarts(startsAtOffset(50), time.Now())
	e.Enqueue(brings(50, numbered(55, 5)...), time.Now())
	e.mu.Lock()
	if f := e.lanes[orders0].frontier(); f != 0 {
		t.Errorf("the frontier is %d while the call runs", f)
	}
	e.unlock()
	close(release)
	e.until(func(l *lane) bool { return l.frontier() == 60 })
	e.idle()
	if len(lost) != 1 || lost[0] != (span{20, 50}) || e.counts.Lost != 30 || e.counts.Resets != 0 {
		t.Errorf("lost %+v, counted %d, %d resets", lost, e.counts.Lost, e.counts.Resets)
	}
	// 50 to 54 were read: they came with what was under way.
	want := numbered(0, 20)
	want = append(want, numbered(50, 10)...)
	if len(handled) != len(want) || !slices.IsSorted(handled) || handled[20] != 50 {
		t.Errorf("handled %v", handled)
	}
	if e.memory.Held() != 0 {
		t.Errorf("%d bytes are held", e.memory.Held())
	}
}

// TestCommitAfterALossDoesNotNameAnOlderEpoch: what was lost may be of a later
// one, and who begins there would believe that the broker lost it.
func TestCommitAfterALossDoesNotNameAnOlderEpoch(t *testing.T) {
	for _, tt := range []struct{ said, want int32 }{{-1, -1}, {7, 7}, {2, 3}} {
		l := newLane(orders0)
		l.place(0, 3)
		if _, moved := l.expire(10, tt.said); !moved || l.frontier() != 10 || l.leaderEpoch != tt.want {
			t.Errorf("a log that starts in epoch %d: frontier %d, epoch %d, want %d", tt.said, l.frontier(), l.leaderEpoch, tt.want)
		}
	}
}
