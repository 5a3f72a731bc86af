package esm

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestAPollIsCutShort by whatever must not get what it would bring: a hold, a lane
// that is to go back, and an assignment, which also waits for its end.
func TestAPollIsCutShort(t *testing.T) {
	for name, cut := range map[string]func(e *engine){
		"by a hold":        func(e *engine) { e.hold(holdPause) },
		"by a rewind":      func(e *engine) { e.mu.Lock(); defer e.unlock(); e.rewind(e.lanes[orders0]) },
		"by an assignment": func(e *engine) { go e.endPoll() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := oneLane(succeeds)
				p := e.permit(t.Context(), 0, time.Now())
				if !p.poll || p.ctx.Err() != nil {
					t.Fatalf("no poll is permitted: %+v", p)
				}
				cut(e)
				synctest.Wait()
				if p.ctx.Err() == nil {
					t.Error("the poll goes on")
				}
				p.end()
			})
		})
	}
}

// TestAnAssignmentWaitsForTheEndOfThePoll, and not for one that begins after it.
func TestAnAssignmentWaitsForTheEndOfThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := oneLane(succeeds)
		e.endPoll() // there is none
		p := e.permit(t.Context(), 0, time.Now())
		waited := make(chan struct{})
		go func() { defer close(waited); e.endPoll() }()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("it does not wait until what the poll brought is handed over")
		default:
		}
		p.end()
		next := e.permit(t.Context(), 0, time.Now())
		<-waited
		if next.ctx.Err() != nil {
			t.Error("the next poll is cut short too")
		}
		next.end()
	})
}

// TestNothingIsPermittedWhileHeld, for as long as one reason is left.
func TestNothingIsPermittedWhileHeld(t *testing.T) {
	e := oneLane(succeeds)
	e.hold(holdPause)
	e.hold(holdHalt)
	for range 2 {
		if p := e.permit(t.Context(), 0, time.Now()); p.ctx != nil {
			t.Errorf("permitted: %+v", p)
		}
		e.resumeFrom(holdPause)
	}
	e.resumeFrom(holdHalt)
	if p := e.permit(t.Context(), 0, time.Now()); p.ctx == nil || !p.poll {
		t.Errorf("not permitted: %+v", p)
	}
}

// TestRevokeCommitsBeforeItGivesUp: what was settled is committed by flush, and
// what is sent later finds its lane dead.
func TestRevokeCommitsBeforeItGivesUp(t *testing.T) {
	e := oneLane(succeeds, batchesOf(10))
	e.enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 10 })
	var fs []frontier
	e.revoke(t.Context(), []partition.ID{orders0}, time.Second, func() error {
		fs = e.books.frontiers(time.Now())
		if len(fs) != 1 || fs[0].at != 10 || !e.books.mayCommit(fs[0]) {
			t.Errorf("the flush may commit %+v", fs)
		}
		return nil
	})
	if len(fs) == 1 && e.books.mayCommit(fs[0]) {
		t.Error("it may be committed after the partition was given up")
	}
	if pointless, _, _ := e.books.await(time.Now()); !pointless {
		t.Error("a request for nobody is waited for")
	}
}
