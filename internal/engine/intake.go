package engine

import (
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// An arrival is what one poll brought of one partition, on its way to the
// lane.
type arrival struct {
	lane     *lane
	copied   bool // its records do not stay in the response
	first    int  // how many of the first ones end a batch that is begun
	tail     int  // the number of the last records that do not stay, even so
	size     int  // of a batch
	fetched  *kgo.FetchPartition
	response *response

	// room and roomBytes are what one call takes of it. If there is more, its records do
	// not stay either; for a fast function there is no end of it.
	room      int
	roomBytes int64

	all      segment // what is to be handed over, uncopied
	segments []segment
	one      [1]segment // room for them
	markers  []marker   // control records
}

// A response is what one broker sent: its memory stays as long as one of its
// records does that was not copied.
type response struct {
	bytes int64
	chunk *memory.Chunk // nil if all records were copied
	held  bool          // the chunk is accounted for
}

// A marker is a record that is settled as it arrives, with the gap in front of it:
// a half-open range of offsets. lo is -1 where it begins at what arrived before. It
// is a control record, or one that an earlier owner settled.
type marker struct {
	lo, hi  int64
	epoch   int32 // of the leader that wrote it
	records int   // 0 for a control record
}

// Enqueue takes what a poll brought to the lanes. Only the poll loop calls it.
//
// It needs the lock twice, to look up the lanes and to hand the records over.
// The work that grows with the records happens in between: only the poll loop
// makes lanes grow, so a lane can only have died meanwhile.
func (e *Engine) Enqueue(fetches kgo.Fetches, now time.Time) {
	arrivals := e.lookUp(fetches)
	for i := range arrivals {
		arrivals[i].weigh()
	}
	for i := range arrivals {
		arrivals[i].pack()
	}
	e.deliver(arrivals, now)
}

// lookUp finds the lanes of what was polled, and says which records are to be
// copied: those that will wait for a function that is slow, or of which no call has
// ended; all when the budget is half used; and always those that are too few for a
// batch. They wait for more to come, and would pin the response for as long. What a
// fast function deals with at once is not worth a copy, and neither is what one call
// takes that begins now, or, where memory is ample, what calls take soon.
func (e *Engine) lookUp(fetches kgo.Fetches) []arrival {
	var arrivals []arrival
	e.mu.Lock()
	defer e.unlock()
	if fetches.NumRecords() > 0 {
		e.memory.Forget() // now: the client begins to allocate the next response
	}
	crowded, size := e.memory.Crowded(), e.cfg.BatchSize
	slow := e.pace.Completed == 0 || e.pace.Service() > slowService
	soon := e.soon()
	for i := range fetches {
		r := &response{}
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				p := &t.Partitions[k]
				if t.Topic == "" {
					continue // not from a partition: an error of the client
				}
				l := e.lanes[partition.ID{Topic: t.Topic, Partition: p.Partition}]
				if l == nil || l.ending {
					l = nil // it was revoked while the poll ran
				}
				a := arrival{lane: l, fetched: p, response: r}
				if l != nil {
					waits := l.state != laneIdle && l.state != laneFilling
					a.copied = crowded
					a.room, a.roomBytes = math.MaxInt, math.MaxInt64
					switch {
					case slow && soon > 0 && l.state != laneWaiting:
						a.roomBytes = soon - l.bytes
					case slow:
						a.copied = crowded || waits
						a.room, a.roomBytes = size-l.count, int64(e.cfg.BatchBytes)-l.bytes
					}
					a.first, a.tail, a.size = (size-l.count%size)%size, (l.count+len(p.Records))%size, size
				}
				arrivals = append(arrivals, a)
			}
		}
	}
	return arrivals
}

const (
	// slowService is how long an invocation takes that makes copying what waits
	// for it worthwhile.
	slowService = 10 * time.Millisecond
	// soonWithin is for how long a record may keep its response where memory is ample.
	soonWithin = 2 * time.Second
)

// soon is how many bytes of records the calls of a lane take soon, if memory is ample:
// if there is room for what all slots together take in half that time, which is for how
// long a record waits on average. It is 0 otherwise. Nobody wants the room that an
// uncopied response takes then, and copying takes a quarter of the CPU.
func (e *Engine) soon() int64 {
	takes := e.laneTakes() * soonWithin.Seconds()
	slots := min(e.pool.Slots(), len(e.lanes))
	if takes/2*float64(slots) > float64(e.memory.Budget()) {
		return 0
	}
	return int64(takes)
}

// weigh counts what arrived, and sorts out the control records.
func (a *arrival) weigh() {
	records := a.fetched.Records
	for i, r := range records {
		if r.Attrs.IsControl() {
			lo := int64(-1)
			if i > 0 {
				lo = records[i-1].Offset + 1
			}
			a.markers = append(a.markers, marker{lo, r.Offset + 1, r.LeaderEpoch, 0})
		}
	}
	if len(a.markers) > 0 {
		records = slices.DeleteFunc(slices.Clone(records), func(r *kgo.Record) bool { return r.Attrs.IsControl() })
	}
	a.all = number(records)
	a.response.bytes += a.all.cost
}

// pack puts the records into segments, copied or not.
func (a *arrival) pack() {
	n := len(a.all.records)
	if a.lane == nil || n == 0 {
		return
	}
	a.segments = a.one[:0]
	stay := max(0, n-a.tail)
	if a.copied || n > a.room || a.all.bytes > a.roomBytes {
		stay = 0
	}
	if stay > 0 {
		if a.response.chunk == nil {
			a.response.chunk = &memory.Chunk{Bytes: a.response.bytes}
		}
		a.response.chunk.Records += stay
		s := a.all.cut(0, stay, a.all.bytes)
		if stay < n {
			s.bytes -= weight(a.all.records[stay:])
		}
		s.chunk = a.response.chunk
		a.segments = append(a.segments, s)
	}
	for at := stay; at < n; {
		end := a.arenaEnd(at)
		s := a.all.cut(at, end, weight(a.all.records[at:end]))
		a.segments = append(a.segments, s.copy())
		at = end
	}
}

// arena is about how much memory of copied records is freed together, at most.
const arena = 64 << 10

// arenaEnd is where the arena ends that begins with a record: after as many as fit
// into it, and at least one. But if a batch ends before, it ends there, so that what
// is called with frees what it has, and what waits for the next batch keeps no more
// than itself: that was a quarter of the budget with 1,000 partitions.
func (a *arrival) arenaEnd(at int) int {
	n, end, cost := len(a.all.records), at, int64(0)
	for end < n && (end == at || cost < arena) {
		cost += int64(a.all.records[end].Size) + RecordOverhead + int64(len(a.all.kafka[end].Headers))*headerOverhead
		end++
	}
	if end > a.first {
		if whole := end - (end-a.first)%a.size; whole > at {
			return whole
		}
	}
	return end
}

// copy copies records out of the response that they came in, with all that they
// refer to.
func (s segment) copy() segment {
	n, headers := len(s.records), 0
	for _, k := range s.kafka {
		headers += len(k.Headers)
	}
	slab := make([]kgo.Record, n)
	heads := make([]kgo.RecordHeader, 0, headers)
	bytes := make([]byte, 0, s.bytes)
	own := func(b []byte) []byte {
		if b == nil {
			return nil // a tombstone is not an empty value
		}
		at := len(bytes)
		bytes = append(bytes, b...)
		return bytes[at:len(bytes):len(bytes)]
	}
	from := s.kafka
	s.records, s.kafka = slices.Clone(s.records), make([]*kgo.Record, n)
	for i, k := range from {
		c := &slab[i]
		*c = *k
		c.Key, c.Value = own(k.Key), own(k.Value)
		if k.Headers != nil {
			first := len(heads)
			for _, h := range k.Headers {
				key := own(unsafe.Slice(unsafe.StringData(h.Key), len(h.Key)))
				heads = append(heads, kgo.RecordHeader{Key: unsafe.String(unsafe.SliceData(key), len(key)), Value: own(h.Value)})
			}
			c.Headers = heads[first:len(heads):len(heads)]
		}
		s.kafka[i], s.records[i].Content = c, contentOf(c.Key, c.Value, c.Headers)
	}
	s.cost = s.bytes + int64(n)*RecordOverhead + int64(headers)*headerOverhead
	s.chunk = &memory.Chunk{Bytes: s.cost, Records: n, Anchor: bytes}
	return s
}

// deliver hands what arrived to the lanes.
func (e *Engine) deliver(arrivals []arrival, now time.Time) {
	e.mu.Lock()
	var brought PollEvent
	residue, whole, said := e.memory.Held(), int64(0), int64(0)
	var keep []*memory.Chunk
	for i := range arrivals {
		a := &arrivals[i]
		whole += a.all.cost
		said += a.all.bytes + int64(len(a.all.records))*RecordOverhead
		if c := a.response.chunk; c != nil && !a.response.held {
			// Once a response, whatever becomes of its records.
			e.memory.Hold(c)
			a.response.held = true
			if c.Bytes >= memory.KeepLeast {
				c.Anchor = a.all.anchor()
				keep = append(keep, c)
			}
		}
		for _, s := range a.segments {
			if s.chunk != a.response.chunk {
				e.memory.Hold(s.chunk)
			}
		}
		if a.lane == nil || a.lane.dead || a.lane.ending || a.lane.rewinding || a.lane.unplaced || a.lane.skipping != nil {
			e.discard(a)
			continue
		}
		e.countRefusal(a.lane, a.fetched, now)
		l, kept := e.receive(a.lane, a, now)
		if !kept {
			e.discard(a)
			continue
		}
		brought.Records += len(a.all.records)
		brought.Bytes += a.all.bytes
		if len(a.all.records) > 0 {
			brought.Partitions++
		}
		e.filled(l, now)
	}
	e.newcomers(now) // there may be none any more
	e.memory.SetTakes(e.laneTakes())
	resized := e.memory.SetLanes(len(e.lanes), now)
	if e.memory.Polled(residue, whole, said, now) || resized {
		e.later(e.resize)
	}
	if brought.Records > 0 {
		e.progress = now
		if len(keep) > 0 {
			e.memory.Keep(keep, now)
			e.alarm(e.memory.KeptUntil())
		}
	}
	e.counts.polls++
	e.counts.Polled += int64(brought.Records)
	e.counts.PolledBytes += brought.Bytes
	e.kick(now)
	brought.Held, brought.Budget = e.memory.Held(), e.memory.Budget()
	if brought.Records > 0 {
		if e.watch.WantsPolls() {
			e.later(func() { e.watch.Polled(brought) })
		}
	}
	e.unlock()
}

// discard frees what nobody wants of what arrived.
func (e *Engine) discard(a *arrival) {
	for _, s := range a.segments {
		e.memory.Release(s.chunk, len(s.records))
	}
}

// receive queues what arrived in its lane, and returns the lane, which is
// another one if the position moved backward. It reports false if nothing of it
// is wanted.
func (e *Engine) receive(l *lane, a *arrival, now time.Time) (in *lane, kept bool) {
	f := a.fetched
	if _, refused := f.Err.(*kerr.Error); refused {
		return l, true // what else a broker says beside a refusal means nothing
	}
	if f.Err != nil && f.HighWatermark <= 0 && len(f.Records) == 0 {
		return l, true // an error of the client's own, which no broker sent
	}
	if end := e.endOf(f); end >= 0 {
		l.ends(end, l.fetchedFrom, now)
	}
	if e.polling.After(l.fetchedFrom) {
		l.fetchedFrom = e.polling
	}
	l.logStart = max(l.logStart, f.LogStartOffset)
	if why := l.disbelief(f); why != nil {
		if l = e.disbelieve(l, why, now); l.rewinding {
			return l, false // this is from beyond where it begins anew
		}
	}
	if len(f.Records) == 0 {
		e.startsAt(l, f.LogStartOffset, -1, now)
		return l, true
	}
	first, last := f.Records[0].Offset, f.Records[len(f.Records)-1].Offset
	switch {
	case l.next < 0:
		l.place(first, -1)
	case l.late(first):
		// It was under way when a broker said that it is gone.
	case first < l.next:
		if l = e.reset(l, first, nil, now); l.rewinding {
			return l, false // this is from beyond where it begins anew
		}
	default:
		// Compaction leaves gaps too, but not below the start of the log.
		e.startsAt(l, min(first, f.LogStartOffset), f.Records[0].LeaderEpoch, now)
		if first >= l.expired.to {
			l.expired = span{} // nothing of it is under way any more
		}
	}
	for _, markers := range [][]marker{a.markers, l.passOver(f.Records)} {
		for _, m := range markers {
			if m.lo < 0 {
				m.lo = l.next
			}
			if l.settled.Settle(m.lo, m.hi, m.records) {
				e.markDirty(l)
			}
			l.leaderEpoch = max(l.leaderEpoch, m.epoch)
		}
	}
	l.newcomer = false
	again := l.next < l.taken
	l.next = max(l.next, last+1)
	if l.arrived(l.next) {
		e.markDirty(l)
	}
	known := l.settled.End()
	l.fruitless = 0
	e.readable(l, now)
	for _, s := range a.segments {
		if again {
			s = e.refill(l, s)
		}
		e.queueNew(l, s, known)
	}
	if l.rereading() || l.state == laneRereading {
		e.refilled(l.part(), last+1, now)
	}
	return l, true
}

// queueNew queues what arrived but for what is settled: after a reset, some above
// the frontier may be, which an eviction has read again, and an earlier owner may
// have settled some. All of that is below known.
func (e *Engine) queueNew(l *lane, s segment, known int64) {
	n := len(s.records)
	if n > 0 && s.records[0].Offset >= known {
		l.push(s)
		return
	}
	for i, j := 0, 0; i < n; i = j {
		settled := l.settled.Has(s.records[i].Offset)
		for j < n && l.settled.Has(s.records[j].Offset) == settled {
			j++
		}
		if settled {
			e.memory.Release(s.chunk, j-i)
		} else {
			l.push(s.cut(i, j, weight(s.records[i:j])))
		}
	}
}

// endOf is how far a partition can be read, as a fetch of it says.
func (e *Engine) endOf(f *kgo.FetchPartition) int64 {
	if e.readCommitted {
		return f.LastStableOffset
	}
	return f.HighWatermark
}
