package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestAPollIsCutShort by whatever must not get what it would bring: a hold, a lane
// that is to go back, and an assignment, which also waits for its end.
func TestAPollIsCutShort(t *testing.T) {
	for name, cut := range map[string]func(e *Engine){
		"by a hold":        func(e *Engine) { e.Hold(HoldPause) },
		"by a rewind":      func(e *Engine) { e.mu.Lock(); defer e.unlock(); e.rewind(e.lanes[orders0]) },
		"by an assignment": func(e *Engine) { go e.EndPoll() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := oneLane(succeeds)
				p := e.Permit(t.Context(), 0, time.Now())
				if !p.Poll || p.Ctx.Err() != nil {
					t.Fatalf("no poll is permitted: %+v", p)
				}
				cut(e)
				synctest.Wait()
				if p.Ctx.Err() == nil {
					t.Error("the poll goes on")
				}
				p.End()
			})
		})
	}
}

// TestAnAssignmentWaitsForTheEndOfThePoll, and not for one that begins after it.
func TestAnAssignmentWaitsForTheEndOfThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := oneLane(succeeds)
		e.EndPoll() // there is none
		p := e.Permit(t.Context(), 0, time.Now())
		waited := make(chan struct{})
		go func() { defer close(waited); e.EndPoll() }()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("it does not wait until what the poll brought is handed over")
		default:
		}
		p.End()
		next := e.Permit(t.Context(), 0, time.Now())
		<-waited
		if next.Ctx.Err() != nil {
			t.Error("the next poll is cut short too")
		}
		next.End()
	})
}

// TestNothingIsPermittedWhileHeld, for as long as one reason is left.
func TestNothingIsPermittedWhileHeld(t *testing.T) {
	e := oneLane(succeeds)
	e.Hold(HoldPause)
	e.Hold(HoldHalt)
	for range 2 {
		if p := e.Permit(t.Context(), 0, time.Now()); p.Ctx != nil {
			t.Errorf("permitted: %+v", p)
		}
		e.ResumeFrom(HoldPause)
	}
	e.ResumeFrom(HoldHalt)
	if p := e.Permit(t.Context(), 0, time.Now()); p.Ctx == nil || !p.Poll {
		t.Errorf("not permitted: %+v", p)
	}
}

// TestRevokeCommitsBeforeItGivesUp: what was settled is committed by flush, and
// what is sent later finds its lane dead.
func TestRevokeCommitsBeforeItGivesUp(t *testing.T) {
	e := oneLane(succeeds, batchesOf(10))
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 10 })
	var fs []Frontier
	e.Revoke(t.Context(), []partition.ID{orders0}, time.Second, func() error {
		fs = e.Books.Frontiers(true, time.Now())
		if len(fs) != 1 || fs[0].At != 10 || !e.Books.MayCommit(fs[0], "") {
			t.Errorf("the flush may commit %+v", fs)
		}
		return nil
	})
	if len(fs) == 1 && e.Books.MayCommit(fs[0], "") {
		t.Error("it may be committed after the partition was given up")
	}
	if pointless, _, _ := e.Books.Await(time.Now()); !pointless {
		t.Error("a request for nobody is waited for")
	}
}
