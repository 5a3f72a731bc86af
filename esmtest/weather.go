package esmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// weather is a [Storm] that goes on.
//
// One goroutine, that of the test, starts and stops processes and writes records.
// Calls that want something of it ask. What must have happened before a call
// returns, such as the death of its process, the call does itself.
type weather struct {
	t          testing.TB
	forecast   *forecast
	newInvoker func() esm.Invoker
	opts       []esm.Option
	kafka      *Kafka
	source     esm.Source
	began      time.Time
	asks       chan func()
	over       chan struct{} // closed when nobody is asked any more
	stops      sync.WaitGroup

	// Those of the goroutine of the test.
	processes []*process // that live
	started   int
	dark      bool      // it is night, and no process starts
	problem   string    // ends the storm
	steady    time.Time // when the group was not about to rebalance

	mu       sync.Mutex // held for moments
	tales    []*tale
	index    map[place]int
	calls    int            // that go on
	fates    map[int][]fate // that are to come
	meetings map[place]*meeting
	frontier map[esm.TopicPartition]int64 // in front of it all is settled
	leaps    []leap
	silence  map[string]time.Time // processes that the group hears no more of, since when
	story    strings.Builder
	moved    time.Time // when something last got on
}

// A tale is what became of a record.
type tale struct {
	record              *kgo.Record
	visits              int  // calls of Mappings
	calls, handled      int  // of the function
	settled, givenUp    bool // settled: a Mapping was told so
	again, late, beside bool
	firstHandled        time.Time
	running             map[*process]time.Time // calls of the function, since when
	lastOutcome         string
}

// A leap is a record that came before the one in front of it was settled.
type leap struct{ got, over place }

// A meeting is where a call of a frozen process waits for one of another process.
type meeting struct {
	host *process
	met  chan struct{} // closed when the other call is there
	both chan struct{} // closed when the first one goes on
}

func newWeather(t testing.TB, f *forecast, records []*kgo.Record, newInvoker func() esm.Invoker, opts []esm.Option) *weather {
	s := &weather{
		t: t, forecast: f, newInvoker: newInvoker, opts: opts, began: time.Now(), moved: time.Now(), steady: time.Now(),
		asks: make(chan func()), over: make(chan struct{}),
		index: map[place]int{}, fates: map[int][]fate{}, meetings: map[place]*meeting{}, frontier: map[esm.TopicPartition]int64{}, silence: map[string]time.Time{},
	}
	topics := map[string]bool{}
	kopts := []KafkaOption{Brokers(f.brokers)}
	for i, r := range records {
		if !topics[r.Topic] {
			topics[r.Topic] = true
			s.source.Topics = append(s.source.Topics, r.Topic)
			kopts = append(kopts, Topic(r.Topic, f.partitions))
		}
		At(f.at[i].Partition, r)
		s.tales = append(s.tales, &tale{record: r, running: map[*process]time.Time{}})
		s.index[f.at[i]] = i
	}
	for i, own := range f.fates {
		s.fates[i] = append([]fate(nil), own...)
	}
	s.kafka = NewKafka(t, kopts...)
	s.source.Brokers, s.source.Group = s.kafka.Brokers(), "storm"
	return s
}

// tell notes what happens. The lock is held.
func (s *weather) tell(format string, args ...any) {
	fmt.Fprintf(&s.story, "  %s %s\n", time.Since(s.began).Round(time.Millisecond), fmt.Sprintf(format, args...))
}

// say is tell without the lock.
func (s *weather) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(format, args...)
}

// ask has the goroutine of the test do something, unless the storm is over.
func (s *weather) ask(f func()) {
	select {
	case s.asks <- f:
	case <-s.over:
	}
}

// until waits for something, for a while at most, and not after the storm.
func (s *weather) until(what <-chan struct{}, most time.Duration) (came bool) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-what:
		return true
	case <-timer.C:
	case <-s.over:
	}
	return false
}

// later asks after some time.
func (s *weather) later(d time.Duration, f func()) { time.AfterFunc(d, func() { s.ask(f) }) }

// run goes on until all records are done with, or returns what is wrong.
func (s *weather) run() (problem string) {
	f := s.forecast
	s.crew()
	written := 0
	for _, w := range f.waves {
		s.later(w.at, func() {
			var wave []*kgo.Record
			for ; written < w.upto; written++ {
				wave = append(wave, s.tales[written].record)
			}
			s.kafka.ProduceRecords(wave...)
			for _, r := range wave {
				if at := placeOf(r); s.tales[s.index[at]].record != r {
					s.problem = fmt.Sprintf("a record was written to %s, which is not its place in the plan: this is a mistake of the kit", at)
				}
			}
			s.moves()
		})
	}
	for _, m := range f.moves {
		s.later(m.at, func() { s.move(m) })
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for s.problem == "" {
		select {
		case do := <-s.asks:
			do()
		case <-tick.C:
			if written == len(s.tales) && s.done() {
				s.say("all records are handled and committed")
				return ""
			}
			s.tend()
			s.look()
		}
	}
	return s.problem
}

// moves notes that something gets on.
func (s *weather) moves() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = time.Now()
}

// done reports whether all records are handled, or given up, and committed: none
// comes again.
func (s *weather) done() bool {
	s.mu.Lock()
	ends := map[esm.TopicPartition]int64{}
	for i, t := range s.tales {
		if !t.givenUp && t.handled == 0 {
			s.mu.Unlock()
			return false
		}
		ends[s.forecast.at[i].TopicPartition]++
	}
	waits := s.calls > 0
	s.mu.Unlock()
	if waits || s.dark {
		return false
	}
	for tp, end := range ends {
		if s.kafka.Committed(s.source.Group, tp.Topic, tp.Partition) != end {
			return false
		}
	}
	return true
}

// silent notes that the group hears no more of a process, or does again.
func (s *weather) silent(p *process, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is {
		s.silence[p.String()] = time.Now()
	} else {
		delete(s.silence, p.String())
	}
}

// tend does for the group what a broker does, and the fake (kfake of September 2026)
// does not always: it waits for ever for a member that was gone before its request to
// join was answered, and each request to join makes it wait anew. So sessions of
// processes that the group hears no more of are ended; and if it cannot rebalance all
// the same, nobody can ask until it has given up those that it waits for.
func (s *weather) tend() {
	info := s.kafka.Cluster().GroupInfo(s.source.Group)
	if info == nil {
		return
	}
	gone := kmsg.NewPtrLeaveGroupRequest()
	gone.Group = s.source.Group
	there := map[string]bool{}
	s.mu.Lock()
	for _, m := range info.Members {
		there[m.ClientID] = true
		if since, quiet := s.silence[m.ClientID]; quiet && time.Since(since) > s.forecast.session+time.Second {
			member := kmsg.NewLeaveGroupRequestMember()
			member.MemberID = m.MemberID
			gone.Members = append(gone.Members, member)
		}
	}
	for p, since := range s.silence {
		if !there[p] && time.Since(since) > s.forecast.session+time.Second {
			delete(s.silence, p)
		}
	}
	s.mu.Unlock()
	if len(gone.Members) > 0 {
		_, _ = gone.RequestWith(s.t.Context(), s.kafka.Client()) // and again in a second
	}

	now := time.Now()
	if info.State != "PreparingRebalance" || s.dark {
		s.steady = now
	}
	wait := s.forecast.revoke + 15*time.Second // that of a rebalance
	if now.Sub(s.steady) < 2*wait {
		return
	}
	until := now.Add(wait + s.forecast.session + 5*time.Second)
	s.steady = until
	s.say("the group waits for members that are gone: nobody joins for %s", until.Sub(now))
	s.kafka.Cluster().ControlKey(int16(kmsg.JoinGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if time.Now().After(until) {
			return nil, nil, false
		}
		s.kafka.Cluster().KeepControl()
		resp := r.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		return resp, nil, true
	})
}

// look finds what keeps the storm from its end.
func (s *weather) look() {
	for _, p := range s.processes {
		select {
		case <-p.mapping.Done():
			s.problem = fmt.Sprintf("%s ended by itself: %v", p, p.mapping.Err())
			return
		default:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dark {
		s.moved = time.Now()
	}
	if time.Since(s.moved) < mostStill {
		return
	}
	const most = 5
	n, left := s.left()
	if len(left) > most {
		left = append(left[:most], fmt.Sprintf("and %d more", len(left)-most))
	}
	what := fmt.Sprintf("the function never got done with %d of %d records", n, len(s.tales))
	if n == 0 {
		what = "the function is done with all records, but the storm does not end"
	}
	s.problem = fmt.Sprintf("%s, and nothing has got on for %s:\n%s", what, mostStill, strings.Join(left, "\n"))
}

// crew starts processes until there are as many as there are to be, without those that
// are frozen.
func (s *weather) crew() {
	awake := 0
	for _, p := range s.processes {
		if !p.isFrozen() {
			awake++
		}
	}
	for ; !s.dark && s.problem == "" && awake < s.forecast.processes; awake++ {
		s.start()
	}
}

// start starts a process.
func (s *weather) start() {
	s.started++
	p := &process{weather: s, number: s.started, dead: make(chan struct{}), line: &line{kafka: s.kafka}}
	if p.invoker = s.newInvoker(); guard.IsNil(p.invoker) {
		s.problem = "what makes Invokers returned nil"
		return
	}
	p.begin()
	s.processes = append(s.processes, p)
}

// drop takes a process out of those that live, and reports whether it was one.
func (s *weather) drop(p *process) bool {
	for i, other := range s.processes {
		if other == p {
			s.processes = append(s.processes[:i:i], s.processes[i+1:]...)
			return true
		}
	}
	return false
}

// bury ends the Mapping of a process that has died, of which nobody hears.
func (s *weather) bury(p *process) {
	if !s.drop(p) {
		return
	}
	s.stops.Go(func() {
		hurried, cancel := context.WithCancelCause(context.Background())
		cancel(errDead)
		_ = p.mapping.Stop(hurried) // its network is gone, so it cannot end well
	})
	s.later(s.forecast.session/2, s.crew)
}

// retire stops a process that leaves, as a deploy does.
func (s *weather) retire(p *process) {
	if !s.drop(p) {
		return
	}
	s.say("%s stops", p)
	s.stops.Go(func() {
		if err := p.mapping.Stop(context.Background()); err != nil {
			s.say("%s has stopped: %v", p, err)
			s.silent(p, true)
		} else {
			s.say("%s has stopped", p)
		}
	})
	s.later(s.forecast.stop, s.crew)
}

// move has a process join or leave.
func (s *weather) move(m move) {
	if s.dark {
		return
	}
	if m.join {
		s.start()
		return
	}
	if len(s.processes) == 0 {
		return
	}
	if p := s.processes[m.who%uint64(len(s.processes))]; p.leave() {
		s.retire(p)
	}
}

// fall kills all processes, but for those that are frozen and die when they thaw, and
// starts others when some time has passed.
func (s *weather) fall(d time.Duration) {
	s.dark = true
	for _, p := range slices.Clone(s.processes) {
		if p.die("in the night") {
			s.bury(p)
		}
	}
	s.later(d, func() {
		s.dark = false
		s.say("the night is over")
		s.moves()
		s.crew()
	})
}

// calm stops what lives, and waits for all that was stopped, and then for calls that
// go on.
func (s *weather) calm() {
	close(s.over)
	for _, p := range slices.Clone(s.processes) {
		if p.leave() {
			s.retire(p)
		} else {
			s.bury(p)
		}
	}
	s.stops.Wait()
	for range 60 {
		s.mu.Lock()
		running := len(s.unfinished())
		s.mu.Unlock()
		if running == 0 {
			return
		}
		time.Sleep(time.Second)
	}
}
