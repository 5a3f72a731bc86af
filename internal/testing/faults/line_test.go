package main

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestPartsAreRecordsByPartition: neighbours are one span, and what is no
// neighbour, by its offset or by its number, begins another.
func TestPartsAreRecordsByPartition(t *testing.T) {
	var l line
	for _, r := range [][3]int64{{3, 10, 10}, {3, 11, 11}, {30, 5, 2}, {3, 13, 13}, {30, 6, 3}, {30, 7, 9}, {30, -1, 10}, {30, -1, 11}} {
		l.add(int32(r[0]), r[1], r[2])
	}
	want := []part{
		{Partition: 3, Spans: []span{{10, 11, 10}, {13, 13, 13}}},
		{Partition: 30, Spans: []span{{5, 6, 2}, {7, 7, 9}, {-1, -1, 10}, {-1, -1, 11}}},
	}
	if !reflect.DeepEqual(l.Parts, want) {
		t.Errorf("%v", l.Parts)
	}
	var got [][2]int64
	for o, seq := range l.Parts[1].offsets {
		got = append(got, [2]int64{o, seq})
	}
	if want := [][2]int64{{5, 2}, {6, 3}, {7, 9}, {-1, 10}, {-1, 11}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var again line
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, l) {
		t.Errorf("%s: %+v, %v", b, again, err)
	}
}

func TestPartitionsHaveNumbers(t *testing.T) {
	seen := map[string]bool{}
	for n := range int32(partitions) {
		topic := topicOf(n)
		if got := number(topic.name, n-topic.first); got != n {
			t.Errorf("%s has %d", nameOf(n), got)
		}
		seen[nameOf(n)] = true
	}
	if len(seen) != partitions {
		t.Errorf("%d names", len(seen))
	}
	for _, n := range []int32{number("orders", 24), number("orders", -1), number("nowhere", 0)} {
		if n != -1 {
			t.Errorf("what is not there has %d", n)
		}
	}
}
