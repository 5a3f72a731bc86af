package esm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/explain"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/kafka"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A Phase is where a [Mapping] is in its life.
//
//	New -> Starting -> Running -> Stopping -> Stopped
//	          |        |     ^
//	          v        v     |
//	     New, Stopped  Paused, Halted
//
// A Start that fails goes back to New, from where it may be tried again. A
// Mapping that is Stopped stays so.
type Phase int

const (
	// PhaseNew: made, not started.
	PhaseNew Phase = iota
	// PhaseStarting: joining the group.
	PhaseStarting
	// PhaseRunning: reading and invoking.
	PhaseRunning
	// PhasePaused: [Mapping.Pause] was called. Membership and commits go on.
	PhasePaused
	// PhaseHalted: the function halted it, and it waits for [Mapping.Resume]
	// ([WithPauseOnHalt]).
	PhaseHalted
	// PhaseStopping: letting invocations end, committing, leaving the group.
	PhaseStopping
	// PhaseStopped: done, for good.
	PhaseStopped
)

// String returns the phase in one word.
func (p Phase) String() string {
	names := [...]string{"new", "starting", "running", "paused", "halted", "stopping", "stopped"}
	if p < 0 || int(p) >= len(names) {
		return fmt.Sprintf("Phase(%d)", int(p))
	}
	return names[p]
}

// MarshalText is String, for JSON and logs.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// State is what a [Mapping] is doing, for people.
type State struct {
	Mapping string
	Phase   Phase
	// From is the phase before this one.
	From Phase
	// Since is since when.
	Since time.Time
	// Reason is why, if it is not plain: what halted it, what it starts
	// despite, what ended it.
	Reason string
	// LastResult is what became of the last invocation, in AWS's words
	// ("OK", "PROBLEM: Function call failed", "No records processed") or, where
	// AWS has none, in ours ("PROBLEM: Function throttled"), with the error
	// behind it. (AWS: LastProcessingResult.)
	LastResult string
	// LastResultAt is when that was.
	LastResultAt time.Time
	// Problems are what keeps the Mapping from working as it should, the oldest
	// first, in the words of who has it. That a call fails is none, but that none
	// succeeds for five minutes, or for twice as long as a call takes if that is longer. A
	// problem goes away by itself when it is solved.
	Problems []Problem
}

// AWSState returns what AWS would call the state: Creating, Enabled, Disabling
// or Disabled.
func (s State) AWSState() string {
	switch s.Phase {
	case PhaseStarting:
		return "Creating"
	case PhaseRunning:
		return "Enabled"
	case PhaseStopping:
		return "Disabling"
	}
	return "Disabled"
}

// Settings are what options set, as they hold now: what [Mapping.Update] changed is in
// them. A bound of the pollers is that of its option; [Stats] has what this process
// makes of it.
type Settings struct {
	Name   string
	Topics []string
	Group  string

	MinPollers, MaxPollers            int
	PollerConcurrency, MaxConcurrency int
	PollerByteRate                    int // bytes a second
	OnDemand, GroupBounds             bool

	BatchSize     int
	BatchBytes    int
	BatchWindow   time.Duration
	InvokeTimeout time.Duration // 0 for none

	// MaxRetries and MaxRecordAge are Unlimited where there is no limit.
	MaxRetries   int
	MaxRecordAge time.Duration
	Bisect       bool
	// Destination is whether there is one.
	Destination  bool
	MemoryBudget int64
}

// Settings returns what is set.
func (m *Mapping) Settings() Settings {
	m.mu.Lock()
	name := m.watch.name
	m.mu.Unlock()
	c := m.cfg.Load()
	return Settings{
		Name: name, Topics: slices.Clone(m.source.Topics), Group: m.source.Group,
		MinPollers: c.MinPollers, MaxPollers: c.MaxPollers, PollerConcurrency: c.PollerConcurrency, MaxConcurrency: c.MaxConcurrency,
		PollerByteRate: c.PollerByteRate, OnDemand: c.OnDemand, GroupBounds: c.GroupBounds,
		BatchSize: c.BatchSize, BatchBytes: c.BatchBytes, BatchWindow: c.BatchWindow, InvokeTimeout: c.InvokeTimeout,
		MaxRetries: c.MaxRetries, MaxRecordAge: c.MaxRecordAge, Bisect: c.Bisect, Destination: c.destination != nil, MemoryBudget: c.MemoryBudget,
	}
}

// Explain says in a paragraph, for people, what limits the Mapping right now and what
// to change: the function, its own places, the most pollers, the byte rate, the memory, one
// partition, the brokers, or nothing. It names what holds partitions up, and the
// problems. When the lag grows for three minutes, the log has it too. Its words may
// change; what a program reads is in [Stats] and [State].
func (m *Mapping) Explain() string {
	m.mu.Lock()
	s, r := m.now(), m.run
	m.mu.Unlock()
	f := explain.Facts{Now: time.Now()}
	if r != nil {
		f = r.watch.explains(r.engine, m.cfg.Load())
	}
	if s.Phase != PhaseRunning {
		f.Phase, f.Because = s.Phase.String(), s.Reason
	}
	return f.String()
}

// explains are the facts of an explanation, but for the phase.
func (t *teller) explains(e *engine.Engine, c *config) explain.Facts {
	now := time.Now()
	f := explain.Facts{Now: now, SetPollers: c.MaxPollers, SetConcurrency: c.MaxConcurrency, GroupBounds: c.GroupBounds, BatchSize: c.BatchSize, ByteRate: c.PollerByteRate}
	var worst, largest engine.Row
	first := func(a, b partition.ID) bool { // of two that are alike, always the same
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition)) < 0
	}
	s := e.Look(now, func(one *engine.Row) {
		if one.LagKnown && one.Lag > 0 {
			f.Lagging++
			if one.Lag > f.LargestLag || one.Lag == f.LargestLag && first(one.ID, largest.ID) {
				largest, f.LargestLag = *one, one.Lag
			}
		}
		if one.CallID != "" {
			f.Called++
			f.LongestCall = max(f.LongestCall, now.Sub(one.CallSince))
		}
		if one.Blocked {
			f.HeldUp++
			if by := one.Block.Since.Compare(worst.Block.Since); f.HeldUp == 1 || by < 0 || by == 0 && first(one.ID, worst.ID) {
				worst = *one
			}
		}
	})
	if f.HeldUp > 0 {
		f.Worst, f.Delivers = blockerOf("", worst.Block).String(), worst.Block.Reason != 0
	}
	if f.LargestLag > 0 {
		f.Largest = fmt.Sprintf("%s/%d", largest.Topic, largest.Partition)
	}
	f.Member, f.Partitions, f.Unknown, f.Lag, f.Oldest = s.Member, s.Lanes, s.Lag.Unknown, s.Lag.Sum, s.Age.Oldest
	if s.Age.Unknown > 0 {
		f.Oldest = time.Time{}
	}
	f.Pollers, f.MostPollers, f.Slots, f.Busy, f.Waiting, f.Ready = s.Pollers, s.Bounds.Most, s.Slots, s.Busy, s.Placeless, s.Queued
	f.MaxConcurrency, f.RecordsPerCall, f.CallTime, f.FetchTime = s.Bounds.Calls, s.RecordsPerCall, s.Service, s.FetchTook
	f.ThrottledFor, f.MemoryLimited, f.MemoryBudget, f.Reason = max(0, s.ThrottledUntil.Sub(now)), s.MemoryLimited, s.Budget, s.ScaleReason
	for _, p := range append(t.list(), t.problems()...) {
		f.Problems = append(f.Problems, p.With+": "+guard.Text(p.Err))
	}
	return f
}

// AWS's words for the last processing result, and callBusy, which is ours.
const (
	noRecords  = "No records processed"
	callOK     = "OK"
	callFailed = "PROBLEM: Function call failed"
	callBusy   = "PROBLEM: Function throttled"
)

// lastResult is what became of the last invocation.
func lastResult(s *engine.Snapshot) string {
	switch {
	case s.LastAt.IsZero():
		return noRecords
	case s.LastErr == "":
		return callOK
	case s.Last == plan.OutcomeThrottled:
		return callBusy + ": " + s.LastErr
	}
	return callFailed + ": " + s.LastErr
}

// problems lists the problems of a run, without those with hooks and the log, the
// oldest first.
func (r *run) problems() []Problem {
	return r.watch.list()
}

// ready reports why a run is not in its group.
func (r *run) ready(now time.Time) error {
	if s := r.engine.Look(now, nil); s.Member {
		return nil
	}
	if p := r.watch.Trouble("group"); p != nil {
		return fmt.Errorf("esm: not ready: not in the group: %w", p.Err)
	}
	return errors.New("esm: not ready: not in the group")
}

const (
	// noEndAfter is how long calls run and none of them ends before the Mapping is
	// not healthy. A function of AWS Lambda may take 15 minutes.
	noEndAfter = 20 * time.Minute
	// ailingAfter is how long a partition stands still before that: the client was
	// set back twice by then. While its end is not known either, a broker is away,
	// and that takes noProgressAfter.
	ailingAfter     = time.Minute
	noProgressAfter = 5 * time.Minute
)

// healthy reports why a run does not get on: calls ignore that their context
// ended, a partition cannot be read, or there was something to do for minutes
// and nothing happened.
func (r *run) healthy(now time.Time) error {
	var worst *engine.Row // of those that cannot be read
	s := r.engine.Look(now, func(one *engine.Row) {
		if ails(one) && (worst == nil || worse(one, worst)) {
			c := *one
			worst = &c
		}
	})
	problems := r.problems()
	if s.Ignoring > 0 {
		return fmt.Errorf("esm: not healthy: %d invocations go on although their context ended more than %s ago", s.Ignoring, engine.IgnoresAfter)
	}
	if most := max(noEndAfter, 4*s.Service); !s.Unended.IsZero() && now.Sub(s.Unended) > most {
		return fmt.Errorf("esm: not healthy: %s, and none has ended for %s", engine.Plural(s.Calls, "call runs", "calls run"), now.Sub(s.Unended).Round(time.Second))
	}
	for _, p := range problems {
		// Calls may go well for hours meanwhile, and all of it would come again.
		if p.With == "commit" && now.Sub(p.Since) > noProgressAfter {
			return fmt.Errorf("esm: not healthy: nothing of some partitions is committed: %w", p.Err)
		}
	}
	if worst != nil {
		return fmt.Errorf("esm: not healthy: %s: %w", engine.ProblemWith(worst.Topic, worst.Partition), worst.Trouble)
	}
	if now.Sub(s.Progress) < noProgressAfter || s.Busy > 0 || s.Waiting > 0 || !s.ThrottledUntil.IsZero() {
		return nil
	}
	if s.Ready {
		return fmt.Errorf("esm: not healthy: records are ready, and nothing was invoked since %s", s.Progress.Format(time.RFC3339))
	}
	for _, p := range problems {
		if now.Sub(p.Since) > noProgressAfter && p.With != "function" {
			return fmt.Errorf("esm: not healthy: %s: %w", p.With, p.Err)
		}
	}
	return nil
}

// ails reports whether a partition cannot be read, or has stood still for so long
// that the Mapping is not healthy.
func ails(r *engine.Row) bool {
	most := ailingAfter
	if !r.EndKnown {
		most = noProgressAfter
	}
	return r.Unreadable || r.Stood >= most
}

// worse reports whether a partition that ails is to be named before another one.
func worse(r, than *engine.Row) bool {
	if r.Unreadable != than.Unreadable {
		return r.Unreadable
	}
	return r.Stood > than.Stood
}

// Errors of the lifecycle.
var (
	// ErrStarted: Start was called already.
	ErrStarted = errors.New("esm: the mapping was started already")
	// ErrStopped: the Mapping was stopped; it cannot be started again. Make a
	// new one.
	ErrStopped = kafka.ErrStopped
	// ErrInsideInvocation: Stop or Pause was called with the context of an
	// invocation of the same Mapping, and would wait for itself. Call it on a
	// goroutine with a context of its own, or return [Halt].
	ErrInsideInvocation = errors.New("esm: called from inside an invocation of the same mapping, for which it would wait")
)

// A StartError is why a Mapping could not be started.
type StartError struct {
	// Doing is what failed: "read the topics", "find the group", "pass a check
	// (WithStartCheck)", "find the starting position", "join the group", "commit
	// the starting position".
	Doing string
	// Err is what the broker or the client said.
	Err error
	// Last is the last problem that was seen before the time was over, if
	// that is the reason, or nil.
	Last error
}

// Error says what failed and why.
func (e *StartError) Error() string {
	msg := fmt.Sprintf("esm: start: could not %s: %v", e.Doing, e.Err)
	if e.Last != nil {
		msg += fmt.Sprintf("; the last problem was: %v", e.Last)
	}
	return msg
}

// MarshalText is Error, for JSON and logs.
func (e *StartError) MarshalText() ([]byte, error) { return []byte(guard.Text(e)), nil }

// Unwrap returns both errors.
func (e *StartError) Unwrap() []error {
	if e.Last == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Last}
}

// A Problem is something that keeps a [Mapping] from working as it should.
type Problem struct {
	Mapping string
	// With is what it is about: "connection to host:9092", "group", "commit",
	// "commit metadata" for a broker that has little room beside an offset,
	// "topic orders", "topic orders partition 3", "end of topic orders",
	// "start of topic orders",
	// "client", "start", "function" and "destination" for those, "hooks" and
	// "log" for what does not return, or "lag" for a limit under which the lag
	// grows.
	With string
	// Err is what the broker, the client or the function said last.
	Err error
	// Since is when it began, and Last when it was seen last.
	Since, Last time.Time
}

// A registry has the problems of a run. Its lock is a leaf: the engine notes
// problems with its own lock held, so that they are in the order in which they
// were seen, and reads do not wait for the engine.
type registry struct {
	many atomic.Int32 // how many there are

	mu    sync.Mutex
	known map[string]*engine.Trouble
}

// note books a problem, or with a nil error its end. It returns what it was
// when that is news, and whether it is over.
func (r *registry) note(with string, err error, now time.Time) (news *engine.Trouble, over bool) {
	err = guard.Keep(err) // once, before anybody has it who may write into it
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.known[with]
	switch {
	case err != nil && was != nil:
		was.Err, was.Last = err, now
		return nil, false
	case err != nil:
		p := engine.Trouble{With: with, Err: err, Since: now, Last: now}
		r.known[with] = &p
		r.many.Add(1)
		first := p
		return &first, false
	case was != nil:
		delete(r.known, with)
		r.many.Add(-1)
		return was, true
	}
	return nil, false
}

// over books the end of a problem, unless it was seen again since it was listed.
func (r *registry) over(p engine.Trouble) (ended *engine.Trouble) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.known[p.With]
	if was == nil || !was.Last.Equal(p.Last) {
		return nil
	}
	delete(r.known, p.With)
	r.many.Add(-1)
	return was
}

func (r *registry) Troubles() []engine.Trouble {
	if r.many.Load() == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ps := make([]engine.Trouble, 0, len(r.known))
	for _, p := range r.known {
		ps = append(ps, *p)
	}
	slices.SortFunc(ps, func(a, b engine.Trouble) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.With, b.With)) })
	return ps
}

func (r *registry) Trouble(with string) *engine.Trouble {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.known[with]; p != nil {
		found := *p
		return &found
	}
	return nil
}

func (r *registry) AnyTrouble() bool { return r.many.Load() > 0 }

// SkipUnreadable passes over records of a partition that cannot be read, from an
// offset on: [Gap].From, so that nobody passes over others than he
// has looked at. It only asks for that, and it has to be asked for again if what
// comes before is read again meanwhile: the Problem is then there again. Once all
// that comes before is settled, the [Destination] gets one [Discard] for all of
// them, with [ReasonUnreadable], a *Gap as its Err, and a Record that
// has only coordinates. Without a Destination they are dropped. Until that was done
// and committed another member of the group, or this one after a crash, meets them
// again.
//
// It returns an error if the partition is not this process's, or if no
// unreadable records begin at that offset.
func (m *Mapping) SkipUnreadable(tp TopicPartition, from int64) error {
	m.mu.Lock()
	r := m.run
	m.mu.Unlock()
	if r == nil {
		return errors.New("esm: skip: the mapping was not started")
	}
	return r.engine.Skip(partition.ID(tp), from, time.Now())
}

// unreadable makes an error of what cannot be read of a partition.
func (t *teller) unreadable(id partition.ID, u *engine.Unreadable) error {
	return &Gap{Mapping: t.name, TopicPartition: TopicPartition(id), From: u.From, To: u.To, Err: u.Err}
}
