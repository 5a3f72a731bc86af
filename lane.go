package esm

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/offset"
)

// A lane is one assigned partition during one epoch: what is queued, what is
// in flight, and how far it is settled. Everything in it belongs to the
// engine's lock.
//
// # Epochs
//
// A lane is an epoch. Every assignment of a partition that is not here already,
// and every jump of its position backward, makes a new lane; nothing is ever
// carried over by resetting fields. Whoever holds an old lane (an invocation
// that returns late, a commit that was put together before) can do no harm with
// it, because it is dead: its records do not count, and its offsets are not
// committed. The rejected design, a generation number in a struct that lives
// on, needs a comparison in every place that touches the struct, and one is
// forgotten.
//
// # Order
//
// The records of a lane move in one direction: queue, part, settled. A lane has
// at most one part of a batch in work. Records are taken from the queue only
// when there is none, and the part is given up only when all of its records are
// settled. What is left of it after a failure, in portions, is tried or
// delivered in the order of their first records. So first attempts happen
// strictly in offset order, and what is tried again holds only records of one
// batch.
//
// The call that runs for a partition may belong to an earlier lane of it, if
// the function ignored its context. The engine remembers those calls
// (engine.busy), and a lane whose partition is busy stays blocked. So there is
// never a second call beside one that is still running.
type lane struct {
	TopicPartition
	state laneState
	dead  bool // revoked, lost or reset: nothing of it counts any more
	// ending is set while a revoke waits for the lane: what runs may still be
	// settled, and nothing new starts.
	ending bool

	queue []segment // what arrived and is in no work yet
	count int       // records in queue
	bytes int64     // their size
	work  *work     // leased, waiting for its back-off, or queued again

	// next is the offset after the last one that arrived, -1 while the
	// position is unknown. taken is the offset after the last record that was
	// taken from the queue.
	next, taken int64
	start       int64 // where it began
	settled     offset.Tracker
	leaderEpoch int32 // of the last record that was settled

	committed int64 // -1 if the group has no commit, as far as is known
	dirty     bool  // the frontier is to be committed
	anchor    bool  // commit even a frontier that did not move

	end      int64 // the end of the partition, -1 while unknown
	endAt    time.Time
	logStart int64 // -1 while unknown

	due     time.Time // the end of the window or of the back-off
	ticket  uint64    // which entry of the ready queue is the lane's
	heapIdx int       // its place in engine.filling or engine.waiting, or -1
	paused  bool      // it is not to be fetched, for want of memory
	gone    bool      // nor if its topic was deleted
	dry     int       // polls made for its sake that brought nothing
	dryEnd  int64     // the end that it had then

	since time.Time // when its work failed first
	told  bool      // that it is held up
}

type laneState uint8

const (
	laneIdle       laneState = iota // nothing queued
	laneBlocked                     // an earlier lane's call for the partition still runs
	laneFilling                     // its window is open: in engine.filling
	laneThin                        // its window ended: in the ready queue
	laneReady                       // a full batch, or work to try again: in the ready queue
	laneGrouped                     // its work is queued together with that of other lanes
	laneLeased                      // an invocation has its work
	laneWaiting                     // in back-off: in engine.waiting
	laneDiscarding                  // its records are to be delivered: in engine.discards
)

func (s laneState) String() string {
	return [...]string{"idle", "blocked", "filling", "ready", "ready", "ready", "invoking", "waiting", "discarding"}[s]
}

// recordOverhead is what a record costs beside its bytes: the kgo.Record and
// the pointer to it.
const recordOverhead = 168

// A segment is a run of records of one partition that came together.
type segment struct {
	records []*kgo.Record
	// sizes[i] is what the records before i weigh together, and a constant:
	// with one pass over the records as they arrive, no other is needed.
	sizes  []int64
	memory *chunk
}

// weigh makes a segment of records.
func weigh(records []*kgo.Record) segment {
	s := segment{records: records, sizes: make([]int64, len(records)+1)}
	for i, r := range records {
		s.sizes[i+1] = s.sizes[i] + recordBytes(r)
	}
	return s
}

// anchor is a part of the memory that the records came in.
func (s *segment) anchor() []byte {
	for _, r := range s.records {
		if len(r.Value) > 0 {
			return r.Value
		}
	}
	return nil
}

// bytes is what the first n records weigh.
func (s *segment) bytes(n int) int64 { return s.sizes[n] - s.sizes[0] }

// weight is what all records weigh.
func (s *segment) weight() int64 { return s.bytes(len(s.records)) }

// cut returns the records from i to j as a segment of its own.
func (s *segment) cut(i, j int) segment {
	return segment{s.records[i:j:j], s.sizes[i : j+1], s.memory}
}

// A work is what one invocation carries: of each of its lanes the first portion
// that is left of its part.
type work struct {
	parts  []*part
	queued bool // it stands in the ready queue itself, as a group
}

// A part is a batch of one lane, or what it gives to a combined one, from the
// first attempt until all of it is settled. Its memory is held until then.
type part struct {
	lane    *lane
	from    int64 // the offset after what was taken before
	records []*kgo.Record
	pieces  []piece
	bytes   int64
	left    []portion // what is not settled, to be tried one after the other
}

// alone is a work of this part only.
func (p *part) alone() *work { return &work{parts: []*part{p}} }

// A piece says which memory some of the records of a part are in.
type piece struct {
	memory  *chunk
	records int
}

// to is the offset after the last record.
func (p *part) to() int64 { return p.records[len(p.records)-1].Offset + 1 }

func newLane(tp TopicPartition) *lane {
	return &lane{TopicPartition: tp, next: -1, taken: -1, committed: -1, end: -1, logStart: -1, leaderEpoch: -1, heapIdx: -1, dryEnd: -1}
}

// place says where the lane begins. Nothing has arrived yet.
func (l *lane) place(at int64, leaderEpoch int32) {
	l.next, l.taken, l.start = at, at, at
	l.leaderEpoch = leaderEpoch
	l.settled = offset.New(at)
}

// full reports whether the queue holds a whole batch.
func (l *lane) full(c *config) bool {
	return l.count >= c.batchSize || l.bytes >= int64(c.batchBytes)
}

// push queues records that arrived.
func (l *lane) push(s segment) {
	l.queue = append(l.queue, s)
	l.count += len(s.records)
	l.bytes += s.weight()
}

// A firstPart is a part together with what nearly every one needs, so that an
// invocation of a function that returns at once costs one allocation here
// instead of five.
type firstPart struct {
	part
	work   work
	parts  [1]*part
	left   [1]portion
	pieces [2]piece
}

// take moves records from the queue into a part, as many as there is room for.
func (l *lane) take(m *room, empty bool) *firstPart {
	f := &firstPart{part: part{lane: l, from: l.taken}}
	p := &f.part
	p.pieces = f.pieces[:0]
	for len(l.queue) > 0 {
		s := &l.queue[0]
		n := m.take(s, empty && len(p.records) == 0)
		if n == 0 {
			break
		}
		p.bytes += s.bytes(n)
		if p.records == nil {
			p.records = s.records[:n:n] // no copy while one segment is enough
		} else {
			p.records = append(p.records, s.records[:n]...)
		}
		p.pieces = append(p.pieces, piece{s.memory, n})
		if n < len(s.records) {
			*s = s.cut(n, len(s.records))
			break
		}
		l.queue[0] = segment{}
		l.queue = l.queue[1:]
	}
	l.count -= len(p.records)
	l.bytes -= p.bytes
	if len(p.records) > 0 {
		l.taken = p.to()
		f.left[0] = portion{records: p.records}
		p.left = f.left[:1:1]
	}
	return f
}

// alone is a work of this part only, for the first time.
func (f *firstPart) alone() *work {
	f.parts[0] = &f.part
	f.work.parts = f.parts[:1:1]
	return &f.work
}

// settle marks records of a part as done with, and reports whether the frontier
// moved. Each settles the gap in front of it too.
func (l *lane) settle(p *part, records []*kgo.Record) (moved bool) {
	if e := records[len(records)-1].LeaderEpoch; e >= 0 {
		l.leaderEpoch = e
	}
	if len(records) == len(p.records) {
		return l.settled.Settle(p.from, p.to(), len(records))
	}
	for _, r := range records {
		i, _ := slices.BinarySearchFunc(p.records, r.Offset, func(r *kgo.Record, offset int64) int { return cmp.Compare(r.Offset, offset) })
		from := p.from
		if i > 0 {
			from = p.records[i-1].Offset + 1
		}
		if l.settled.Settle(from, r.Offset+1, 1) {
			moved = true
		}
	}
	return moved
}

// frontier is the offset below which all is settled, and -1 while the position
// is unknown.
func (l *lane) frontier() int64 {
	if l.next < 0 {
		return -1
	}
	return l.settled.Frontier()
}

// lag is the number of offsets between the frontier and the end. It is unknown
// while the end is, or while it is too old to mean anything.
func (l *lane) lag(now time.Time) (int64, bool) {
	if l.end < 0 || now.Sub(l.endAt) > lagMaxAge {
		return 0, false
	}
	at := max(l.frontier(), l.logStart)
	if at < 0 {
		return 0, false
	}
	return max(0, l.end-at), true
}

// held counts the records that the lane has in memory, queued or in work.
func (l *lane) held() (records int, bytes int64) {
	records, bytes = l.count, l.bytes
	if p := l.part(); p != nil {
		records += len(p.records)
		bytes += p.bytes
	}
	return records, bytes
}

// part is the lane's part of its work, or nil.
func (l *lane) part() *part {
	if l.work == nil {
		return nil
	}
	for _, p := range l.work.parts {
		if p.lane == l {
			return p
		}
	}
	return nil
}

// unsettled lists the records of a part that are not settled, in order.
func (p *part) unsettled() []*kgo.Record {
	if len(p.left) == 1 {
		return p.left[0].records
	}
	var all []*kgo.Record
	for i := range p.left {
		all = append(all, p.left[i].records...)
	}
	slices.SortFunc(all, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	return all
}

// discarding reports whether the next thing to do with the lane's work is to
// deliver records that are given up.
func (l *lane) discarding() bool {
	p := l.part()
	return p != nil && len(p.left) > 0 && p.left[0].reason != reasonNone
}
