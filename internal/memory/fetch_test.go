package memory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// recordCost is about what a record costs beside its bytes.
const recordCost = 200

// plain is a batch that is not compressed.
func plain(bytes int64) Batch { return Batch{Packed: bytes, Unpacked: bytes, Cost: bytes} }

// handOver polls what the client has read.
func handOver(w *Wire) {
	w.Polling()
	w.Polled(slices.Values([]partition.ID{{}}), time.Time{})
}

// TestReserveIsWhatAPollBrings: after it has seen how much larger records are
// in memory than on the wire, no poll brings more than was kept free for it,
// whatever the brokers send within what they were asked for.
func TestReserveIsWhatAPollBrings(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 3))
		wire := newWire()
		f := newFetchSize(wire)
		f.brokers, f.lanes = 1+rng.IntN(12), rng.IntN(20_000)
		budget := int64(1<<20) << rng.IntN(9)
		expansion := 1 + rng.Float64()*9
		batch := 1000 + rng.Int64N(100_000)
		now := time.Unix(1_000_000, 0)
		residue := int64(0)
		underWay := f.max // what was asked for the last time
		for poll := range 200 {
			now = now.Add(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
			reserve := f.reserve(0, 0, budget)
			more := int64(0)
			for range f.brokers {
				bytes := rng.Int64N(int64(max(underWay, 1)))
				bytes -= bytes % batch
				if bytes == 0 {
					bytes = batch // the first batch comes whatever its size
				}
				for b := bytes; b > 0; b -= batch {
					wire.Batch(plain(min(b, batch)))
				}
				more += int64(float64(bytes) * expansion)
			}
			if poll > 0 && more > reserve+reserve/50 {
				t.Fatalf("seed %d: poll %d brought %d, and %d were kept free", seed, poll, more, reserve)
			}
			underWay = f.max
			handOver(wire)
			f.polled(more, more, residue, residue+more, budget, now)
			if rng.IntN(2) == 0 {
				f.drained(residue, budget, now)
			}
			whole := f.perPartition
			if f.outdated > 0 && f.max >= f.remembered {
				whole = f.remembered
			}
			if f.max < f.perPartition || f.max%whole != 0 && f.max%f.perPartition != 0 || f.max > fetchLargest {
				t.Fatalf("seed %d: fetches of %d, of %d a partition, and %d as brokers remember it", seed, f.max, f.perPartition, whole)
			}
			if largest := min(wire.largestBatch.Load(), fetchLargest); int64(f.perPartition)%largest > largest/8 {
				t.Fatalf("seed %d: %d a partition, of batches of %d: the last one is cut off", seed, f.perPartition, largest)
			}
			residue = rng.Int64N(budget)
		}
	}
}

// TestThereIsRoomForAPieceOfEveryLane: whatever the budget, the brokers and the
// number of lanes, unless that is less than a batch, or less than is worth a read. And
// few lanes get no more than an eighth of a fetch each.
func TestThereIsRoomForAPieceOfEveryLane(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 4))
		wire := newWire()
		f := newFetchSize(wire)
		f.brokers, f.lanes = 1+rng.IntN(12), 1+rng.IntN(5000)
		budget := int64(32<<20) << rng.IntN(6)
		expansion, batch := 1+rng.Float64(), 1000+rng.Int64N(30_000)
		for range 100 { // records queue
			wire.Batch(plain(batch))
			handOver(wire)
			f.polled(int64(float64(batch)*expansion), batch, budget/2, budget/2+int64(float64(batch)*expansion), budget, time.Unix(1_000_000, 0))
		}
		per, least := int64(f.perPartition), max(2*wire.largestBatch.Load(), fetchLeast)
		held := int64(float64(per) * expansion * float64(f.lanes))
		if held > budget*11/10*4/3 && per > least {
			t.Errorf("seed %d: %d of each of %d lanes are %d of a budget of %d", seed, per, f.lanes, held, budget)
		}
		if per > max(least, int64(f.max)/8, perPartition) {
			t.Errorf("seed %d: %d of one lane in a fetch of %d", seed, per, f.max)
		}
		if held < budget/4 && per <= min(perPartition, int64(f.max)/9)*3/4-wire.largestBatch.Load() {
			t.Errorf("seed %d: only %d of each of %d lanes, which are %d of a budget of %d", seed, per, f.lanes, held, budget)
		}
	}
}

// TestAPieceOfEachOfManyPartitionsIsSoonSent, however much room there is.
func TestAPieceOfEachOfManyPartitionsIsSoonSent(t *testing.T) {
	const batch = 10_000
	for _, tt := range []struct {
		lanes, brokers int
		want           int32 // about
	}{
		{100, 1, perPartition},
		{1_000, 1, 450_000},
		{1_000, 3, perPartition},
		{3_000, 3, 450_000},
		{5_000, 1, 90_000},
	} {
		wire := newWire()
		f := newFetchSize(wire)
		f.lanes, f.brokers, f.takes, f.polls = tt.lanes, tt.brokers, 1e6, 1
		for range enoughBatches {
			wire.Batch(plain(batch))
		}
		handOver(wire)
		f.set(50<<20, 8<<30, time.Unix(1_000_000, 0))
		if got := f.perPartition; got > tt.want || got < tt.want-batch*9/8 && tt.want < perPartition || got < 900_000 && tt.want == perPartition { // what a lane takes in a second
			t.Errorf("%+v: %d of a partition", tt, got)
		}
	}
}

// TestAPieceLastsASlowLaneForItsTurn, and no longer: after a rebalance a lane waits
// until all others had theirs.
func TestAPieceLastsASlowLaneForItsTurn(t *testing.T) {
	const (
		budget = 128 << 20
		batch  = 10_000
	)
	for _, tt := range []struct {
		takes float64
		fast  bool
		want  int32 // about
	}{
		{0, false, perPartition}, // unknown is no bound
		{100e6, false, perPartition},
		{500e3, false, 500_000},
		{200e3, false, 200_000},
		{1, false, fetchLeast},
		{200e3, true, perPartition}, // the function keeps up: nobody waits
	} {
		wire := newWire()
		f := newFetchSize(wire)
		f.lanes, f.takes, f.fast, f.polls = 50, tt.takes, tt.fast, 1
		for range enoughBatches {
			wire.Batch(plain(batch))
		}
		handOver(wire)
		f.set(8<<20, budget, time.Unix(1_000_000, 0))
		if got := f.perPartition; got > tt.want || got < tt.want-batch*9/8 {
			t.Errorf("%+v: %d of a partition", tt, got)
		}
		if got := f.max; got < 6<<20 {
			t.Errorf("%+v: a fetch of %d", tt, got)
		}
	}
}

// TestAPieceIsAsLongAsItIsSent: what records cost beside their bytes is not sent, and
// compressed ones are sent as less.
func TestAPieceIsAsLongAsItIsSent(t *testing.T) {
	const budget, takes = 512 << 20, 500e3
	for name, tt := range map[string]struct {
		packed, unpacked, held int64
		want                   int32
	}{
		"small records":       {10_000, 10_000, 30_000, takes},
		"compressed fivefold": {10_000, 50_000, 60_000, takes / 5},
	} {
		wire := newWire()
		f := newFetchSize(wire)
		f.lanes, f.takes = 50, takes
		for range 50 {
			for range enoughBatches {
				wire.Batch(Batch{Packed: tt.packed, Unpacked: tt.unpacked, Cost: tt.held})
			}
			handOver(wire)
			f.polled(enoughBatches*tt.held, enoughBatches*tt.held, budget/2, budget/2, budget, time.Unix(1_000_000, 0))
		}
		if got := f.perPartition; got < tt.want*3/4 || got > tt.want*4/3 {
			t.Errorf("%s: %d of a partition, not %d", name, got, tt.want)
		}
	}
}

// TestNewcomersGetABatchEach, at once, and what was asked of each before when there are
// none any more.
func TestNewcomersGetABatchEach(t *testing.T) {
	for _, lanes := range []int{100, 400} { // with 400, the piece is another one too
		t.Run(fmt.Sprint(lanes), func(t *testing.T) { newcomersGetABatchEach(t, lanes) })
	}
}

func newcomersGetABatchEach(t *testing.T, lanes int) {
	const (
		budget = 128 << 20
		batch  = 99_000
	)
	a, now := NewAccount(budget), time.Unix(1_000_000, 0)
	a.SetLanes(lanes/2, now)
	poll := func(bytes int64) {
		for range bytes / batch {
			a.Wire().Batch(plain(batch))
		}
		handOver(a.Wire())
		now = now.Add(200 * time.Millisecond)
		a.Polled(a.Held(), bytes, bytes, now)
	}
	if a.SetNewcomers(true, now) {
		t.Error("the client has to be told, before anything was read")
	}
	a.SetNewcomers(false, now)
	a.held = 100 << 20
	for range 20 {
		poll(8 << 20)
	}
	fetch, before := a.FetchSize()
	a.SetLanes(lanes, now)
	if told := a.SetNewcomers(true, now); !told {
		t.Error("the client is not told")
	}
	switch largest, each := a.FetchSize(); {
	case each < batch || each > 2*batch:
		t.Errorf("with newcomers %d of each, and %d before", each, before)
	case largest < 4<<20 || largest > fetch:
		t.Errorf("with newcomers fetches of %d, and %d before", largest, fetch)
	}
	poll(int64(lanes) / 2 * batch)
	a.SetNewcomers(false, now)
	for range 20 {
		poll(8 << 20)
	}
	if lanes > 100 {
		before = int32(budget / lanes) // there is room for no more of each
	}
	if largest, each := a.FetchSize(); each < before*3/4 || each > before*4/3 || largest < fetch*3/4 {
		t.Errorf("afterwards fetches of %d with %d of each, not of %d with %d", largest, each, fetch, before)
	}
}

// TestManyBrokersAndOneLane: no number overflows.
func TestManyBrokersAndOneLane(t *testing.T) {
	f := newFetchSize(newWire())
	f.brokers, f.lanes = 1000, 1
	if got := f.piece(fetchLargest, 1<<40); got != fetchLargest/8 {
		t.Errorf("%d of one lane", got)
	}
}

func TestFetchesGrowWhileTheFunctionKeepsUpAndShrinkWhenRecordsQueue(t *testing.T) {
	wire := newWire()
	f := newFetchSize(wire)
	const budget = 128 << 20
	now := time.Unix(1_000_000, 0)
	poll := func(residue int64) {
		for range 32 {
			wire.Batch(plain(int64(f.max) / 32))
		}
		handOver(wire)
		f.polled(int64(f.max), int64(f.max), residue, residue+int64(f.max), budget, now)
		now = now.Add(10 * time.Millisecond)
	}
	for range 10 {
		poll(0)
		f.drained(0, budget, now)
	}
	if f.max < 40<<20 {
		t.Errorf("fetches of %d when the function keeps up", f.max)
	}
	for range 10 {
		poll(100 << 20)
		now = now.Add(time.Second)
	}
	if f.max > 9<<20 {
		t.Errorf("fetches of %d when records queue", f.max)
	}
	if most := f.reserve(0, 0, budget); most > budget/8 {
		t.Errorf("%d are kept free", most)
	}
}

// TestAFastFunctionGetsPiecesOfOneSize, although fetches are smaller from each poll until
// half of it was dealt with: a piece of that size would be remembered for a whole round.
func TestAFastFunctionGetsPiecesOfOneSize(t *testing.T) {
	const budget, batch = 128 << 20, 100_000
	wire := newWire()
	f := newFetchSize(wire)
	f.lanes = 1000
	now := time.Unix(1_000_000, 0)
	sizes := map[int32]int{}
	for i := range 300 {
		sent := int64(f.max) / batch * batch
		for range sent / batch {
			wire.Batch(plain(batch))
		}
		handOver(wire)
		f.polled(sent*6/5, sent, 0, sent*6/5, budget, now)
		if i > 50 {
			sizes[f.perPartition]++
		}
		now = now.Add(2 * time.Millisecond)
		f.drained(0, budget, now)
		if i > 50 {
			sizes[f.perPartition]++
		}
		now = now.Add(50 * time.Millisecond)
	}
	if len(sizes) != 1 {
		t.Errorf("so often a piece was of these bytes: %v", sizes)
	}
}

// TestFirstFetchOfManyLanesIsAPieceOfEach: a broker remembers what it may send of a
// partition until it sent some of it, so that a size for a few of them would be that
// of all of them, once.
func TestFirstFetchOfManyLanesIsAPieceOfEach(t *testing.T) {
	const budget = 128 << 20
	for lanes, want := range map[int]int32{1: perPartition, 100: perPartition, 500: budget / 500, 1000: budget / 1000, 100_000: firstPiece} {
		m := NewAccount(budget)
		if changed := m.SetLanes(lanes, time.Unix(1_000_000, 0)); changed != (want != perPartition) {
			t.Errorf("%d lanes: the client has to be told: %v", lanes, changed)
		}
		largest, each := m.FetchSize()
		if each != want || largest < each || largest > perPartition {
			t.Errorf("%d lanes: fetches of %d, and %d of a partition, not %d", lanes, largest, each, want)
		}
	}
}

// TestARebalanceMakesNoFetchLarger than the budget has room for.
func TestARebalanceMakesNoFetchLarger(t *testing.T) {
	const budget = 4 << 20
	m := NewAccount(budget)
	now := time.Unix(1_000_000, 0)
	m.SetLanes(10, now)
	for range enoughBatches {
		m.Wire().Batch(plain(10_000))
	}
	handOver(m.Wire())
	m.held += 160_000
	m.Polled(0, 160_000, 160_000, now)
	was, _ := m.FetchSize()
	m.SetLanes(5, now)
	if is, _ := m.FetchSize(); was > budget/16 || is > was {
		t.Errorf("fetches of %d, and %d after a rebalance, with a budget of %d", was, is, budget)
	}
}

// TestFetchesAreLargeWhileThereIsRoom, even if the function does not keep up: with many
// partitions, small ones take a broker as long. But no lane gets more at once for
// that.
func TestFetchesAreLargeWhileThereIsRoom(t *testing.T) {
	const budget = 128 << 20
	wire := newWire()
	f := newFetchSize(wire)
	now := time.Unix(1_000_000, 0)
	f.placed(1000, budget, now)
	polls := func(residue int64) {
		for range 10 {
			for range 32 {
				wire.Batch(plain(16 << 10))
			}
			// It was all of one fetch.
			wire.allowance.polled = sizes{int64(f.max), int64(f.max)}
			f.polled(int64(f.max), int64(f.max), residue, residue+int64(f.max), budget, now)
			now = now.Add(10 * time.Millisecond)
		}
	}
	polls(20 << 20)
	if f.max < 24<<20 || f.perPartition > budget/1000 {
		t.Errorf("fetches of %d and %d of a partition with room for 108 MiB", f.max, f.perPartition)
	}
	polls(110 << 20)
	if f.max > budget/8 || f.max < budget/9 {
		t.Errorf("fetches of %d of 1,000 partitions when records queue", f.max)
	}
	f.placed(100, budget, now)
	polls(110 << 20)
	if f.max > budget/16 {
		t.Errorf("fetches of %d of 100 partitions when records queue", f.max)
	}
}

// TestSurpriseDoesNotStopThePolls: after records that compressed 900-fold, a poll
// still fits while something is held, since no poll can bring as much as that.
func TestSurpriseDoesNotStopThePolls(t *testing.T) {
	const budget = 64 << 20
	m := NewAccount(budget)
	f, now := &m.fetch, time.Unix(1_000_000, 0)
	for range 20 {
		f.wire.Batch(Batch{Packed: 1 << 20, Unpacked: 900 << 20, Cost: 900<<20 + recordCost})
		handOver(f.wire)
		f.polled(900<<20, 900<<20, 0, 900<<20, budget, now)
	}
	m.held = budget / 2
	reserve := f.reserve(0, 0, budget)
	if !m.Admits(reserve, false) {
		t.Errorf("%d are kept free, of which none can come", reserve)
	}
	m.Allow(true)
	if n := f.wire.allowance.limit.Load(); n > budget/2 {
		t.Errorf("%d are allowed, and there is room for %d", n, budget/2)
	}
	m.held = 0
	m.Allow(false)
	if n := f.wire.allowance.limit.Load(); n < budget/8 || n > pollLimit(budget) {
		t.Errorf("%d are allowed", n)
	}
	// What is ready is a fact, whatever was expected of it.
	if n := f.reserve(20<<20, 20<<20, budget); n < 20<<20 {
		t.Errorf("%d are kept free for 20 MiB that are ready", n)
	}
}

// TestReserveAllowsNothing: records that cost many times their bytes raise what a
// poll may bring uncompressed, and so the reserve, beyond what may be decompressed
// for one, and an empty Mapping admits even that.
func TestReserveAllowsNothing(t *testing.T) {
	const budget = 16 << 20
	m := NewAccount(budget)
	f, now := &m.fetch, time.Unix(1_000_000, 0)
	f.max, f.before, f.changed, f.polls = 4<<20, 4<<20, now, 1
	for range 5 {
		f.wire.Batch(Batch{Packed: 1 << 10, Unpacked: 1 << 20, Cost: 1<<20 + 100_000*recordCost})
		handOver(f.wire)
		f.polled(20<<20, 18<<20, 0, 20<<20, budget, now)
	}
	reserve := f.reserve(0, 0, budget)
	if reserve <= budget || !m.Admits(reserve, false) {
		t.Fatalf("%d are reserved: this is not the case that is meant", reserve)
	}
	m.Allow(true)
	if n := f.wire.allowance.limit.Load(); n > pollLimit(budget) || n < budget/4 {
		t.Errorf("%d are allowed, of %d", n, pollLimit(budget))
	}
}

// TestReserveCountsWhatIsReadyOnce: a broker has one response, either ready or on
// its way.
func TestReserveCountsWhatIsReadyOnce(t *testing.T) {
	a, now := NewAccount(1<<30), time.Unix(1_000_000, 0)
	a.SetBrokers(3)
	largest, _ := a.FetchSize()
	for buffered, want := range map[int64]int64{
		0:                    3 * int64(largest),
		1000:                 2*int64(largest) + 1000,
		int64(largest) + 1:   3 * int64(largest), // more than one broker sent
		100 * int64(largest): 100 * int64(largest),
	} {
		if got := a.Reserve(buffered, now); got != want {
			t.Errorf("with %d bytes ready %d are kept free, want %d", buffered, got, want)
		}
	}
}

// TestWhatIsReadAheadIsNoPartOfAPoll, which may be handed over when the next response
// is there already. It counted, and the records of a response seemed to take half of
// what they do.
func TestWhatIsReadAheadIsNoPartOfAPoll(t *testing.T) {
	for name, early := range map[string]bool{"before the poll returned": true, "after it": false} {
		a, now := NewAccount(64<<20), time.Unix(1_000_000, 0)
		w := a.Wire()
		response := func() {
			w.Response(0, 1<<20)
			w.Batch(Batch{Packed: 1 << 20, Unpacked: 1 << 20, Cost: 16 << 20})
		}
		response()
		w.Polling()
		if early {
			response()
		}
		w.Polled(slices.Values([]partition.ID{{}}), now)
		if !early {
			response()
		}
		a.Hold(&Chunk{Bytes: 16 << 20, Records: 1})
		a.Polled(0, 16<<20, 16<<20, now)
		a.Reserve(0, now) // it looks at what is ready
		if n := a.Reserve(0, now.Add(ResponseEnds)); n < 16<<20 {
			t.Errorf("%s: %d bytes are kept free for a response that may be as large as one that took 16 MiB", name, n)
		}
	}
}

// TestWhatNobodyWantedIsNoReasonForLargerFetches, nor for less decompression: a revoke
// while a poll is handed over has all of it thrown away.
func TestWhatNobodyWantedIsNoReasonForLargerFetches(t *testing.T) {
	a, now := NewAccount(128<<20), time.Unix(1_000_000, 0)
	poll := func(wanted bool) {
		now = now.Add(20 * time.Millisecond)
		for range 8 {
			a.Wire().Batch(plain(1 << 20))
		}
		handOver(a.Wire())
		residue := a.Held()
		if wanted {
			a.Hold(&Chunk{Bytes: 8 << 20, Records: 1})
		}
		a.Polled(residue, 8<<20, 8<<20, now)
	}
	for range 10 {
		poll(true)
	}
	a.Allow(false)
	before, beside, limit := a.fetch.max, a.fetch.beside, a.wire.allowance.limit.Load()
	poll(false)
	if a.Drained(now) || a.fetch.fast {
		t.Error("what nobody took was dealt with fast")
	}
	a.Allow(false)
	if a.fetch.max > before || a.fetch.beside > beside || a.wire.allowance.limit.Load() < limit {
		t.Errorf("fetches of %d, %d before; %.2f beside, %.2f before; %d allowed, %d before",
			a.fetch.max, before, a.fetch.beside, beside, a.wire.allowance.limit.Load(), limit)
	}
}

// TestWhatIsThrownAwayIsNoPartOfAPoll, whenever the next response comes.
func TestWhatIsThrownAwayIsNoPartOfAPoll(t *testing.T) {
	w := newWire()
	one, other := partition.ID{Topic: "orders"}, partition.ID{Topic: "orders", Partition: 1}
	response := func(of partition.ID, bytes int64) {
		w.Response(0, int(bytes))
		b := plain(bytes)
		b.ID = of
		w.Batch(b)
	}
	polled := func(what string, of partition.ID, want int64) {
		t.Helper()
		w.Polled(slices.Values([]partition.ID{of}), time.Unix(1_000_000, 0))
		if got := w.taken().packed; got != want {
			t.Errorf("%s: %d bytes were polled, not %d", what, got, want)
		}
	}
	response(one, 1000)
	response(other, 10)
	w.Polling()
	polled("the one before was thrown away", other, 10)
	response(one, 20)
	w.Polling()
	response(other, 3000)
	polled("the next one is there already", one, 20)
	w.Polling()
	polled("that is polled", other, 3000)
	w.Polling()
	response(one, 30)
	polled("it came while the poll waited", one, 30)
	w.Polling()
	polled("there is nothing", one, 0)
}

// TestWhatIsCopiedTakesAsMuchToRead: a copy is held for less than it took in its
// response, which is what is kept free for the next one.
func TestWhatIsCopiedTakesAsMuchToRead(t *testing.T) {
	reserve := func(held int64) int64 {
		a, now := NewAccount(64<<20), time.Unix(1_000_000, 0)
		for range 20 {
			a.Wire().Batch(plain(1 << 20))
			c := &Chunk{Bytes: held, Records: 1}
			residue := a.Held()
			a.Hold(c)
			handOver(a.Wire())
			a.Polled(residue, 2<<20, 1<<20, now)
			a.Release(c, 1)
		}
		return a.Reserve(0, now)
	}
	if whole, copied := reserve(2<<20), reserve(1<<20); copied != whole {
		t.Errorf("%d bytes are kept free for what is copied, and %d for the same in its response", copied, whole)
	}
}

// TestFetchesGrowOnceAPoll: the half of a fetch is settled once, however many
// invocations come after.
func TestFetchesGrowOnceAPoll(t *testing.T) {
	a, now := NewAccount(64<<20), time.Unix(1_000_000, 0)
	a.Wire().Batch(plain(1 << 20))
	c := &Chunk{Bytes: 1 << 20, Records: 1}
	a.Hold(c)
	handOver(a.Wire())
	a.Polled(0, 1<<20, 1<<20, now)
	before, _ := a.FetchSize()
	if a.Drained(now) {
		t.Error("nothing was settled, and the fetches grow")
	}
	a.Release(c, 1)
	if now = now.Add(keepsUp); !a.Drained(now) {
		t.Error("the function keeps up, and the fetches do not grow")
	}
	grown, _ := a.FetchSize()
	if grown <= before || a.Drained(now) {
		t.Errorf("fetches of %d grew to %d and again", before, grown)
	}
}

// TestReserveCountsWhatIsStillRead: the client says what it has ready only once
// a response is there as a whole, which takes ResponseEnds at most after its last
// batch.
func TestReserveCountsWhatIsStillRead(t *testing.T) {
	a, now := NewAccount(64<<20), time.Unix(1_000_000, 0)
	least := a.Reserve(0, now)
	a.Wire().Batch(Batch{Packed: 1 << 10, Unpacked: 20 << 20, Cost: 20 << 20})
	if n := a.Reserve(0, now); n != 20<<20 {
		t.Errorf("%d bytes are kept free for 20 MiB that the client is reading", n)
	}
	if n := a.Reserve(0, now.Add(ResponseEnds-1)); n != 20<<20 {
		t.Errorf("%d bytes are kept free for what the client reads, a moment before its end", n)
	}
	// It was thrown away, or the client would have it ready.
	if n := a.Reserve(0, now.Add(ResponseEnds)); n != least {
		t.Errorf("%d bytes are kept free for nothing, want %d", n, least)
	}
}

// TestNoPartitionGetsNextToNothing of a response that is full, and has to wait for its
// next turn with that: not while brokers still remember another size of a piece, either.
// That was so with 100 partitions: every eighth was idle for a third of a second.
func TestNoPartitionGetsNextToNothing(t *testing.T) {
	const (
		budget = 128 << 20
		lanes  = 100
		batch  = 99_000
	)
	a, now := NewAccount(budget), time.Unix(1_000_000, 0)
	a.SetLanes(lanes, now)
	_, first := a.FetchSize()
	type lane struct{ may int64 } // send, as the broker remembers it
	var order []*lane             // in which the broker looks at them
	for range lanes {
		order = append(order, &lane{int64(first)})
	}
	var held []*Chunk
	bad := 0
	for response := range 300 {
		largest, each := a.FetchSize()
		left, all := int64(largest), int64(0)
		for _, l := range slices.Clone(order) {
			n := min(l.may, left)
			left -= n
			if n -= n % batch; n == 0 {
				break
			}
			for range n / batch {
				a.Wire().Batch(plain(batch))
			}
			if l.may-n > l.may/2 && response > 3 {
				// Once, from one size to the next, is not much.
				if bad++; bad > 1 {
					t.Errorf("response %d: %d of a partition that may send %d, in a fetch of %d", response, n, l.may, largest)
				}
			}
			all += n
			order, l.may = append(order[1:], l), int64(each)
		}
		handOver(a.Wire())
		residue := a.Held()
		c := &Chunk{Bytes: all * 6 / 5, Records: 1}
		a.Hold(c)
		held = append(held, c)
		now = now.Add(60 * time.Millisecond)
		a.Polled(residue, c.Bytes, all, now)
		for a.Held() > budget-budget/16-a.Reserve(0, now) {
			a.Release(held[0], 1)
			held = held[1:]
		}
	}
}
