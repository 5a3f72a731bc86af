package memory

import "time"

// A fetchSize is how much the client asks of a broker at once. Large fetches
// cost the client half of the CPU of small ones, and a broker looks at each
// partition whatever the size, but room has to be kept for all that a poll may
// bring. So the size is large while there is room, and small when records queue.
type fetchSize struct {
	max          int32 // of one fetch of one broker
	perPartition int32
	brokers      int
	lanes        int     // that may have records
	takes        float64 // bytes of records that one lane takes in a second, 0 if that is not known
	newcomers    bool    // some were added to others, and nothing of them has come yet
	// fast is whether the function deals with half of a fetch before the next
	// is there.
	fast bool

	// Brokers remember a piece until the partition has sent one. remembered is the piece
	// before perPartition, and outdated is how many bytes are to come until all
	// partitions have sent one; 0 or less if they have.
	remembered int32
	outdated   int64

	// before is the larger size that a fetch may still have that was sent
	// before max was lowered, and changed is when that was.
	before  int32
	changed time.Time

	// What the last poll that brought something made held, and when; and
	// whether half of that was settled since.
	lastHeld int64
	lastAt   time.Time
	halved   bool

	// expansion is how much more is held of records than was fetched, because
	// of compression and of what a record costs beside its bytes: the worst
	// that was seen, slowly forgotten.
	expansion    float64
	heldOf, sent float64 // what it is taken from: sums that forget
	// beside is how much more is held of records than the client says that it
	// has ready: it does not count what decoding made.
	beside float64
	// overhead is the part of expansion in which compression has no part: how
	// much more is held of records than they were once decompressed.
	overhead float64
	unpacked float64 // a sum that forgets, like sent
	polls    int     // that brought something
	wire     *Wire

	// seen is how many batches had been read at the last look, and seenAt is
	// when that number changed last.
	seen   int64
	seenAt time.Time
}

const (
	// enoughBatches is how many batches have to be seen to say how large they
	// are.
	enoughBatches = 16

	fetchLargest = 50 << 20 // the client's own default, and the limit of what more would bring
	fetchLeast   = 64 << 10
	perPartition = 1 << 20 // Kafka's default for the largest batch is about that
	// firstPiece is how much a first fetch asks of one of many partitions at least:
	// most batches are smaller.
	firstPiece = 128 << 10
	// look is how many bytes a broker sends in the time in which it looks at one
	// partition that has nothing to send, or has no room in the response: about
	// ten microseconds.
	look = 16 << 10
	// FetchMaxWait bounds how long a broker holds a fetch back for want of
	// data. A partition that is resumed waits for the fetch that is under
	// way, so this is what a resume costs.
	FetchMaxWait = 250 * time.Millisecond
	// fetchUnderWay is how long a fetch may take that was sent already.
	fetchUnderWay = 4 * FetchMaxWait
	// keepsUp is how quickly a function that keeps up with the fetches deals
	// with half of one.
	keepsUp = 50 * time.Millisecond
	// turn is for how long a piece lasts a lane whose function is slow. While records
	// queue, about as long passes until all lanes have had their turn.
	turn = time.Second
	// lap is how much a broker sends in about half a second. One piece of each of its
	// partitions is no more than that, since the last ones of a backlog end with their
	// lane's calls, one after the other, when nothing else is left to do.
	lap = 450_000_000
)

func newFetchSize(wire *Wire) fetchSize {
	f := fetchSize{brokers: 1, expansion: 1, beside: 1, overhead: 1, wire: wire}
	// Start small: how far records expand is unknown before the first poll.
	f.set(perPartition, 0, time.Time{})
	return f
}

// small is the size when records queue: a sixteenth of the budget, and less
// where many brokers each bring one. Where a broker would spend more time on looking
// at the partitions than on sending that, it is more, up to an eighth.
func (f *fetchSize) small(budget int64) int32 {
	least, most := min(budget/16, budget/8/int64(f.brokers)), budget/8/int64(f.brokers)
	return f.clamp(min(max(int64(f.lanes/f.brokers)*look, least), most))
}

// large is the size when there is room.
func (f *fetchSize) large(budget int64) int32 {
	return f.clamp(min(fetchLargest, budget*2/5/int64(f.brokers)))
}

// fitting is the size with which the next polls leave as much room as they take,
// beside what is under way. It moves by so much at once, and not for less than half of
// it, that it does not follow each poll.
func (f *fetchSize) fitting(held, budget int64) int32 {
	least, most := f.small(budget), f.large(budget)
	n := min(max(f.max, least), most)
	underWay := int64(float64(f.max) * f.expansion)
	switch room := f.clamp(((budget-held)/int64(f.brokers) - underWay) / 2); {
	case room > n/2*3:
		return min(n+n/4, room, most)
	case room < n/2:
		return max(room, least)
	}
	return n
}

// placed says of how many partitions records may come. It reports whether the client
// has to be told another size.
func (f *fetchSize) placed(lanes int, budget int64, now time.Time) bool {
	f.lanes = lanes
	f.outdated = 0 // a rebalance ends the sessions in which brokers remember
	n := f.max
	if f.polls == 0 {
		n = perPartition // of which a piece was cut off
	}
	return f.set(n, budget, now)
}

// welcome says whether there are newcomers among the lanes. It reports whether the client
// has to be told another size.
func (f *fetchSize) welcome(on bool, budget int64, now time.Time) bool {
	f.newcomers = on
	if !on {
		return f.set(f.max, budget, now)
	}
	// A change of the piece that is under way must not keep this one from coming, and
	// neither is it waited for.
	f.outdated = 0
	changed := f.set(f.max, budget, now)
	f.outdated = 0
	return changed
}

func (f *fetchSize) clamp(n int64) int32 {
	return int32(min(max(int64(float64(n)/f.expansion), fetchLeast), fetchLargest))
}

// reserve is what the next poll may make held. buffered is what the client has
// ready to be polled, with what its records cost, and ready is that and what it
// is about to make ready.
//
// The reserve is not more than a poll can bring, which the allowance bounds, or
// what brokers send as it is. If it were more, all polls would wait until
// nothing is held, and a batch in back-off can keep that from coming.
func (f *fetchSize) reserve(buffered, ready, budget int64) int64 {
	wire := max(int64(max(f.max, f.before)), f.wire.largestBatch.Load())
	one := int64(float64(wire) * f.expansion)
	n := int64(f.brokers) * one
	if buffered > 0 {
		// A broker has one response, either ready or on its way.
		n = min(n, int64(float64(buffered)*f.beside)+int64(f.brokers-1)*one)
	}
	n = max(n, int64(float64(ready)*f.beside))
	return min(n, max(pollLimit(budget), int64(f.brokers)*int64(float64(wire)*f.overhead)))
}

// ready is what the client has made of responses, or is about to.
func (f *fetchSize) ready(buffered int64, now time.Time) int64 {
	f.arrived(now)
	if n := f.wire.batches.Load(); n != f.seen {
		f.seen, f.seenAt = n, now
	}
	if now.Sub(f.seenAt) < ResponseEnds {
		return max(buffered, f.wire.allowance.unpolled.Load())
	}
	return buffered // whatever there is, is there as a whole
}

// arrived forgets the size of earlier fetches when they should be there. What they
// brought is ready then, or was polled: or it comes late, and is more than was kept free.
func (f *fetchSize) arrived(now time.Time) {
	if f.before > 0 && now.Sub(f.changed) >= fetchUnderWay {
		f.before = 0
	}
}

// polled learns from a poll: whole is what its responses took, said what the client
// counted for their records, residue what was held before, and held what is held now. It
// reports whether the client has to be told another size.
func (f *fetchSize) polled(whole, said, residue, held, budget int64, now time.Time) bool {
	f.arrived(now)
	if whole == 0 {
		return false
	}
	brought := f.wire.taken()
	f.heldOf = f.heldOf*0.8 + float64(whole)
	f.sent = f.sent*0.8 + float64(brought.packed)
	f.unpacked = f.unpacked*0.8 + float64(brought.unpacked)
	if brought.packed > 0 && brought.unpacked > 0 { // or it will count with the next poll: see allowance
		f.expansion = max(1, f.expansion*0.99, f.heldOf/f.sent)
		f.overhead = max(1, f.overhead*0.99, f.heldOf/f.unpacked)
	}
	f.beside = max(1, f.beside*0.99, float64(whole)/float64(max(1, said)))
	if f.outdated -= brought.packed; brought.packed < int64(f.max)/2 {
		f.outdated = 0 // no partition waits for its turn
	}
	f.lastHeld, f.lastAt, f.halved = held-residue, now, held <= residue
	if f.polls++; f.polls == 1 {
		return f.set(f.small(budget), budget, now)
	}
	if residue > budget/4 {
		f.fast = false // records queue
	}
	return f.set(f.fitting(held, budget), budget, now)
}

// drained looks at what is held after an invocation, and makes the fetches
// larger if the function deals with them as fast as they come. It reports
// whether the client has to be told. It does not wait for the next poll: by
// then the client has sent one more fetch of the old size.
func (f *fetchSize) drained(held, budget int64, now time.Time) bool {
	if f.halved || held > f.lastHeld/2 {
		return false
	}
	f.halved = true
	if now.Sub(f.lastAt) > keepsUp {
		return false
	}
	f.fast = true
	return f.set(min(4*f.max, f.large(budget)), budget, now)
}

// piece is how much a fetch of n bytes should bring of one partition: an eighth of
// it at most, and so little that the budget has room for a piece of every lane.
// More of one would keep the slots of others idle. A piece is no more than a lane takes
// in a second. While records queue, each fetch waits until as much was dealt with: with
// large pieces, a lane that has less than the others, as after a rebalance, waits long for
// its turn. Where the function keeps up, no lane waits for room, and large pieces cost
// less.
//
// Brokers take the partitions in turn (KIP-227), so that smaller pieces of more of
// them cost a broker more reads, and the client nothing but their headers.
func (f *fetchSize) piece(n int32, budget int64) int32 {
	lanes := int64(max(1, f.lanes))
	if f.fast {
		// Of the size that fetches have again and again: right after a poll they are
		// smaller, until the function has dealt with it. 32 of them bring a piece of all.
		n := int64(f.large(budget))
		return int32(min(n/8, n*int64(max(32, 8*f.brokers))/lanes))
	}
	each := min(int64(n/8), int64(float64(budget)/f.expansion)/lanes)
	if f.takes > 0 {
		each = int64(min(float64(each), f.takes*turn.Seconds()*f.overhead/f.expansion)) // as they are sent
	}
	return int32(min(each, lap*int64(f.brokers)/lanes))
}

// trimmed is a size without most of what is cut off at its end: the beginning of a
// batch, which is thrown away. But the next batches may be a little larger.
func trimmed(size, batch int32) int32 {
	if batch == 0 {
		return size
	}
	return size - max(0, size%batch-batch/8)
}

// set sets the size, and reports whether it changed.
//
// A partition may send a piece, but at least what a batch can usually be, until enough
// batches were seen to say how large they are here. If that is smaller than a
// batch, a broker sends nothing of it, and a whole one only of the first partition
// that it looks at. And the broker remembers what a partition may send until its
// position has moved, so that the first size is that of each partition's first fetch:
// with many of them, it is less from the beginning.
func (f *fetchSize) set(n int32, budget int64, now time.Time) bool {
	batch := int32(min(f.wire.largestBatch.Load(), fetchLargest))
	part := int32(perPartition)
	switch {
	case f.newcomers && !f.fast && f.wire.batches.Load() >= enoughBatches:
		part = min(part, max(batch, fetchLeast))
	case f.wire.batches.Load() >= enoughBatches:
		part = min(part, max(2*batch, f.piece(n, budget), fetchLeast))
	case f.lanes > 0:
		part = int32(min(int64(part), max(budget/int64(f.lanes), firstPiece)))
	}
	part = trimmed(max(part, batch), batch)
	switch was := f.perPartition; {
	case was < batch:
	case f.outdated > 0, was%max(1, batch) <= batch/4 && 4*was >= 3*part && 3*was <= 4*part:
		part = was // near enough, or one change after the other
	}
	if part != f.perPartition && f.outdated <= 0 && f.polls > 0 {
		f.remembered, f.outdated = f.perPartition, int64(f.lanes)*int64(f.perPartition)
	}
	// A fetch is a whole number of pieces. Otherwise the last partition of a response
	// gets next to nothing, and its turn is over.
	whole := part
	if f.outdated > 0 && n >= f.remembered {
		whole = f.remembered
	}
	if up := (n + whole - 1) / whole * whole; 5*(int64(n)-int64(f.max)) >= int64(f.max) && up <= f.large(budget) {
		n = up // it is to grow by a quarter, which may be less than a piece
	}
	n = max(part, n/whole*whole)
	if n == f.max && part == f.perPartition {
		return false
	}
	if n < f.max {
		f.before, f.changed = max(f.before, f.max), now
	}
	f.max, f.perPartition = n, part
	return true
}
