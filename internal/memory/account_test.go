package memory

import (
	"testing"
	"time"
)

func TestEmptyBudgetAdmitsOnePoll(t *testing.T) {
	m := Account{budget: 1 << 20}
	if !m.Admits(50<<20, false) {
		t.Error("nothing is held, and a poll does not fit")
	}
	m.held = 1
	if m.Admits(50<<20, true) {
		t.Error("a poll that does not fit is admitted")
	}
	m.held = 1<<20 - 1<<17
	if m.Admits(1<<17, false) || !m.Admits(1<<17, true) {
		t.Error("the last sixteenth is for lanes that need it")
	}
}

// TestResponseIsHeldUntilItsLastRecordIsSettled: one record that waits pins all
// of it.
func TestResponseIsHeldUntilItsLastRecordIsSettled(t *testing.T) {
	var m Account
	response, copied := &Chunk{Bytes: 1000, Records: 10}, &Chunk{Bytes: 50, Records: 1}
	m.Hold(response)
	m.Hold(copied)
	for _, tt := range []struct {
		of      *Chunk
		records int
		want    int64
	}{{response, 4, 1050}, {copied, 1, 1000}, {response, 5, 1000}, {response, 1, 0}} {
		if m.Release(tt.of, tt.records); m.held != tt.want {
			t.Errorf("held %d, want %d", m.held, tt.want)
		}
	}
}

// TestSpareIsWhatIsKeptAndSettled: it is not held, and goes when there is no room
// for it.
func TestSpareIsWhatIsKeptAndSettled(t *testing.T) {
	a, now := NewAccount(10_000), time.Unix(1_000_000, 0)
	waits, settled := &Chunk{Bytes: 1000, Records: 1, Anchor: []byte("x")}, &Chunk{Bytes: 300, Records: 1, Anchor: []byte("x")}
	a.Hold(waits)
	a.Hold(settled)
	a.Release(settled, 1)
	a.Keep([]*Chunk{waits, settled}, now)
	if a.Held() != 1000 || a.Spare() != 300 || !a.KeptUntil().Equal(now.Add(KeepFor)) {
		t.Errorf("%d held, %d spare, kept until %v", a.Held(), a.Spare(), a.KeptUntil())
	}
	a.MakeRoom(8700)
	if a.Spare() != 300 || settled.Anchor == nil {
		t.Error("there is room for what is kept, and it is gone")
	}
	a.MakeRoom(8701)
	if a.Spare() != 0 || settled.Anchor != nil || waits.Anchor != nil || !a.KeptUntil().IsZero() || a.Held() != 1000 {
		t.Errorf("there is no room: %d spare, %d held, kept until %v", a.Spare(), a.Held(), a.KeptUntil())
	}
}

func TestCrowdedIsMoreThanHalf(t *testing.T) {
	a := NewAccount(1000)
	a.Hold(&Chunk{Bytes: 500})
	if a.Crowded() {
		t.Error("half of the budget is crowded")
	}
	a.Hold(&Chunk{Bytes: 1})
	if !a.Crowded() {
		t.Error("more than half of the budget is not crowded")
	}
	if a.SetBudget(2000); a.Crowded() || a.Budget() != 2000 {
		t.Error("a larger budget does not count")
	}
}

// TestFirstBatchIsNeverRefused however small the budget: or nothing would ever
// come.
func TestFirstBatchIsNeverRefused(t *testing.T) {
	for _, budget := range []int64{1, 2, 1 << 20} {
		for _, poll := range []bool{false, true} {
			a := NewAccount(budget)
			if a.Allow(poll); a.Wire().Refuses() {
				t.Errorf("a budget of %d refuses the first batch; polling: %v", budget, poll)
			}
		}
	}
}
