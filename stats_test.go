package esm

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/scaling"
)

// TestWhatEndsInCountCounts: by its name a reader knows whether a number of Stats
// grows for ever, or is of the moment.
func TestWhatEndsInCountCounts(t *testing.T) {
	var counted engine.Snapshot
	counters := reflect.TypeOf(counted).Field(0) // which only the engine can set
	if !counters.Anonymous {
		t.Fatalf("%s is not the counters", counters.Name)
	}
	for f := range counters.Type.Fields() {
		if f.Type.Kind() != reflect.Int64 {
			t.Fatalf("the counter %s is a %s", f.Name, f.Type)
		}
		*(*int64)(unsafe.Add(unsafe.Pointer(&counted), counters.Offset+f.Offset)) = 7
	}
	counted.FetchedBytes, counted.PollErrors = 7, 7 // which the client counts
	s := reflect.ValueOf(statsOf(&counted, time.Time{}))
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		if counts := strings.HasSuffix(name, "Count"); counts == s.Field(i).IsZero() && name != "TimeLag" {
			t.Errorf("%s is %v where only counters are set", name, s.Field(i))
		}
	}
}

// TestEachPartOfASnapshotIsShown: a field that no view shows is not worth its
// lock.
func TestEachPartOfASnapshotIsShown(t *testing.T) {
	moment := time.Unix(1, 0)
	full := engine.Snapshot{
		BytesPerSecond: 1, Units: 1, PollerSeconds: 1, UnitSeconds: 1, CommitTook: 1, FetchTook: 1, Age: engine.AgeSum{Oldest: moment}, Pollers: 1, ActivePollers: 1, ScaleReason: scaling.Reason{Cause: scaling.Backlog}, Slots: 1, Busy: 1, Member: true, Lanes: 1, Waiting: 1, Queued: 1,
		Lag: engine.LagSum{Sum: 1, Max: 1}, Held: 1, Budget: 1, MemoryLimited: true, Placeless: 1, Slow: 1, Stuck: 1, ThrottledUntil: moment, Service: 1, RecordsPerCall: 1,
	}
	full.Took.Add(1)
	full.Bounds.Least, full.Bounds.Most, full.Bounds.Calls = 1, 1, 1
	s := reflect.ValueOf(statsOf(&full, moment))
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		if of := name != "Phase" && !strings.HasSuffix(name, "Count"); of == s.Field(i).IsZero() {
			t.Errorf("%s is %v where only what is of the moment is set", name, s.Field(i))
		}
	}
	r := engine.Row{
		State: "idle", Committed: 1, Frontier: 1, Position: 1, End: 1, Lag: 1, LagKnown: true, Oldest: moment, Queued: 1, QueuedBytes: 1, InFlight: 1,
		CallID: "x", CallSince: moment, Blocked: true,
	}
	r.Topic = "orders"
	p := reflect.ValueOf(partitionStatsOf("m", &r))
	for i := range p.NumField() {
		if p.Field(i).IsZero() {
			t.Errorf("%s is not shown", p.Type().Field(i).Name)
		}
	}
}
