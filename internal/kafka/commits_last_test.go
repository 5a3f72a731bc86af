package kafka

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
)

// refusedFor is how long commits are refused with what passes, or not answered,
// before that is a Problem. It is the engine's passingFor.
const refusedFor = 30 * time.Second

// problem is the Problem "commit", or nil.
func (d *commitDesk) problem() *engine.Trouble { return d.w.Trouble("commit") }

// TestTransientRefusalThatLastsIsAProblem: a rebalance is over in seconds.
func TestTransientRefusalThatLastsIsAProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.set(nil, kerr.RebalanceInProgress)
		d.begin(0, 10)
		pass(refusedFor - 3*time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("after %s: %+v", refusedFor-3*time.Second, p)
		}
		pass(6 * time.Second)
		p := d.problem()
		if p == nil || !errors.Is(p.Err, kerr.RebalanceInProgress) {
			t.Fatalf("after half a minute: %+v", p)
		}
		for i := range int64(20) { // records go on meanwhile
			d.settleMore(10+i, 1)
			pass(20 * time.Second)
		}
		// A Mapping is not healthy that has it for five minutes.
		if p := d.problem(); p == nil || !errors.Is(p.Err, kerr.RebalanceInProgress) || time.Since(p.Since) < 6*time.Minute {
			t.Errorf("after seven minutes: %+v", p)
		}
		d.set(nil, nil)
		pass(2 * time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("after it was committed: %+v", p)
		}
	})
}

// TestRefusedCommitsOfASessionThatIsLostAgainAndAgain: each time the partition
// comes back it is a new lane, and nothing is ever committed.
func TestRefusedCommitsOfASessionThatIsLostAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.set(nil, kerr.UnknownMemberID)
		for range 5 {
			d.begin(0, 10)
			pass(8 * time.Second)
			d.e.Lose([]partition.ID{order0}, time.Now())
			pass(2 * time.Second)
		}
		if p := d.problem(); p == nil {
			t.Error("fifty seconds without a commit are no problem")
		}
		pass(2 * refusedFor)
		if p := d.problem(); p != nil {
			t.Errorf("a minute after the partition went: %+v", p)
		}
	})
}

// TestCommitWithoutAnAnswerIsAProblem as long as there is something to commit.
func TestCommitWithoutAnAnswerIsAProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		stalled := make(chan struct{})
		d.set(stalled, nil)
		d.begin(0, 10)
		pass(refusedFor - 3*time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("after %s: %+v", refusedFor-3*time.Second, p)
		}
		pass(6 * time.Second)
		if p := d.problem(); p == nil || !strings.HasPrefix(p.Err.Error(), "the request has no answer since ") {
			t.Errorf("after half a minute: %+v", p)
		}
		for i := range int64(20) {
			d.settleMore(10+i, 1)
			pass(20 * time.Second)
		}
		if p := d.problem(); p == nil || !strings.HasPrefix(p.Err.Error(), "the request has no answer since ") || time.Since(p.Since) < 6*time.Minute {
			t.Errorf("after seven minutes: %+v", p)
		}
		d.set(nil, nil)
		close(stalled)
		pass(2 * time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("after it was answered: %+v", p)
		}
	})
}

// TestUnansweredCommitOfALostPartition is about nothing.
func TestUnansweredCommitOfALostPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		stalled := make(chan struct{})
		d.set(stalled, nil)
		d.begin(0, 10)
		pass(refusedFor + 3*time.Second)
		if p := d.problem(); p == nil {
			t.Error("no problem")
		}
		d.e.Lose([]partition.ID{order0}, time.Now())
		pass(3 * time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("of what is somebody else's: %+v", p)
		}
		d.set(nil, nil)
		close(stalled)
		pass(time.Minute)
		if p := d.problem(); p != nil {
			t.Errorf("%+v", p)
		}
	})
}

// TestRefusedCommitOfALostPartitionIsOver: nobody commits it any more.
func TestRefusedCommitOfALostPartitionIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.set(nil, kerr.GroupAuthorizationFailed)
		d.begin(0, 10)
		pass(3 * time.Second)
		if p := d.problem(); p == nil || !errors.Is(p.Err, kerr.GroupAuthorizationFailed) {
			t.Fatalf("%+v", p)
		}
		d.e.Lose([]partition.ID{order0}, time.Now())
		pass(refusedFor + 3*time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("%+v", p)
		}
	})
}
