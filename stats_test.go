package esm

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// TestWhatEndsInCountCounts: by its name a reader knows whether a number of Stats
// grows for ever, or is of the moment.
func TestWhatEndsInCountCounts(t *testing.T) {
	var counted snapshot
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
	counted.fetchedBytes = 7 // which the client counts
	s := reflect.ValueOf(statsOf(&counted, time.Time{}))
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		if counts := strings.HasSuffix(name, "Count"); counts == s.Field(i).IsZero() {
			t.Errorf("%s is %v where only counters are set", name, s.Field(i))
		}
	}
}

// TestEachPartOfASnapshotIsShown: a field that no view shows is not worth its
// lock.
func TestEachPartOfASnapshotIsShown(t *testing.T) {
	moment := time.Unix(1, 0)
	full := snapshot{
		bytesPerSecond: 1, pollers: 1, activePollers: 1, scaleReason: "x", slots: 1, busy: 1, member: true, lanes: 1, waiting: 1,
		lag: lagSum{sum: 1, max: 1}, held: 1, budget: 1, memoryLimited: true, placeless: 1, slow: 1, stuck: 1, throttledUntil: moment, service: 1,
	}
	s := reflect.ValueOf(statsOf(&full, moment))
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		if of := name != "Phase" && !strings.HasSuffix(name, "Count"); of == s.Field(i).IsZero() {
			t.Errorf("%s is %v where only what is of the moment is set", name, s.Field(i))
		}
	}
	r := row{
		state: "idle", committed: 1, frontier: 1, position: 1, end: 1, lag: 1, lagKnown: true, queued: 1, queuedBytes: 1, inFlight: 1,
		callID: "x", callSince: moment, blocked: true,
	}
	r.Topic = "orders"
	p := reflect.ValueOf(partitionStatsOf("m", &r))
	for i := range p.NumField() {
		if p.Field(i).IsZero() {
			t.Errorf("%s is not shown", p.Type().Field(i).Name)
		}
	}
}
