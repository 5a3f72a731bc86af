package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A fate is what the function makes of a record whenever it gets it.
type fate uint8

const (
	noFate        fate = iota
	poisonFate         // every call that holds it fails
	permanentFate      // it cannot be handled
	tooLargeFate       // every call that holds it is too large
	oldFate            // it is too old when it is written
)

// fateOf is the fate of a record.
func fateOf(seed uint64, n int32, seq int64) fate {
	if topicOf(n).kind != noHoles {
		return noFate
	}
	switch rng := dice(seed, n, seq, 1); rng.IntN(6000) {
	case 0, 1:
		return poisonFate
	case 2, 3, 4:
		return permanentFate
	case 5:
		return tooLargeFate
	case 6, 7:
		return oldFate
	}
	return noFate
}

// dice are those of one record: what comes of them is the same for whoever
// asks.
func dice(seed uint64, n int32, seq int64, what uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed<<3|what, uint64(n)<<48|uint64(seq)))
}

// recordOf is the record that is written as number seq, counted from 0, into a
// partition. It follows from these, so whoever reads it can make it again and
// compare each byte, and whether a field is null or empty; nothing has to be
// written into it that says what it is. That of an old fate has a time.
//
// In a topic without transactions, the offset is the number: one producer
// writes a partition, in order, and each record once.
func recordOf(seed uint64, n int32, seq int64) *kgo.Record {
	t := topicOf(n)
	r := &kgo.Record{Topic: t.name, Partition: n - t.first}
	rng := dice(seed, n, seq, 0)
	switch t.kind {
	case compactionHoles:
		r.Key = fmt.Appendf(nil, "price-%d", rng.IntN(20))
		if rng.IntN(10) > 0 { // otherwise a tombstone
			r.Value = filler(rng, rng.IntN(100))
		}
		return r
	case transactionHoles:
		// Markers take offsets, so the offset does not say which it is.
		r.Key = binary.BigEndian.AppendUint64(nil, uint64(seq))
	default:
		if rng.IntN(4) > 0 {
			r.Key = filler(rng, rng.IntN(24)) // which may be none, and not null
		}
	}
	r.Value = filler(rng, 50+rng.IntN(300))
	for range rng.IntN(4) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(filler(rng, 1+rng.IntN(12))), Value: filler(rng, rng.IntN(20))})
	}
	shape := rng.IntN(2000)
	switch {
	case shape < 20 && t.kind == noHoles:
		r.Key, r.Value, r.Headers = nil, nil, nil
	case shape < 40:
		r.Value = nil
	case shape < 60:
		r.Value = []byte{}
	case shape < 70:
		for range 50 + rng.IntN(400) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(filler(rng, rng.IntN(8))), Value: filler(rng, rng.IntN(8))})
		}
	case shape < 90: // a key twice, with a value that is null, and one that is none
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "twice"}, kgo.RecordHeader{Key: "twice", Value: []byte{}},
			kgo.RecordHeader{Key: "", Value: filler(rng, 3)})
	case shape == 90:
		r.Value = filler(rng, 50_000+rng.IntN(250_000))
	}
	if fateOf(seed, n, seq) == oldFate {
		r.Timestamp = time.Now().Add(-2 * oldAge).Truncate(time.Millisecond)
	}
	return r
}

// maxAge is how old a record may be for the hosts, and oldAge more than that.
const (
	maxAge = 30 * time.Minute
	oldAge = time.Hour
)

// filler makes bytes that compress to about a half: what came to nothing would
// expand a thousandfold, and that is what the memory budget is about, and not
// what this is.
func filler(rng *rand.Rand, n int) []byte {
	const letters = "0123456789abcdef"
	b := make([]byte, n)
	for i := 0; i < n; {
		for v, j := rng.Uint64(), 0; j < 16 && i < n; i, j = i+1, j+1 {
			b[i] = letters[v&15]
			v >>= 4
		}
	}
	return b
}

// seqOf is the number of a record that was read, if it is whole.
func seqOf(r *kgo.Record) (int64, error) {
	n := numberOf(r)
	if n < 0 {
		return 0, fmt.Errorf("there is no partition %s/%d", r.Topic, r.Partition)
	}
	if topicOf(n).kind != transactionHoles {
		return r.Offset, nil
	}
	if len(r.Key) != 8 {
		return 0, fmt.Errorf("its key is %.40q, and should be a number of 8 bytes", r.Key)
	}
	return int64(binary.BigEndian.Uint64(r.Key)), nil
}

// differs says what is wrong with a record that was read.
func differs(seed uint64, got *kgo.Record) error {
	seq, err := seqOf(got)
	if err != nil {
		return err
	}
	n := numberOf(got)
	want := recordOf(seed, n, seq)
	if err := bytesDiffer("its key", got.Key, want.Key); err != nil {
		return err
	}
	if err := bytesDiffer("its value", got.Value, want.Value); err != nil {
		return err
	}
	if len(got.Headers) != len(want.Headers) {
		return fmt.Errorf("it has %d headers, and should have %d", len(got.Headers), len(want.Headers))
	}
	for i, w := range want.Headers {
		h := got.Headers[i]
		if h.Key != w.Key {
			return fmt.Errorf("the key of header %d is %.40q, and should be %q", i, h.Key, w.Key)
		}
		if err := bytesDiffer(fmt.Sprintf("the value of header %d", i), h.Value, w.Value); err != nil {
			return err
		}
	}
	old := fateOf(seed, n, seq) == oldFate
	if age := time.Since(got.Timestamp); old != (age > oldAge) {
		return fmt.Errorf("its time is %s, %s ago", got.Timestamp.Format(time.RFC3339), age.Round(time.Second))
	}
	return nil
}

func bytesDiffer(what string, got, want []byte) error {
	if bytes.Equal(got, want) && (got == nil) == (want == nil) {
		return nil
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	return fmt.Errorf("%s is %s, and should be %s; they differ from byte %d on", what, short(got), short(want), at)
}

func short(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%.24q (%d bytes)", b, len(b))
}
