package memory

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// A Wire counts what the client reads from the brokers, and bounds what it may
// decompress: see allowance.
//
// The client reads on goroutines of its own, so all methods are safe to call at
// once, and none waits. The lock is a leaf: whoever has it takes no other.
type Wire struct {
	fetched      atomic.Int64 // bytes of fetch responses
	fetchTook    atomic.Int64 // of the last one, in ns
	failures     atomic.Int64
	batches      atomic.Int64
	largestBatch atomic.Int64

	allowance allowance

	mu sync.Mutex
	// ahead are the partitions of which the client has records that were not
	// polled, and the brokers that sent them. A pause would make the client read
	// them again.
	ahead map[partition.ID]int32
}

func newWire() *Wire {
	w := &Wire{ahead: map[partition.ID]int32{}}
	w.allowance.tallies = map[int32]*tally{}
	w.allowance.limit.Store(perPartition)
	return w
}

// A Batch is a record batch of Kafka that the client read.
type Batch struct {
	partition.ID
	Broker   int32 // that sent it
	Packed   int64 // its bytes as it came, but for its header
	Unpacked int64 // its bytes once decompressed
	Cost     int64 // what it takes in memory, with what its records cost
	// Unread is whether nothing was made of it: it was refused, or ends before
	// the position that was asked for. Then Unpacked and Cost mean nothing.
	Unread bool
}

// batchHeader is how many bytes Kafka puts in front of the records of a batch.
const batchHeader = 61

// Response counts a fetch response, before the batches in it.
func (w *Wire) Response(broker int32, bytes int) {
	w.fetched.Add(int64(bytes))
	w.mu.Lock()
	w.allowance.arrives(broker)
	w.mu.Unlock()
}

// Batch counts a record batch. It has to be called after a batch was
// decompressed and before the next one of the same broker is.
func (w *Wire) Batch(b Batch) {
	if !b.Unread {
		w.mu.Lock()
		w.ahead[b.ID] = b.Broker
		w.allowance.count(b)
		w.mu.Unlock()
	}
	w.batches.Add(1)
	for size := b.Packed + batchHeader; ; {
		was := w.largestBatch.Load()
		if size <= was || w.largestBatch.CompareAndSwap(was, size) {
			return
		}
	}
}

// Refuses reports whether the allowance is used up: the client must not
// decompress another batch now.
func (w *Wire) Refuses() bool {
	return w.allowance.unpolled.Load() >= w.allowance.limit.Load()
}

// Polling says that a poll begins.
func (w *Wire) Polling() {
	w.mu.Lock()
	w.allowance.begins()
	w.mu.Unlock()
}

// Polled says that it ended, and which partitions it brought something of, if
// only an error.
func (w *Wire) Polled(brought iter.Seq[partition.ID], now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range brought {
		if broker, ok := w.ahead[id]; ok {
			delete(w.ahead, id)
			w.allowance.brought(broker)
		}
	}
	w.allowance.expire(now)
}

// taken returns the bytes that were polled since the last call.
func (w *Wire) taken() sizes {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.allowance.take()
}

// IsAhead reports whether the client has records of a partition that were not
// polled.
func (w *Wire) IsAhead(id partition.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.ahead[id]
	return ok
}

// Took notes how long it was from a fetch request to the end of its response.
func (w *Wire) Took(d time.Duration) { w.fetchTook.Store(int64(d)) }

// FetchTook is how long the last one took.
func (w *Wire) FetchTook() time.Duration { return time.Duration(w.fetchTook.Load()) }

// Fail notes a poll that brought an error, or a fetch that got no answer.
func (w *Wire) Fail() { w.failures.Add(1) }

// Failures is how many of these there were.
func (w *Wire) Failures() int64 { return w.failures.Load() }

// Fetched is how many bytes of fetch responses were read.
func (w *Wire) Fetched() int64 { return w.fetched.Load() }
