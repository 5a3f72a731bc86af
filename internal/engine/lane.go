package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/offset"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
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
	partition.ID
	state laneState
	dead  bool // revoked, lost or reset: nothing of it counts any more
	// ending is set while a revoke waits for the lane: what runs may still be
	// settled, and nothing new starts.
	ending bool

	queue []segment // what arrived and is in no work yet
	room  []segment // where the next one begins: most have one segment
	count int       // records in queue
	bytes int64     // what they weigh,
	cost  int64     // and what they cost in memory
	work  *work     // leased, waiting for its back-off, or queued again

	// next is the offset after the last one that arrived, -1 while the
	// position is unknown. taken is the offset after the last record that was
	// taken from the queue.
	next, taken int64
	// rewinding is whether the client is to be told to go back to next: what
	// arrives until then is from beyond it.
	rewinding   bool
	start       int64 // where it began
	settled     offset.Tracker
	leaderEpoch int32 // the newest of what was settled: see settle

	ahead  ahead // what an earlier owner settled, and has not arrived here
	newest int32 // no record that is settled, here or ahead, is of a later leader epoch
	// settles counts when something was settled, and saidOf is what it was when the
	// commit was put together that the group has. What was settled by then that ends
	// after saidTo, the commit had no room to say. marked is whether it said anything.
	settles, saidOf uint64
	saidTo          int64
	marked          bool

	committed int64 // -1 if the group has no commit, as far as is known
	// offered is the furthest that the committer got of it, or of the lane before,
	// since the group said what it has: it may have that, whatever was answered. -1
	// for nothing.
	offered int64
	dirty   bool // the frontier is to be committed
	anchor  bool // commit even a frontier that did not move

	end      int64     // the end of the partition, -1 while unknown
	endAt    time.Time // it was that at some moment since: see ends
	endHeard time.Time // when somebody said so
	asked    bool      // somebody was asked for the end
	// fetchedFrom is when the poll began that brought something of it last, or when
	// it was assigned: what comes next was asked for later, because the client
	// fetches a partition again when the poll has taken what it had.
	fetchedFrom time.Time
	logStart    int64 // -1 while unknown
	expired     span  // what was skipped because it is gone: see retention.go
	stoodAt     int64 // the position when it was looked at last: see stands

	due      time.Time // the end of the window or of the back-off
	ticket   uint64    // which entry of the ready queue is the lane's
	heapIdx  int       // its place in engine.filling or engine.waiting, or -1
	paused   bool      // it is not to be fetched, for want of memory
	gone     bool      // nor if its topic was deleted
	newcomer bool      // it was assigned beside others, and nothing of it has come yet

	fruitless    int   // polls made for its sake that brought nothing
	fruitlessEnd int64 // the end that it had then
	refusals     int   // polls in a row that brought nothing of it but a refusal

	// unplaced is whether it is not known where to begin: the client has it at a
	// placeholder and does not fetch it. See unplaced.go.
	unplaced   bool
	nudge      bool        // the client is to be set back even to where it is
	still      standstill  // whether it gets on
	said       error       // the client's last words about it, nil once something came
	named      bool        // there is a Problem with it
	unreadable *Unreadable // what cannot be read of it
	skipping   *Unreadable // what is to be passed over when nothing is left that comes before

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
	laneRereading                   // records of its work are read again: see reread.go
	laneDiscarding                  // its records are to be delivered: in engine.discards
)

func (s laneState) String() string {
	return [...]string{"idle", "blocked", "filling", "ready", "ready", "ready", "invoking", "waiting", "rereading", "discarding"}[s]
}

// A segment is a run of records of one partition that came together.
type segment struct {
	records  []plan.Record
	kafka    []*kgo.Record // the same records
	contexts contexts      // of those
	heads    heads
	bytes    int64 // what they weigh,
	cost     int64 // and what they cost in memory
	chunk    *memory.Chunk
	// exposed is whether user code had them before.
	exposed bool
}

// anchor is a part of the memory that the records came in. User code has not
// seen them yet.
func (s *segment) anchor() []byte {
	for _, k := range s.kafka {
		if len(k.Value) > 0 {
			return k.Value
		}
	}
	return nil
}

// cut returns the records from i to j, which weigh so much, as a segment of its
// own. What it costs is about its share.
func (s *segment) cut(i, j int, bytes int64) segment {
	c := *s
	c.records, c.kafka, c.contexts, c.bytes = s.records[i:j:j], s.kafka[i:j:j], s.contexts.cut(i, j), bytes
	if i < j && len(s.heads.more) > 0 {
		c.heads = s.heads.cut(s.records[i].Offset, s.records[j-1].Offset)
	}
	if j-i < len(s.records) {
		c.cost = s.cost * int64(j-i) / int64(len(s.records))
	}
	return c
}

// A work is what one invocation carries: of each of its lanes the first portion
// that is left of its part.
type work struct {
	parts  []*part
	queued bool // it stands in the ready queue itself, as a group
	full   bool // as long as nobody has tried it: as much as a batch can have
}

// A part is a batch of one lane, or what it gives to a combined one, from the
// first attempt until all of it is settled. Its memory is held until then.
type part struct {
	lane     *lane
	from     int64 // the offset after what was taken before
	records  []plan.Record
	kafka    []*kgo.Record // the same records; nil are those not read again yet
	contexts contexts
	heads    heads
	pieces   []piece
	bytes    int64
	cost     int64
	left     []plan.Portion   // what is not settled, to be tried one after the other
	exposed  bool             // user code had its records, or is about to,
	again    bool             // and had them before this lease
	missing  map[int]struct{} // which of what is left are to be read again
	// number is what the tracker has the first record under, from when a part of
	// the records is settled first: then they are noted there.
	number int
	noted  bool
	// renewed are what its first portion was handed over as, if not as it came.
	renewed []kgo.Record
}

// alone is a work of this part only.
func (p *part) alone() *work { return &work{parts: []*part{p}} }

// A piece says which memory some of the records of a part are in.
type piece struct {
	chunk   *memory.Chunk
	records int
}

// to is the offset after the last record.
func (p *part) to() int64 { return p.records[len(p.records)-1].Offset + 1 }

func newLane(tp partition.ID) *lane {
	return &lane{ID: tp, next: -1, taken: -1, committed: -1, offered: -1, end: -1, logStart: -1, stoodAt: -1, leaderEpoch: -1, newest: -1, heapIdx: -1, fruitlessEnd: -1}
}

// place says where the lane begins. Nothing has arrived yet.
func (l *lane) place(at int64, leaderEpoch int32) {
	l.next, l.taken, l.start = at, at, at
	l.leaderEpoch = leaderEpoch
	l.settled, l.ahead = offset.New(at), ahead{}
}

// full reports whether the queue holds a whole batch.
func (l *lane) full(c *Settings) bool {
	return l.count >= c.BatchSize || l.bytes >= int64(c.BatchBytes)
}

// push queues records that arrived.
func (l *lane) push(s segment) {
	switch {
	case len(l.queue) == 0:
		l.queue = l.room[:0]
	case len(l.queue) == cap(l.queue):
		l.room = nil // it would keep alive what moves to a larger one
	}
	l.queue = append(l.queue, s)
	if len(l.queue) == 1 {
		l.room = l.queue[:0]
	}
	l.count += len(s.records)
	l.bytes += s.bytes
	l.cost += s.cost
}

// A firstPart is a part together with what nearly every one needs, so that an
// invocation of a function that returns at once costs one allocation here
// instead of five.
type firstPart struct {
	part
	work   work
	parts  [1]*part
	left   [1]plan.Portion
	pieces [2]piece
}

// take moves records from the queue into a part, as many as there is room for.
func (l *lane) take(m *room, empty bool) *firstPart {
	f := &firstPart{part: part{lane: l, from: l.taken}}
	p := &f.part
	p.pieces = f.pieces[:0]
	for len(l.queue) > 0 {
		s := &l.queue[0]
		n, bytes := m.take(s, empty && len(p.records) == 0)
		if n == 0 {
			break
		}
		taken := s.cut(0, n, bytes)
		p.bytes += bytes
		p.cost += taken.cost
		p.exposed = p.exposed || s.exposed
		if p.records == nil { // no copy while one segment is enough
			p.records, p.kafka, p.contexts, p.heads = taken.records, taken.kafka, taken.contexts, taken.heads
		} else {
			p.contexts = p.contexts.join(len(p.records), taken.contexts, n)
			p.heads.join(&taken.heads)
			p.records, p.kafka = append(p.records, taken.records...), append(p.kafka, taken.kafka...)
		}
		p.pieces = append(p.pieces, piece{s.chunk, n})
		if n < len(s.records) {
			rest := s.cut(n, len(s.records), s.bytes-bytes)
			rest.cost = s.cost - taken.cost
			*s = rest
			break
		}
		l.queue[0] = segment{}
		l.queue = l.queue[1:]
	}
	l.count -= len(p.records)
	l.bytes -= p.bytes
	l.cost -= p.cost
	if len(p.records) > 0 {
		l.taken = p.to()
		f.left[0] = plan.Portion{Records: p.records}
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
//
// A commit names the leader epoch of what is before it, and who begins there
// asks the broker where that epoch ended: if before the commit, then the broker
// must have lost records. So the epoch is never older than that of the record or
// the marker before the frontier. It may be newer, as what is above the frontier
// is settled too: that epoch did not end before the frontier.
func (l *lane) settle(p *part, records []plan.Record) (moved bool) {
	epoch := p.heads.at(records[len(records)-1].Offset).epoch
	l.leaderEpoch, l.newest = max(l.leaderEpoch, epoch), max(l.newest, epoch)
	if len(records) == len(p.records) {
		return l.settled.Settle(p.from, p.to(), len(records))
	}
	if !p.noted {
		p.noted = true
		p.number = l.settled.Note(p.from, func(yield func(int64) bool) {
			for i := range p.records {
				if !yield(p.records[i].Offset + 1) {
					return
				}
			}
		})
	}
	for i := range records {
		j, _ := plan.Find(p.records, records[i].Offset)
		if l.settled.SettleArrival(p.number + j) {
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

// ends notes where the partition ends, as a broker says that was asked at one time and
// heard at another.
//
// What it says was so at some moment in between. So it is as old as the question, and
// an answer that was long under way may be of before what another one said meanwhile.
// A log grows: of two answers whose times overlap, the one that says more is of the
// later moment, and that is no earlier than either question. So the larger one holds,
// and is as old as the younger question. Logs that were cut back are the exception.
// There, an answer holds that says less if it was asked for after the other was heard.
func (l *lane) ends(at int64, asked, heard time.Time) {
	if at >= l.end || asked.After(l.endHeard) {
		l.end, l.endHeard = at, heard
	}
	if asked.After(l.endAt) {
		l.endAt = asked
	}
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

// oldest is when the oldest record was made that is not settled, zero if there is none. It is
// unknown while the lag is, while what lags was not read yet, and of a record without a
// timestamp.
func (l *lane) oldest(now time.Time) (at time.Time, known bool) {
	if lag, known := l.lag(now); !known || lag == 0 {
		return at, known
	}
	var first *plan.Record
	switch p := l.part(); {
	case p != nil && len(p.left) > 0 && len(p.left[0].Records) > 0:
		first = &p.left[0].Records[0] // portions are tried in the order of these
	case len(l.queue) > 0 && len(l.queue[0].records) > 0:
		first = &l.queue[0].records[0]
	}
	if first == nil || first.Millis <= 0 {
		return at, false
	}
	return time.UnixMilli(first.Millis), true
}

// held is what the lane has in memory, queued or in work.
func (l *lane) held() int64 {
	held := l.cost
	if p := l.part(); p != nil && len(p.missing) == 0 {
		held += p.cost
	}
	return held
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
func (p *part) unsettled() []plan.Record {
	if len(p.left) == 1 {
		return p.left[0].Records
	}
	var all []plan.Record
	for i := range p.left {
		all = append(all, p.left[i].Records...)
	}
	slices.SortFunc(all, func(a, b plan.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	return all
}

// discarding reports whether the next thing to do with the lane's work is to
// deliver records that are given up.
func (l *lane) discarding() bool {
	p := l.part()
	return p != nil && len(p.left) > 0 && p.left[0].Reason != plan.ReasonNone
}
