package esm

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/scaling"
)

// logHooks writes what happens to a log. What can repeat many times a second
// is written once a second, with the number that was left out. Messages do not
// vary, so that they can be searched for; what varies is in attributes, and times
// have their units.
//
// Polls and invocations are not here, nor what no hook is told: see logInvocation
// and what comes after it.
func logHooks(l *slog.Logger) Hooks {
	retries, throttles, commits, memory, deliveries := newSparse(l), newSparse(l), newSparse(l), newSparse(l), newSparse(l)
	return Hooks{
		StateChanged: func(s State) {
			attrs := []any{"state", s.Phase.String(), "from", s.From.String()}
			if s.Reason != "" {
				attrs = append(attrs, "reason", s.Reason)
			}
			l.Info("the mapping changed its state", attrs...)
		},
		ProblemRaised: func(p Problem) {
			l.Warn("problem", "with", p.With, "err", p.Err)
		},
		ProblemCleared: func(p Problem) {
			l.Info("problem solved", "with", p.With, lasting("lasted", time.Since(p.Since)))
		},
		Assigned: func(i Rebalance) {
			l.Info("partitions assigned", "added", len(i.Partitions), "total", i.Total)
		},
		Revoked: func(i Rebalance) {
			level := slog.LevelInfo
			if i.Lost || i.Cancelled > 0 || i.CommitErr != nil {
				level = slog.LevelWarn
			}
			l.Log(context.Background(), level, "partitions revoked", "partitions", len(i.Partitions), "lost", i.Lost,
				lasting("waited", i.Waited), "cancelled", i.Cancelled, "commit_err", i.CommitErr, "come_again", i.Again)
		},
		RecordsLost: func(i Gap) {
			l.Error("records were deleted before they were read", "topic", i.Topic, "partition", i.Partition, "from", i.From, "to", i.To)
		},
		PositionReset: func(i Gap) {
			l.Warn("the position moved backward", "topic", i.Topic, "partition", i.Partition, "from", i.From, "to", i.To, "err", i.Err)
		},
		MemoryLimited: func(i Poll) {
			memory.log(slog.LevelInfo, "the memory budget is in use: polling waits", "held", i.Held, "budget", i.Budget, "reserve", i.Reserve)
		},
		InvokeStuck: func(i Invocation) {
			what := "invocation"
			if i.Delivery {
				what = "delivery"
			}
			attrs := []any{"call", what, "batch", i.BatchID, lasting("running", i.Took), "partitions", partition.Describe(i.Partitions)}
			if i.Err == nil {
				l.Warn("a call is slow", attrs...)
				return
			}
			l.Error("a call goes on although its context ended; its partitions wait for it", append(attrs, "cause", i.Err)...)
		},
		RetryScheduled: func(b Blocker) {
			attrs := []any{"topic", b.Topic, "partition", b.Partition, "offset", b.Offset,
				"records", b.Records, "attempts", b.Attempts, until("again_in", b.Next), "err", b.Err}
			if b.Throttles > 0 {
				retries.log(slog.LevelWarn, "records are throttled again and again while others are answered", append(attrs, "throttles", b.Throttles)...)
				return
			}
			retries.log(slog.LevelWarn, "an invocation failed", attrs...)
		},
		HeldUp: func(b Blocker) {
			l.Warn("a partition is held up", "topic", b.Topic, "partition", b.Partition, "offset", b.Offset, "blocker", b.String())
		},
		Discarded: func(d *Discard) {
			msg := "a record was given up and delivered"
			if d.Dropped {
				msg = "a record was given up and dropped"
			}
			r := d.Record
			l.Warn(msg, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", d.Reason.String(), "attempts", d.Attempts, "err", d.Err)
		},
		DeliveryFailed: func(d *Discard) {
			r := d.Record
			deliveries.log(slog.LevelWarn, "the destination did not take a record", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset,
				"reason", d.Reason.String(), "deliveries", d.Delivery, until("again_in", d.Next), "err", d.DeliveryErr)
		},
		Throttled: func(i Invocation) {
			throttles.log(slog.LevelWarn, "the function is throttled", lasting("for", i.Pause), "err", i.Err)
		},
		Committed: func(i Commit) {
			if i.Err != nil {
				commits.log(slog.LevelWarn, "a commit failed and will be tried again", "partitions", len(i.Failed), "err", i.Err)
			}
		},
		Scaled: func(d scaling.Decision) {
			l.Info("the number of pollers changed", "from", d.From, "to", d.To, "reason", d.Reason)
		},
	}
}

// lasting is a time with its unit: handlers that write JSON would write
// nanoseconds.
func lasting(key string, d time.Duration) slog.Attr {
	if d >= time.Second {
		d = d.Round(time.Millisecond)
	}
	return slog.String(key, d.String())
}

// until is how long it is until then.
func until(key string, then time.Time) slog.Attr {
	return lasting(key, time.Until(then).Round(time.Millisecond))
}

// logInvocation and logPoll write what happens too often for anybody who did
// not ask for it.
func (w *watch) logInvocation(i Invocation) {
	w.logger.Debug("invoked", "batch", i.BatchID, "attempt", i.Attempt, "partitions", partition.Describe(i.Partitions),
		"records", i.Records, "bytes", i.Bytes, lasting("took", i.Took), "outcome", i.Outcome.String(), "err", i.Err)
}

func (w *watch) logPoll(i Poll) {
	w.logger.Debug("polled", "partitions", i.Partitions, "records", i.Records, "bytes", i.Bytes, "held", i.Held)
}

func (w *watch) debugging() bool { return w.writes(slog.LevelDebug) }

// logGivenUp writes that records will not be tried again, and why: what failed
// then is no retry, of which hooks are told.
func (w *watch) logGivenUp(b blockEvent) {
	w.logger.Warn("records are given up", "topic", b.tp.Topic, "partition", b.tp.Partition, "offset", b.offset, "records", b.records,
		"reason", Reason(b.reason).String(), "attempts", b.attempts, "batch", b.batchID, "err", b.err)
}

// logPanic writes where the function panicked.
func (w *watch) logPanic(batchID, how string, stack []byte) {
	w.panics.log(slog.LevelError, "the function did not return", "batch", batchID, "how", how, "stack", string(stack))
}

// logReread writes that the function writes into what it should not.
func (w *watch) logReread(tp partition.ID, offset int64, records int) {
	w.changed.log(slog.LevelWarn, "the function replaced the key, value or headers of records that failed; they are read again (it should work on copies)",
		"topic", tp.Topic, "partition", tp.Partition, "offset", offset, "records", records)
}

// logSetBack writes that the client has stopped reading a partition.
func (w *watch) logSetBack(tp partition.ID, position int64, stood time.Duration) {
	w.logger.Warn("the Kafka client does not read a partition although its leader sends records; it is set back to its position",
		"topic", tp.Topic, "partition", tp.Partition, "position", position, "for", stood.Round(time.Second))
}

// logKept writes that the function wants records given up, and nobody says where
// they should go.
func (w *watch) logKept(batchID string, outcome Outcome, err error) {
	w.kept.log(slog.LevelWarn, "the function gives records up, and there is no destination (WithDestination), so they are tried again",
		"batch", batchID, "outcome", outcome.String(), "err", err)
}

// logLate writes that a Mapping starts without a partition, of which nobody says
// where it ends.
func (w *watch) logLate(tp partition.ID, why string, err error) {
	w.logger.Warn("a partition is started later, as soon as the cluster says where it begins: "+why, "topic", tp.Topic, "partition", tp.Partition, "err", err)
}

// sparse logs ten lines at once and then one a second.
type sparse struct {
	l     *slog.Logger
	limit *rate.Limiter
	left  atomic.Int64 // lines left out since the last one
}

func newSparse(l *slog.Logger) *sparse {
	return &sparse{l: l, limit: rate.NewLimiter(rate.Every(time.Second), 10)}
}

func (s *sparse) log(level slog.Level, msg string, attrs ...any) {
	if !s.limit.Allow() {
		s.left.Add(1)
		return
	}
	if left := s.left.Swap(0); left > 0 {
		attrs = append(attrs, "left_out", left)
	}
	s.l.Log(context.Background(), level, msg, attrs...)
}
