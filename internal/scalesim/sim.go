package scalesim

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/pace"
	"github.com/seed429fd032/esm/internal/pollers"
	"github.com/seed429fd032/esm/scaling"
)

const (
	forever = time.Duration(math.MaxInt64)

	askEvery  = time.Second // the root's scaleEvery
	endsEvery = time.Second // internal/kafka's lagEvery
	endMaxAge = 5 * time.Second

	askAfter  = 5 * time.Millisecond // internal/engine's
	askPerOne = 20 * time.Microsecond

	afterTrace = 2 * time.Hour
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// sim is a run.
type sim struct {
	Config
	policy Policy
	chance *rand.Rand
	now    time.Duration

	events   events
	order    uint64
	ask      time.Duration // when the policy is asked next,
	rang     bool          // or at once
	asked    time.Duration // because calls wait
	askedFor int           // and how many things did
	alarm    time.Duration // when it is looked at again
	ends     time.Duration // when ends are listed next
	second   time.Duration // when the busy slots are looked at next
	point    time.Duration // when the series gets its next point
	refill   time.Duration // for which an event is there
	throttle struct {
		until time.Duration
		round int
	}

	lanes   []*lane
	owned   []*lane
	queue   queue
	pool    *pollers.Pool
	holders []*pollers.Poller // of calls, by their number
	free    []int
	fn      *running
	pace    pace.Pace
	sample  scaling.Sample

	settled, polled, throttles, succeeded int64
	poison                                map[int]bool

	changed time.Duration // since when there were so many pollers
	useful  float64
	out     Result
}

// Run simulates a Mapping whose pollers a policy decides.
func Run(c Config, p Policy) *Result {
	s := newSim(c, p)
	s.assign()
	for s.step() {
	}
	return s.result()
}

func newSim(c Config, p Policy) *sim {
	st := &c.Settings
	for at, usual := range map[*int]int{&st.Concurrency: 5, &st.Batch: 100, &st.Min: 1, &st.Max: 200, &st.RecordBytes: 1000} {
		if *at == 0 {
			*at = usual
		}
	}
	if c.Until == 0 {
		c.Until = c.Trace.Length + afterTrace
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	rate := scaling.Unlimited
	if st.ByteRate > 0 {
		rate = st.ByteRate
	}
	s := &sim{
		Config: c, policy: p, chance: rand.New(rand.NewPCG(c.Seed, 2)), pool: pollers.New(st.Concurrency, rate),
		ask: askEvery, second: time.Second, asked: -time.Hour, refill: forever, poison: map[int]bool{},
	}
	s.fn = newRunning(&s.Config.Function, c.Seed)
	for _, n := range c.Function.Poison {
		s.poison[n] = true
	}
	for n := range c.Trace.Partitions {
		s.lanes = append(s.lanes, newLane(n, &s.Config.Trace, s.chance.Float64()))
	}
	for _, change := range slices.Concat(c.Function.Knees, c.Function.Limits) {
		s.at(change.At, event{kind: functionChanges})
	}
	for i, a := range c.Away {
		s.at(a.From, event{kind: leave, n: i})
		s.at(a.To, event{kind: back, n: i})
	}
	return s
}

// assign gives the Mapping its partitions.
func (s *sim) assign() {
	for _, l := range s.lanes {
		l.owned = !slices.ContainsFunc(s.Away, func(a Away) bool { return a.has(0) && slices.Contains(a.Partitions, l.number) })
	}
	s.own()
	s.resize(max(s.Settings.Start, s.pool.Size()), false)
	s.list()
	for _, l := range s.owned {
		s.schedule(l)
	}
	s.dispatch()
}

// own notes which partitions there are, and keeps the bounds.
func (s *sim) own() {
	s.owned = s.owned[:0]
	for _, l := range s.lanes {
		if l.owned {
			s.owned = append(s.owned, l)
		}
	}
	s.resize(s.pool.Size(), true)
}

func (s *sim) bounds() (least, most int) {
	n := max(1, len(s.owned))
	if s.Settings.OnDemand {
		return 1, n
	}
	return min(s.Settings.Min, n), min(s.Settings.Max, n)
}

// resize sets the number of pollers, within its bounds.
func (s *sim) resize(n int, bounds bool) {
	least, most := s.bounds()
	n = min(max(n, least), most)
	from := s.pool.Size()
	if n == from {
		return
	}
	s.account()
	s.pool.Resize(n, start.Add(s.now))
	s.pace.Round.Begin(start.Add(s.now))
	s.askedFor = 0
	s.out.Steps = append(s.out.Steps, Step{s.now, from, n, bounds})
	s.out.Peak = max(s.out.Peak, n)
}

// account adds up what pollers there were until now.
func (s *sim) account() {
	held := max(s.pool.Size(), (s.pool.Busy()+s.Settings.Concurrency-1)/s.Settings.Concurrency)
	s.out.PollerTime += time.Duration(held) * (s.now - s.changed)
	s.changed = s.now
}

// step does what comes next, and reports whether anything does.
func (s *sim) step() bool {
	event, ends := s.events.next(), s.fn.next()
	next := min(event, ends, s.ask, s.ends, s.second, s.point)
	if next >= s.Until || s.over() {
		s.now = min(next, s.Until)
		return false
	}
	s.now = next
	switch next {
	case event:
		s.happens(s.events.pop())
	case ends:
		if c := s.fn.ended(s.now); c != nil {
			s.ended(c)
		}
	case s.second:
		s.look()
	case s.ends:
		s.list()
	case s.point:
		s.plot()
	default:
		s.decide()
	}
	s.dispatch()
	if s.rang {
		s.rang = false
		s.decide()
		s.dispatch()
	}
	return true
}

// over is whether nothing is left to do and nothing comes.
func (s *sim) over() bool {
	if s.now < s.Trace.Length || s.pool.Busy() > 0 || s.queue.any() {
		return false
	}
	for _, l := range s.lanes {
		if !l.over(s.now) || !s.poison[l.number] && l.owned && l.queued(s.now)+l.part > 0 {
			return false
		}
	}
	for _, a := range s.Away {
		if !a.Handled && s.now < a.To {
			return false
		}
	}
	return true
}

func (s *sim) happens(e event) {
	switch e.kind {
	case laneDue:
		if e.lane.ticket == e.ticket {
			e.lane.state = laneIdle
			s.schedule(e.lane)
		}
	case throttledCall:
		s.ended(e.call)
	case functionChanges:
		s.fn.change(s.now)
	case tokens:
		s.refill = forever
	case leave:
		s.leave(&s.Away[e.n])
	case back:
		s.back(&s.Away[e.n])
	}
}

// schedule puts a lane where it belongs.
func (s *sim) schedule(l *lane) {
	l.ticket = 0
	if !l.owned || l.state == laneLeased || l.state == laneGrouped {
		return
	}
	s.pass(l)
	queued := l.queued(s.now)
	switch {
	case l.work != nil:
		s.queue.add(l, laneReady)
	case queued >= int64(s.Settings.Batch):
		s.learn(l)
		s.queue.add(l, laneReady)
	case queued > 0:
		s.learn(l)
		s.queue.add(l, laneThin)
	default:
		l.state = laneIdle
		if next := l.next(s.now); next < forever {
			s.wait(l, next)
		}
	}
}

// wait looks at a lane again at a time.
func (s *sim) wait(l *lane, until time.Duration) {
	s.queue.tickets++
	l.ticket = s.queue.tickets
	s.at(until, event{kind: laneDue, lane: l, ticket: l.ticket})
}

// learn notes the end of a partition, which comes with each fetch.
func (s *sim) learn(l *lane) {
	if !within(s.Unknown, s.now) {
		l.end, l.endAt = l.arrived(s.now), s.now
	}
}

// list learns all ends.
func (s *sim) list() {
	for _, l := range s.owned {
		s.learn(l)
	}
	s.ends = s.now + endsEvery
}
