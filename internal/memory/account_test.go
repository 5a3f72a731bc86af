package memory

import "testing"

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
