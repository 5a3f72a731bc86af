package esm

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/seed429fd032/esm/internal/partition"
)

// problem is the Problem "commit", or nil.
func (d *commitDesk) problem() *trouble { return d.e.trouble("commit") }

// TestTransientRefusalThatLastsIsAProblem: a rebalance is over in seconds.
func TestTransientRefusalThatLastsIsAProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.set(nil, kerr.RebalanceInProgress)
		d.begin(0, 10)
		pass(passingFor - 3*time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("after %s: %+v", passingFor-3*time.Second, p)
		}
		pass(6 * time.Second)
		p := d.problem()
		if p == nil || !errors.Is(p.err, kerr.RebalanceInProgress) {
			t.Fatalf("after half a minute: %+v", p)
		}
		for i := range int64(20) { // records go on meanwhile
			d.settleMore(10+i, 1)
			pass(20 * time.Second)
		}
		if err := (&run{engine: d.e, watch: d.e.watch.(*teller)}).healthy(time.Now()); !errors.Is(err, kerr.RebalanceInProgress) {
			t.Errorf("healthy: %v", err)
		}
		if p := d.problem(); p == nil {
			t.Error("it was forgotten")
		}
		d.set(nil, nil)
		pass(2 * time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("after it was committed: %+v", p)
		}
		if err := (&run{engine: d.e, watch: d.e.watch.(*teller)}).healthy(time.Now()); err != nil {
			t.Error(err)
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
			d.e.lose([]partition.ID{deskPartition}, time.Now())
			pass(2 * time.Second)
		}
		if p := d.problem(); p == nil {
			t.Error("fifty seconds without a commit are no problem")
		}
		pass(2 * passingFor)
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
		pass(passingFor - 3*time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("after %s: %+v", passingFor-3*time.Second, p)
		}
		pass(6 * time.Second)
		if p := d.problem(); p == nil || !errors.Is(p.err, errNoAnswer) {
			t.Errorf("after half a minute: %+v", p)
		}
		for i := range int64(20) {
			d.settleMore(10+i, 1)
			pass(20 * time.Second)
		}
		if err := (&run{engine: d.e, watch: d.e.watch.(*teller)}).healthy(time.Now()); !errors.Is(err, errNoAnswer) {
			t.Errorf("healthy: %v", err)
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
		pass(passingFor + 3*time.Second)
		if p := d.problem(); p == nil {
			t.Error("no problem")
		}
		d.e.lose([]partition.ID{deskPartition}, time.Now())
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
		if p := d.problem(); p == nil || !errors.Is(p.err, kerr.GroupAuthorizationFailed) {
			t.Fatalf("%+v", p)
		}
		d.e.lose([]partition.ID{deskPartition}, time.Now())
		pass(passingFor + 3*time.Second)
		if p := d.problem(); p != nil {
			t.Errorf("%+v", p)
		}
	})
}
