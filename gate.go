package esm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// memory is what the Mapping holds and what it may hold.
//
// # The invariant
//
// What is held is at most the budget and one poll, whatever the lag and the
// number of partitions and brokers, and what one poll brings is bounded: see
// expansion. Held is what the process really cannot
// free: a record aliases the fetch response that it came in, so one record
// that waits pins the whole response, and the response counts whole until the
// last of its records is settled. Records that were copied out of it count by
// the arena. What decoding made counts too, or a record with two thousand empty
// headers would weigh nothing: see number.
//
// # The gate
//
// There is one place where records come in, the poll, and it happens only when
// all that it may bring fits. The client fetches one response a broker ahead
// and then stops by itself, at no cost, so not polling is enough.
//
// The rejected design pauses the partitions whose queue is long. The client
// throws away what it has of a paused partition and reads it again later, so a
// slow function reads its topic almost twice; and a pause that is told to the
// client outside of the lock under which it was decided can lose against its
// own resume, after which the partition is silent for ever. The second is
// avoided by the pauser; the first by pausing only where the gate alone would
// starve a lane: see engine.starved.
//
// # What is kept
//
// The client allocates a response as soon as its first bytes are there, a
// moment after the one before it was polled, and a response is most of the
// heap. So that is when the collector starts, and whether it finds one response
// alive or two is a matter of microseconds with a function that returns at
// once. Its goal jumps between the two; after each jump down the runtime gives
// memory back to the system, and after each jump up gets it again, page by
// page: a twentieth of all CPU, and a quarter with smaller fetches. So the last
// response is kept until the next is polled, if there is room for it: then it
// finds two, and seldom one or three.
type memory struct {
	budget int64
	held   int64
	fetch  fetchSize

	kept      []*chunk // responses of the last poll
	keptUntil time.Time
}

// A chunk is memory that is freed as a whole: bytes, what decoding made of
// them, and the records themselves, which the client allocates by the batch.
type chunk struct {
	bytes   int64
	records int    // of it that are not settled
	anchor  []byte // some of it, which keeps all of it alive: of a copy always, of a response for a while
}

const (
	// keepFor is how long responses are kept if nothing comes after them.
	keepFor = 250 * time.Millisecond
	// keepLeast is the size of responses that matter to the collector: it does
	// not start below that.
	keepLeast = 4 << 20
)

// keep keeps responses for a while.
func (m *memory) keep(responses []*chunk, until time.Time) {
	m.kept, m.keptUntil = responses, until
}

// forget keeps nothing any more.
func (m *memory) forget() {
	for _, c := range m.kept {
		c.anchor = nil
	}
	m.kept, m.keptUntil = nil, time.Time{}
}

// spare is what is kept of which all records are settled. It is not held: it
// makes room.
func (m *memory) spare() (bytes int64) {
	for _, c := range m.kept {
		if c.records == 0 {
			bytes += c.bytes
		}
	}
	return bytes
}

// hold counts a chunk as held.
func (m *memory) hold(c *chunk) { m.held += c.bytes }

// release counts some records of a chunk as free, and with the last of them
// the chunk.
func (m *memory) release(c *chunk, records int) {
	c.records -= records
	if c.records == 0 {
		m.held -= c.bytes
	}
}

// admits reports whether a poll that may bring so much fits. A sixteenth of the
// budget is kept for the polls that lanes need that run out. Something always
// fits when nothing is held: otherwise a budget smaller than one fetch would
// never begin.
func (m *memory) admits(reserve int64, urgent bool) bool {
	kept := m.budget / 16
	if urgent {
		kept = 0
	}
	return m.held == 0 || m.held+reserve <= m.budget-kept
}

// makeRoom keeps no more than there is room for beside a poll that may bring so
// much.
func (m *memory) makeRoom(reserve int64) {
	if m.held+m.spare()+reserve > m.budget {
		m.forget()
	}
}

// crowded reports whether records that wait should be copied out of their
// response, so that each can be freed alone.
func (m *memory) crowded() bool { return m.held > m.budget/2 }

// fetchSize is how much the client asks of a broker at once. Large fetches
// cost the client half of the CPU of small ones; but what a poll may bring has
// to be kept free. So it is large while the function keeps up with the polls,
// and small when records queue.
type fetchSize struct {
	max          int32 // of one fetch of one broker
	perPartition int32
	brokers      int

	// before is the larger size that a fetch may still have that was sent
	// before max was lowered, and changed is when that was.
	before  int32
	changed time.Time

	// What the last poll that brought something made held, and when; and
	// whether half of that was settled since.
	lastHeld int64
	lastAt   time.Time
	halved   bool

	// expansion is how much more is held of records than was fetched, by
	// compression and by what a record costs beside its bytes: the worst that
	// was seen, slowly forgotten.
	expansion    float64
	heldOf, sent float64 // what it is taken from: sums that forget
	// beside is how much more is held of records than the client says that it
	// has ready: it does not count what decoding made.
	beside float64
	// overhead is that part of expansion that compression has no part in: how
	// much more is held of records than they were when they were decompressed.
	overhead float64
	unpacked float64 // a sum that forgets, like sent
	polls    int     // that brought something
	wire     *wireStats

	// seen is how many batches had been read at a look, and seenAt is when that
	// was another number.
	seen   int64
	seenAt time.Time
}

// wireStats counts what the client reads from the brokers. It is filled by
// hooks of the client, on its goroutines.
type wireStats struct {
	bytes        atomic.Int64 // of fetch responses
	packed       atomic.Int64 // of record batches since the last poll, as they were read,
	unpacked     atomic.Int64 // and what they became
	batches      atomic.Int64
	largestBatch atomic.Int64

	expansion expansion

	mu sync.Mutex
	// ahead are the partitions of which the client has records that were not
	// polled, and the brokers that sent them. To pause one of them now would have
	// it read again.
	ahead map[partition.ID]int32
}

func newWireStats() *wireStats {
	w := &wireStats{ahead: map[partition.ID]int32{}}
	w.expansion.tallies = map[int32]*tally{}
	w.expansion.allowance.Store(perPartition)
	return w
}

// polling notes that a poll begins.
func (w *wireStats) polling() {
	w.mu.Lock()
	w.expansion.begins()
	w.mu.Unlock()
}

// polled notes what it brought.
func (w *wireStats) polled(fetches kgo.Fetches, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := partition.ID{Topic: p.Topic, Partition: p.Partition}
		if broker, ok := w.ahead[tp]; ok {
			delete(w.ahead, tp)
			w.expansion.brought(broker)
		}
	})
	w.expansion.expire(now)
}

func (w *wireStats) isAhead(tp partition.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.ahead[tp]
	return ok
}

var _ interface {
	kgo.HookFetchBatchRead
	kgo.HookBrokerRead
} = (*wireStats)(nil)

const fetchKey = 1 // Kafka's number of the Fetch request

// OnBrokerRead counts what fetches bring.
func (w *wireStats) OnBrokerRead(from kgo.BrokerMetadata, key int16, bytes int, _, _ time.Duration, err error) {
	if key == fetchKey && err == nil {
		w.bytes.Add(int64(bytes))
		w.mu.Lock()
		w.expansion.arrives(from.NodeID)
		w.mu.Unlock()
	}
}

// OnFetchBatchRead counts record batches. It comes right after a batch was
// decompressed, on the same goroutine.
func (w *wireStats) OnFetchBatchRead(from kgo.BrokerMetadata, topic string, number int32, b kgo.FetchBatchMetrics) {
	const header = 61
	// One that was refused, or is from before what was asked for, is compressed and
	// has no records.
	if b.CompressionType == 0 || b.NumRecords > 0 {
		size := int64(max(b.UncompressedBytes, b.CompressedBytes))
		w.mu.Lock()
		w.ahead[partition.ID{Topic: topic, Partition: number}] = from.NodeID
		w.expansion.count(from.NodeID, size+int64(b.NumRecords)*recordOverhead)
		w.mu.Unlock()
		w.packed.Add(int64(b.CompressedBytes))
		w.unpacked.Add(size)
	}
	w.batches.Add(1)
	for size := int64(b.CompressedBytes) + header; ; {
		was := w.largestBatch.Load()
		if size <= was || w.largestBatch.CompareAndSwap(was, size) {
			return
		}
	}
}

const (
	// enoughBatches is how many batches have to be seen to say how large they
	// are.
	enoughBatches = 16

	fetchLargest = 50 << 20 // the client's own default, and the limit of what more would bring
	fetchLeast   = 64 << 10
	perPartition = 1 << 20 // Kafka's default for the largest batch is about that
	// fetchMaxWait bounds how long a broker holds a fetch back for want of
	// data. A partition that is resumed waits for the fetch that is under
	// way, so this is what a resume costs.
	fetchMaxWait = 250 * time.Millisecond
	// fetchUnderWay is how long a fetch may take that was sent already.
	fetchUnderWay = 4 * fetchMaxWait
)

func newFetchSize(wire *wireStats) fetchSize {
	f := fetchSize{brokers: 1, expansion: 1, beside: 1, overhead: 1, wire: wire}
	// Little at first: how large it becomes is not known yet.
	f.set(perPartition, time.Time{})
	return f
}

// small is the size when records queue: a sixteenth of the budget, and less
// where many brokers each bring one.
func (f *fetchSize) small(budget int64) int32 {
	n := min(budget/16, budget/8/int64(f.brokers))
	return f.clamp(n)
}

// large is the size when the function keeps up.
func (f *fetchSize) large(budget int64) int32 {
	return f.clamp(min(fetchLargest, budget*2/5/int64(f.brokers)))
}

func (f *fetchSize) clamp(n int64) int32 {
	return int32(min(max(int64(float64(n)/f.expansion), fetchLeast), fetchLargest))
}

// reserve is what the next poll may make held. buffered is what the client has
// ready to be polled, with what its records cost, and ready is that and what it
// is about to make ready.
//
// It is not more than a poll can bring: that is bounded by the allowance, or by
// what brokers send as it is. If it were, all polls would wait until nothing is
// held, which a batch in back-off can keep from coming.
func (f *fetchSize) reserve(buffered, ready, budget int64) int64 {
	wire := max(int64(max(f.max, f.before)), f.wire.largestBatch.Load())
	one := int64(float64(wire) * f.expansion)
	n := int64(f.brokers) * one
	if buffered > 0 {
		// A broker has one response, either ready or on its way.
		n = min(n, int64(float64(buffered)*f.beside)+int64(f.brokers-1)*one)
	}
	n = max(n, int64(float64(ready)*f.beside))
	return min(n, max(most(budget), int64(f.brokers)*int64(float64(wire)*f.overhead)))
}

// polled notes a poll that made so much more held, of records of which
// the client said that they are so much. residue is what was still held of the
// polls before. It reports whether the client has to be told another size.
func (f *fetchSize) polled(more, said, residue, budget int64, now time.Time) bool {
	if f.before > 0 && now.Sub(f.changed) >= fetchUnderWay {
		f.before = 0
	}
	if more == 0 {
		return false
	}
	f.heldOf = f.heldOf*0.8 + float64(more)
	f.sent = f.sent*0.8 + float64(max(1, f.wire.packed.Swap(0)))
	f.unpacked = f.unpacked*0.8 + float64(max(1, f.wire.unpacked.Swap(0)))
	f.expansion = max(1, f.expansion*0.99, f.heldOf/f.sent)
	f.overhead = max(1, f.overhead*0.99, f.heldOf/f.unpacked)
	f.beside = max(1, f.beside*0.99, float64(more)/float64(max(1, said)))
	f.lastHeld, f.lastAt, f.halved = more, now, false
	if f.polls++; f.polls == 1 {
		return f.set(f.small(budget), now)
	}
	n := min(max(f.max, f.small(budget)), f.large(budget))
	if residue > budget/4 {
		n = max(f.small(budget), n/2) // records queue
	}
	return f.set(n, now)
}

// drained notes what is held after an invocation, and makes the fetches
// larger if the function deals with them as fast as they come. It reports
// whether the client has to be told. It does not wait for the next poll: by
// then the client has sent one more of the old size.
func (f *fetchSize) drained(held, budget int64, now time.Time) bool {
	if f.halved || held > f.lastHeld/2 {
		return false
	}
	f.halved = true
	if now.Sub(f.lastAt) > keepsUp {
		return false
	}
	return f.set(min(4*f.max, f.large(budget)), now)
}

// keepsUp is how quickly a function deals with half of a fetch that keeps up
// with them.
const keepsUp = 50 * time.Millisecond

// set makes a size hold.
//
// What a partition may send at once is as large as a batch can usually be,
// until enough batches were seen to say how large they are here. If it is
// smaller than a batch, a broker sends the beginning of one, which is thrown
// away, and all of it only of the first partition that it looks at. And it
// remembers what a partition may send until its position has moved.
func (f *fetchSize) set(n int32, now time.Time) bool {
	batch := int32(min(f.wire.largestBatch.Load(), fetchLargest))
	part := int32(perPartition)
	if f.wire.batches.Load() >= enoughBatches {
		part = min(part, max(2*batch, n/8, fetchLeast))
	}
	part = max(part, batch)
	// A whole number of those: what is cut off from the last one is the
	// beginning of a batch, and thrown away.
	n = max(1, n/part) * part
	if n == f.max && part == f.perPartition {
		return false
	}
	if n < f.max {
		f.before, f.changed = max(f.before, f.max), now
	}
	f.max, f.perPartition = n, part
	return true
}
