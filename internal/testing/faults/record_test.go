package main

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// asRead is a record as it is read: with an offset and a time.
func asRead(n int32, seq int64) *kgo.Record {
	r := recordOf(storySeed, n, seq)
	r.Offset = seq
	if topicOf(n) == ledger {
		r.Offset = 3 * seq // markers lie between
	}
	if r.Timestamp.IsZero() {
		r.Timestamp = time.Now()
	}
	return r
}

func TestRecordsAreWhatTheyWere(t *testing.T) {
	for n := range int32(partitions) {
		for seq := range int64(500) {
			if err := differs(storySeed, asRead(n, seq)); err != nil {
				t.Fatalf("%s, record %d: %v", nameOf(n), seq, err)
			}
		}
	}
}

// TestEachByteOfARecordIsLookedAt: of each shape there is.
func TestEachByteOfARecordIsLookedAt(t *testing.T) {
	changes := 0
	for n := int32(0); n < partitions; n += 3 {
		for seq := range int64(300) {
			whole := asRead(n, seq)
			if len(whole.Value) > 10_000 {
				continue // the same as small ones
			}
			change := func(what string, f func(r *kgo.Record)) {
				r := asRead(n, seq)
				f(r)
				changes++
				if differs(storySeed, r) == nil {
					t.Fatalf("%s, record %d: %s is not seen", nameOf(n), seq, what)
				}
			}
			swap := func(b *[]byte) {
				if *b == nil {
					*b = []byte{}
				} else if len(*b) == 0 {
					*b = nil
				} else {
					(*b)[int(seq)%len(*b)]++
				}
			}
			change("a key", func(r *kgo.Record) { swap(&r.Key) })
			change("a value", func(r *kgo.Record) { swap(&r.Value) })
			change("a value that is cut", func(r *kgo.Record) {
				if r.Value = r.Value[:len(r.Value)/2]; len(whole.Value) == 0 {
					r.Value = []byte{1}
				}
			})
			change("a header more", func(r *kgo.Record) { r.Headers = append(r.Headers, kgo.RecordHeader{}) })
			change("its time", func(r *kgo.Record) {
				if r.Timestamp = time.Now(); fateOf(storySeed, n, seq) != oldFate {
					r.Timestamp = r.Timestamp.Add(-2 * oldAge)
				}
			})
			if i := int(seq); len(whole.Headers) > 0 {
				i %= len(whole.Headers)
				change("the key of a header", func(r *kgo.Record) { r.Headers[i].Key += "x" })
				change("the value of a header", func(r *kgo.Record) { swap(&r.Headers[i].Value) })
				change("a header less", func(r *kgo.Record) { r.Headers = r.Headers[1:] })
			}
		}
	}
	if changes < 15_000 {
		t.Errorf("only %d changes", changes)
	}
}

// TestARecordInThePlaceOfAnother: both are whole, and one is not where it
// belongs.
func TestARecordInThePlaceOfAnother(t *testing.T) {
	r := asRead(0, 7)
	r.Offset = 8
	if differs(storySeed, r) == nil {
		t.Error("it is taken for the next one")
	}
	r = asRead(0, 7)
	r.Partition = 1
	if differs(storySeed, r) == nil {
		t.Error("it is taken for one of the next partition")
	}
	r.Topic = "elsewhere"
	if err := differs(storySeed, r); err == nil || !strings.Contains(err.Error(), "no partition elsewhere/1") {
		t.Error(err)
	}
	r = asRead(ledger.first, 7)
	r.Key = r.Key[:7]
	if err := differs(storySeed, r); err == nil || !strings.Contains(err.Error(), "a number of 8 bytes") {
		t.Error(err)
	}
}

// TestTheTopicsHaveRecordsOfEachShape: of what one partition of a short run
// has, or all of them.
func TestTheTopicsHaveRecordsOfEachShape(t *testing.T) {
	seen := map[string]int{}
	for n := range orders.partitions {
		for seq := range int64(4_000) {
			r := recordOf(storySeed, n, seq)
			see := func(is bool, what string) {
				if is {
					seen[what]++
				}
			}
			twice := map[string]int{}
			for _, h := range r.Headers {
				twice[h.Key]++
				see(h.Value == nil, "header of null")
				see(h.Value != nil && len(h.Value) == 0, "header of nothing")
				see(h.Key == "", "header without a key")
			}
			see(twice["twice"] == 2, "header twice")
			see(len(r.Headers) > 49, "many headers")
			see(r.Key == nil && r.Value == nil && r.Headers == nil, "nothing at all")
			see(r.Key != nil && len(r.Key) == 0, "empty key")
			see(r.Key != nil && r.Value == nil, "tombstone")
			see(r.Value != nil && len(r.Value) == 0, "empty value")
			see(len(r.Value) > tooMany/2, "large value")
			see(fateOf(storySeed, n, seq) == poisonFate, "poison")
			see(fateOf(storySeed, n, seq) == permanentFate, "permanent")
			see(fateOf(storySeed, n, seq) == tooLargeFate, "too large")
			see(fateOf(storySeed, n, seq) == oldFate && time.Since(r.Timestamp) > maxAge, "old")
		}
	}
	for _, what := range []string{"header of null", "header of nothing", "header without a key", "header twice", "many headers", "nothing at all", "empty key",
		"tombstone", "empty value", "large value", "poison", "permanent", "too large", "old"} {
		if seen[what] < 5 {
			t.Errorf("%s: %d of %d records", what, seen[what], 4_000*orders.partitions)
		}
	}
}
