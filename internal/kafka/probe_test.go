package kafka

import (
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

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

// TestWhatCannotBeReadEndsWithThePartition, whatever a corrupt batch says: more would
// be passed over than was written.
func TestWhatCannotBeReadEndsWithThePartition(t *testing.T) {
	p := probe{}
	f := p.read(order0, 10, &kmsg.FetchResponseTopicPartition{HighWatermark: 12, LastStableOffset: 12, RecordBatches: batches([3]int64{10, 1 << 30, 0})})
	if u := f.Unreadable; u == nil || u.From != 10 || u.To != 12 {
		t.Errorf("found %+v, want offsets 10 and 11", f)
	}
}
