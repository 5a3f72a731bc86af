package engine

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// rings takes what a bell has, and reports whether it rang.
func rings(b Bell) bool {
	select {
	case <-b:
		return true
	default:
		return false
	}
}

// TestTheScalerIsAskedOncePerCrowd that waits, and again when it has grown; and
// looking whether it has does not wake the timekeeper over and over.
func TestTheScalerIsAskedOncePerCrowd(t *testing.T) {
	d := newDriver(1, nil)
	defer d.stop()
	e, now := d.e, d.now
	var ps []Placement
	for id := range e.lanes {
		ps = append(ps, Placement{ID: id})
	}
	e.Place(ps, now)
	came := 0
	come := func(n int) {
		var in []kgo.FetchPartition
		for range n {
			in = append(in, kgo.FetchPartition{Partition: int32(came), HighWatermark: 1, Records: []*kgo.Record{{Topic: "orders", Partition: int32(came)}}})
			came++
		}
		e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: in}}}}, now)
	}
	keepTime := func() { // as KeepTime does, once
		e.mu.Lock()
		defer e.unlock()
		e.due(now)
		e.ask(now)
		e.alarmAt = e.nextDue(now)
	}
	e.mu.Lock()
	e.cfg.BatchWindow, e.cfg.MaxConcurrency = 0, -1
	e.pool.Resize(1, now)
	for e.pool.Busy() < e.pool.Slots() { // all slots are taken
		e.pool.Start(e.pool.Pick(now), 0, now)
	}
	slots := e.pool.Slots()
	e.unlock()
	if slots*3 > len(ps) {
		t.Fatalf("%d partitions are too few for %d slots", len(ps), slots)
	}
	rings(e.ScaleBell)

	come(slots)
	keepTime()
	if rings(e.ScaleBell) {
		t.Errorf("%d wait for %d slots, and the scaler is asked", came, slots)
	}
	come(slots)
	keepTime()
	if !rings(e.ScaleBell) {
		t.Fatalf("%d wait for %d slots, and the scaler is not asked", came, slots)
	}
	now = now.Add(time.Hour)
	keepTime()
	if rings(e.ScaleBell) {
		t.Error("the scaler is asked again for the same crowd")
	}
	now = e.askedAt.Add(time.Millisecond)
	come(slots)
	keepTime()
	rings(e.timeBell)
	for range 3 {
		if keepTime(); rings(e.timeBell) {
			t.Fatal("the timekeeper wakes itself")
		}
	}
	if rings(e.ScaleBell) {
		t.Error("the scaler is asked again at once")
	}
	if next := e.alarmAt; next.IsZero() || next.Sub(e.askedAt) != askAfter+time.Duration(len(ps))*askPerOne {
		t.Errorf("it is looked at again at %v, and was asked at %v", next, e.askedAt)
	}
	now = e.alarmAt
	if keepTime(); !rings(e.ScaleBell) {
		t.Error("the scaler is not asked for a crowd that has grown")
	}
}
