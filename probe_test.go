package esm

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// TestStandstill holds the rule to a naive reading of a history of looks.
func TestStandstill(t *testing.T) {
	type look struct {
		position, end int64
		kept, open    bool
		at            time.Duration
	}
	began := time.Unix(1e9, 0)
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 14))
		var s standstill
		var history []look
		position, end := int64(rng.IntN(3)-1), int64(rng.IntN(4)-1)
		for at := time.Duration(0); at < 100*time.Second; at += time.Duration(1+rng.IntN(3000)) * time.Millisecond {
			if rng.IntN(20) == 0 {
				position++
			}
			if rng.IntN(10) == 0 {
				end = max(end, position) + int64(rng.IntN(2))
			}
			l := look{position, end, rng.IntN(40) == 0, rng.IntN(10) > 0, at}
			history = append(history, l)
			s.look(l.position, l.end, l.kept, l.open, began.Add(at))

			// Back to the last look at which all was well, and on from there.
			from := 0
			for i, l := range history {
				if l.kept || l.position >= 0 && l.end <= l.position || i > 0 && history[i-1].position != l.position {
					from = i
				}
			}
			want := time.Duration(0)
			for i := from + 1; i < len(history); i++ {
				if history[i].open {
					want += history[i].at - history[i-1].at
				}
			}
			if s.stood != want || s.stands() != (want >= standsAfter) {
				t.Fatalf("seed %d: after %+v it has stood for %s, want %s", seed, history, s.stood, want)
			}
		}
	}
}

// batches is what a broker sends of batches: the first offset, how many offsets
// more, and bytes beside the header of each.
func batches(of ...[3]int64) (sent []byte) {
	for _, b := range of {
		head := make([]byte, 61+b[2])
		binary.BigEndian.PutUint64(head, uint64(b[0]))
		binary.BigEndian.PutUint32(head[8:], uint32(len(head)-12))
		head[16] = 2
		binary.BigEndian.PutUint32(head[23:], uint32(b[1]))
		sent = append(sent, head...)
	}
	return sent
}

func TestBatchEnd(t *testing.T) {
	three := batches([3]int64{10, 4, 7}, [3]int64{15, 0, 0}, [3]int64{20, 9, 100})
	for _, tt := range []struct {
		sent     []byte
		at, want int64
	}{
		{three, 10, 15}, {three, 12, 15}, {three, 15, 20}, {three, 17, 20}, {three, 20, 30}, {three, 29, 30},
		{three[:68], 10, 15}, {three[:100], 12, 15}, // cut off
		{batches([3]int64{10, -1, 0}), 10, 11}, {batches([3]int64{10, 1 << 40, 0}), 10, 11}, // a wrong length
		{batches([3]int64{10, 1 << 20, 0}, [3]int64{12, 0, 0}), 10, 12}, // and one that the next batch puts right
		{nil, 5, 6},
	} {
		if got := batchEnd(tt.sent, tt.at); got != tt.want {
			t.Errorf("%d in %d bytes: %d, want %d", tt.at, len(tt.sent), got, tt.want)
		}
	}
}

// FuzzBatchEnd: whatever is sent, to go on there gets on.
func FuzzBatchEnd(f *testing.F) {
	f.Add(batches([3]int64{10, 4, 7}, [3]int64{15, 0, 0}), int64(12))
	f.Add([]byte("no batch at all, but long enough"), int64(3))
	f.Fuzz(func(t *testing.T, sent []byte, offset int64) {
		if offset < 0 || offset > 1<<62 {
			return
		}
		if end := batchEnd(sent, offset); end <= offset {
			t.Errorf("offset %d: %d", offset, end)
		}
	})
}
