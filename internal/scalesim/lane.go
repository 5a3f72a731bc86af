package scalesim

import (
	"math"
	"sort"
	"time"
)

type laneState int

const (
	laneIdle laneState = iota
	laneReady
	laneThin
	laneWaiting // for its back-off
	laneLeased
	laneGrouped
)

// A lane is a partition: what came, what of it is settled, and what happens to the
// next batch. A partition that others have keeps its lane.
type lane struct {
	number int
	owned  bool
	since  time.Duration // when it came last
	skip   bool          // what is there by the end of the call, which others handled,
	left   int64         // but for so many

	state  laneState
	ticket uint64
	work   *work
	part   int64 // records of it that are in the work

	frontier int64 // records that are settled
	skipped  int64 // of these, by others

	end   int64 // as the engine knows it
	endAt time.Duration

	in       *Trace
	bursts   []Burst
	segments []segment
	head     int     // of the segments, the first with records that are not settled
	count    float64 // of records that came by
	at       time.Duration
	until    time.Duration // of the segment that goes on now
	rate     float64
	open     bool // the last segment goes on
}

// A segment is a time in which records came at the same rate: those after the first
// from ones up to to. A burst takes no time.
type segment struct {
	from, to       float64
	began, stopped time.Duration
}

// newLane makes a lane. phase is how much of a record is there already, so that
// partitions with the same rate do not get their records at the same moments.
func newLane(number int, in *Trace, phase float64) *lane {
	l := &lane{number: number, owned: true, in: in, count: phase, end: 0}
	for _, b := range in.Bursts {
		if b.Partition == number {
			l.bursts = append(l.bursts, b)
		}
	}
	sort.SliceStable(l.bursts, func(i, j int) bool { return l.bursts[i].At < l.bursts[j].At })
	return l
}

// arrived is how many records have come by a time, which must not go back.
func (l *lane) arrived(t time.Duration) int64 {
	for {
		for len(l.bursts) > 0 && l.bursts[0].At <= l.at {
			n := float64(l.bursts[0].Records)
			l.segments = append(l.segments, segment{l.count, l.count + n, l.at, l.at})
			l.count += n
			l.open = false
			l.bursts = l.bursts[1:]
		}
		if l.until <= l.at {
			l.begin()
		}
		next := min(t, l.until)
		if len(l.bursts) > 0 {
			next = min(next, l.bursts[0].At)
		}
		if next > l.at {
			l.grow(next)
		}
		if l.at >= t && (len(l.bursts) == 0 || l.bursts[0].At > t) {
			return int64(l.count)
		}
	}
}

// begin begins the second in which the time is.
func (l *lane) begin() {
	second := l.at / time.Second
	l.open = false
	l.until, l.rate = (second+1)*time.Second, 0
	if l.at < l.in.Length && l.in.Rate != nil {
		l.rate = max(0, l.in.Rate(l.number, int(second)))
		l.until = min(l.until, l.in.Length)
	}
}

// grow lets records come until then.
func (l *lane) grow(to time.Duration) {
	if l.rate > 0 {
		n := l.count + l.rate*(to-l.at).Seconds()
		if l.open {
			last := &l.segments[len(l.segments)-1]
			last.to, last.stopped = n, to
		} else {
			l.segments = append(l.segments, segment{l.count, n, l.at, to})
			l.open = true
		}
		l.count = n
	}
	l.at = to
}

// next is when to look again whether a record has come, or forever.
func (l *lane) next(now time.Duration) time.Duration {
	l.arrived(now)
	next := forever
	if len(l.bursts) > 0 {
		next = l.bursts[0].At
	}
	if now >= l.in.Length || l.in.Rate == nil {
		return next
	}
	next = min(next, l.until)
	if l.rate > 0 {
		left := math.Floor(l.count) + 1 - l.count
		next = min(next, now+time.Duration(math.Ceil(left/l.rate*1e9))+1)
	}
	return max(next, now+1)
}

// over is whether no record comes any more.
func (l *lane) over(now time.Duration) bool {
	return len(l.bursts) == 0 && (now >= l.in.Length || l.in.Rate == nil)
}

// queued is how many records there are for new batches.
func (l *lane) queued(now time.Duration) int64 { return l.arrived(now) - l.frontier - l.part }

// settle moves the frontier, and tells how long the records took since they came or
// the lane did.
func (l *lane) settle(n int64, now time.Duration, took func(d time.Duration, records float64)) {
	const most = 8
	looks := min(n, most)
	at := l.head
	for i := range looks {
		if took == nil {
			break
		}
		k := l.frontier + (2*i+1)*n/(2*looks) // which is there once the count has reached k+1
		count := float64(k + 1)
		for at < len(l.segments)-1 && l.segments[at].to < count-1e-6 {
			at++
		}
		took(now-max(l.segments[at].when(count), l.since), float64(n)/float64(looks))
	}
	l.frontier += n
	for l.head < len(l.segments) && l.segments[l.head].to <= float64(l.frontier) {
		l.head++
	}
	if l.head == len(l.segments) {
		l.segments, l.head, l.open = l.segments[:0], 0, false
	}
	if l.head > 64 && l.head > len(l.segments)/2 {
		l.segments = append(l.segments[:0], l.segments[l.head:]...)
		l.head = 0
	}
}

// when is the time at which the count was so.
func (s *segment) when(count float64) time.Duration {
	share := (count - s.from) / (s.to - s.from)
	return s.began + time.Duration(share*float64(s.stopped-s.began))
}
