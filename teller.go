package esm

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/scaling"
)

// A teller is the watcher of one run: it makes of what it is told what users
// read, and calls hooks and the log. The watch is that of the Mapping; the
// problems are those of the run.
type teller struct {
	*watch
	registry
	source *Source
}

var _ watcher = (*teller)(nil)

func newTeller(w *watch, s *Source) *teller {
	return &teller{watch: w, registry: registry{known: map[string]*trouble{}}, source: s}
}

func (t *teller) note(with string, err error, now time.Time) (tell func()) {
	return t.news(t.registry.note(with, err, now))
}

func (t *teller) over(p trouble) (tell func()) { return t.news(t.registry.over(p), true) }

// news tells that a problem is there, or over, if that is so.
func (t *teller) news(news *trouble, over bool) (tell func()) {
	if news == nil {
		return nil
	}
	p, hook := t.problem(*news), (*Hooks).raised
	if over {
		hook = (*Hooks).cleared
	}
	return func() { fire(t.watch, hook, p) }
}

func (h *Hooks) raised() func(Problem)  { return h.ProblemRaised }
func (h *Hooks) cleared() func(Problem) { return h.ProblemCleared }

func (t *teller) problem(p trouble) Problem {
	return Problem{Mapping: t.name, With: p.with, Err: guard.Keep(p.err), Since: p.since, Last: p.last}
}

// list lists the problems, the oldest first.
func (t *teller) list() (ps []Problem) {
	for _, p := range t.troubles() {
		ps = append(ps, t.problem(p))
	}
	return ps
}

func (t *teller) assigned(added []partition.ID, total int) {
	fire(t.watch, func(h *Hooks) func(Rebalance) { return h.Assigned }, Rebalance{Mapping: t.name, Partitions: topicPartitions(added), Total: total})
}

func (t *teller) revoked(r revokeEvent) {
	fire(t.watch, func(h *Hooks) func(Rebalance) { return h.Revoked }, Rebalance{Mapping: t.name, Partitions: topicPartitions(r.partitions), Total: r.total, Lost: r.lost,
		Waited: r.waited, Cancelled: r.cancelled, CommitErr: guard.Keep(r.commitErr), Again: r.again})
}

func (t *teller) recordsLost(tp partition.ID, from, to int64) {
	fire(t.watch, func(h *Hooks) func(Gap) { return h.RecordsLost }, Gap{Mapping: t.name, TopicPartition: TopicPartition(tp), From: from, To: to})
}

func (t *teller) positionReset(tp partition.ID, from, to int64, err error) {
	fire(t.watch, func(h *Hooks) func(Gap) { return h.PositionReset }, Gap{Mapping: t.name, TopicPartition: TopicPartition(tp), From: from, To: to, Err: guard.Keep(err)})
}

func (t *teller) startsLate(tp partition.ID, why string, err error) {
	t.write(func() { t.logLate(tp, why, err) })
}

func (t *teller) setBack(tp partition.ID, position int64, stood time.Duration) {
	t.write(func() { t.logSetBack(tp, position, stood) })
}

func (t *teller) wantsPolls() bool {
	return t.debugging() || wanted(t.watch, func(h *Hooks) func(Poll) { return h.Polled })
}

func (t *teller) polled(p pollEvent) {
	poll := t.poll(p)
	if t.debugging() {
		t.write(func() { t.logPoll(poll) })
	}
	fire(t.watch, func(h *Hooks) func(Poll) { return h.Polled }, poll)
}

func (t *teller) memoryLimited(p pollEvent) {
	fire(t.watch, func(h *Hooks) func(Poll) { return h.MemoryLimited }, t.poll(p))
}

func (t *teller) poll(p pollEvent) Poll {
	return Poll{Mapping: t.name, Partitions: p.partitions, Records: p.records, Bytes: p.bytes, Held: p.held, Budget: p.budget, Reserve: p.reserve}
}

func (t *teller) wantsCalls() bool {
	return t.debugging() || wanted(t.watch, func(h *Hooks) func(Invocation) { return h.InvokeEnded })
}

func (t *teller) ended(c callEvent) {
	call := t.invocation(c)
	if t.debugging() {
		t.write(func() { t.logInvocation(call) })
	}
	fire(t.watch, func(h *Hooks) func(Invocation) { return h.InvokeEnded }, call)
}

func (t *teller) stuck(c callEvent) {
	fire(t.watch, func(h *Hooks) func(Invocation) { return h.InvokeStuck }, t.invocation(c))
}

func (t *teller) throttled(c callEvent) {
	fire(t.watch, func(h *Hooks) func(Invocation) { return h.Throttled }, t.invocation(c))
}

func (t *teller) invocation(c callEvent) Invocation {
	return Invocation{Mapping: t.name, BatchID: c.id, Attempt: c.attempt, Partitions: topicPartitions(c.partitions), Records: c.records, Bytes: c.bytes,
		Took: c.took, Outcome: Outcome(c.outcome), Err: guard.Keep(c.err), Pause: c.pause, Delivery: c.delivery}
}

func (t *teller) reread(tp partition.ID, first int64, records int) {
	t.write(func() { t.logReread(tp, first, records) })
}

func (t *teller) retryScheduled(b blockEvent) {
	fire(t.watch, func(h *Hooks) func(Blocker) { return h.RetryScheduled }, *blockerOf(t.name, b))
}

func (t *teller) heldUp(b blockEvent) {
	fire(t.watch, func(h *Hooks) func(Blocker) { return h.HeldUp }, *blockerOf(t.name, b))
}

func (t *teller) givenUp(b blockEvent) { t.write(func() { t.logGivenUp(b) }) }

func (t *teller) kept(batchID string, outcome int, err error) {
	t.write(func() { t.logKept(batchID, Outcome(outcome), err) })
}

func (t *teller) discarded(d discardEvent) {
	fire(t.watch, func(h *Hooks) func(*Discard) { return h.Discarded }, t.discard(d))
}

func (t *teller) deliveryFailed(d discardEvent) {
	fire(t.watch, func(h *Hooks) func(*Discard) { return h.DeliveryFailed }, t.discard(d))
}

func (t *teller) discard(d discardEvent) *Discard {
	return &Discard{
		Record: d.record, Reason: Reason(d.reason), Attempts: d.attempts, FirstErr: guard.Keep(d.firstErr), Err: guard.Keep(d.err), FirstFailed: d.firstFailed, LastFailed: d.lastFailed,
		Mapping: t.name, Group: t.source.Group, Brokers: slices.Clone(t.source.Brokers), SourceARN: t.source.ARN, BatchID: d.batchID, BatchRecords: d.batchRecords,
		Delivery: d.delivery, Took: d.took, Dropped: d.dropped, DeliveryErr: guard.Keep(d.deliveryErr), Next: d.next,
	}
}

func (t *teller) committed(offsets, failed map[partition.ID]int64, took time.Duration, err error) {
	fire(t.watch, func(h *Hooks) func(Commit) { return h.Committed }, Commit{Mapping: t.name, Offsets: offsetsByPartition(offsets), Failed: offsetsByPartition(failed), Took: took, Err: guard.Keep(err)})
}

func offsetsByPartition(of map[partition.ID]int64) map[TopicPartition]int64 {
	offsets := make(map[TopicPartition]int64, len(of))
	for tp, at := range of {
		offsets[TopicPartition(tp)] = at
	}
	return offsets
}

func (t *teller) scaled(d scaling.Decision) {
	d.Mapping = t.name
	fire(t.watch, func(h *Hooks) func(scaling.Decision) { return h.Scaled }, d)
}

func (t *teller) logs(level slog.Level) bool { return t.writes(level) }

func (t *teller) log(level slog.Level, msg string, attrs ...any) {
	t.write(func() { t.logger.Log(context.Background(), level, msg, attrs...) })
}
