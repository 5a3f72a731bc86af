package esm

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/scaling"
)

// Hooks are functions that a [Mapping] calls when something happens. Any may
// be nil. They watch; what should change what happens wraps the [Invoker].
//
// Hooks are called outside of all locks, and what happened waits for them to
// return, so they must not block: a hook that waits holds up a poll, an
// invocation or a rebalance. They are called from several goroutines at once.
// What happens to one partition is reported in the order in which it happened
// as far as one goroutine does it; between goroutines there is no order. A
// hook that panics, or calls runtime.Goexit, is reported to the log and
// otherwise ignored.
//
// A hook that does not return is left behind: after five seconds, or after one
// if a [Mapping.Stop] or [Mapping.Pause] waits, what happened goes on without
// it. That is a [Problem] of the [State] while it lasts. While four calls of
// one Hooks are left behind, its hooks are not called. So a hook may call every
// method of its Mapping; one that calls Stop or Pause, and so waits for itself,
// is left behind by that. A log handler that does not return is treated in the
// same way.
//
// A hook may keep what it gets, but for the Batch of InvokeStarted. It should not
// change it: all Hooks of the Mapping get the same slices, maps and Discards. What
// the Mapping does is not changed by that.
//
// Everything that a hook gets can be written as JSON. [AllHooks] makes Hooks of
// one function, for a recorder.
type Hooks struct {
	// StateChanged: the Mapping is in another [Phase]. Problems and LastResult
	// are not in it: [Mapping.State] has them.
	StateChanged func(State)
	// ProblemRaised: something keeps the Mapping from working, see [Problem].
	// Called once for each problem.
	ProblemRaised func(Problem)
	// ProblemCleared: the problem is gone.
	ProblemCleared func(Problem)

	// Assigned: the group gave partitions to this process. Also called with
	// none, once for each rebalance.
	Assigned func(Rebalance)
	// Revoked: partitions moved away, or the session was lost. Called when
	// the process is done with them.
	Revoked func(Rebalance)
	// RecordsLost: retention took records before they were read.
	RecordsLost func(Gap)
	// PositionReset: the position of a partition moved backward, because the
	// broker lost records or because the committed offset was beyond its end.
	PositionReset func(Gap)

	// Polled: records came from the brokers.
	Polled func(Poll)
	// MemoryLimited: the memory budget keeps the Mapping from polling. Called
	// when that begins.
	MemoryLimited func(Poll)
	// InvokeStarted: an invocation begins. Its Batch is valid until the
	// invocation ends.
	InvokeStarted func(Invocation)
	// InvokeEnded: an invocation ended.
	InvokeEnded func(Invocation)
	// InvokeStuck: a call of the function or of a destination goes on after its
	// context ended, for a second, or takes longer than a minute. Called again
	// after ten minutes, and then each hour.
	InvokeStuck func(Invocation)
	// Throttled: nothing is invoked for a while (Pause), because the function
	// asked for it. A throttle that holds up its own partition only is told to
	// RetryScheduled.
	Throttled func(Invocation)
	// RetryScheduled: a partition waits before its batch is tried again.
	RetryScheduled func(Blocker)
	// HeldUp: a partition has been held up by the same batch for a minute.
	// Called once a batch.
	HeldUp func(Blocker)
	// Discarded: a record was given up, and its destination took it.
	Discarded func(*Discard)
	// DeliveryFailed: a destination did not take a record, and DeliveryErr is
	// why (Err is why the record is given up). It is delivered again.
	DeliveryFailed func(*Discard)
	// Committed: offsets were committed, or could not be.
	Committed func(Commit)

	// Sampled: the scaler decided, once a second or when there is news, mostly
	// that all stays as it is. Recorded as JSON, these decisions are a trace for
	// [scaling.Replay].
	Sampled func(scaling.Decision)
	// Scaled: the number of pollers changed.
	Scaled func(scaling.Decision)
}

// AllHooks makes Hooks that call one function for whatever happens, with the
// name of the hook and with what it gets, to record it or count it. Among that
// are each poll and each invocation.
func AllHooks(f func(name string, info any)) Hooks {
	var h Hooks
	v := reflect.ValueOf(&h).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func(args []reflect.Value) []reflect.Value {
			f(name, args[0].Interface())
			return nil
		}))
	}
	return h
}

// A Rebalance is what the group gave to this process, or took from it.
type Rebalance struct {
	Mapping string
	// Partitions are those that are new to this process, or that went away.
	Partitions []TopicPartition
	// Total is how many it has now.
	Total int

	// What follows is about partitions that went away.

	// Lost is whether the session had ended already: nothing could be
	// committed.
	Lost bool
	// Waited is how long the invocations took to end.
	Waited time.Duration
	// Cancelled is how many invocations had to be cancelled.
	Cancelled int
	// CommitErr is why the last offsets could not be committed, or nil.
	CommitErr error
	// Again is how many records were settled above the frontier, and come again
	// to the next owner, because the commit had no room to say so. It is 0 but
	// for thousands of scattered failures, and for brokers that take less
	// metadata than by default (offset.metadata.max.bytes).
	Again int
}

// A Gap is a range of offsets of one partition that is not read in its turn:
// retention took the records ([Hooks].RecordsLost), the position moved backward
// ([Hooks].PositionReset), or they cannot be read.
//
// A *Gap is the error of what cannot be read, however often that is tried: the batch
// is corrupt, or expands beyond what the client may decompress at once
// (kgo.MaxDecompressBatchBytes, 1 GiB unless [Source].Client says otherwise). It is
// the Err of a [Problem] and in what [Mapping.Healthy] returns. The partition waits;
// no other does. Its leader is asked again now and then, in case another broker has a
// copy that can be read. [Mapping.SkipUnreadable] passes over the records.
type Gap struct {
	Mapping string
	TopicPartition
	// From and To are offsets: From is the first, and To the one after the last.
	// Where the position moved backward, From is what would have been read next,
	// and To what will be. In a batch that cannot be read there may be fewer
	// records than offsets.
	From, To int64
	// Err is what the client said of it, or nil.
	Err error
}

// Error says what cannot be read and what to do.
func (g *Gap) Error() string {
	return fmt.Sprintf("offsets %d to %d of %s/%d cannot be read: %s; Mapping.SkipUnreadable passes over them", g.From, g.To-1, g.Topic, g.Partition, guard.Text(g.Err))
}

// MarshalText is Error, for JSON and logs of a *Gap that is an error.
func (g *Gap) MarshalText() ([]byte, error) { return []byte(guard.Text(g)), nil }

// Unwrap returns what is wrong.
func (g *Gap) Unwrap() error { return g.Err }

// A Poll reports what one poll brought, or that memory keeps the Mapping from polling.
type Poll struct {
	Mapping string
	// Partitions and Records are how many came, and Bytes is the size of keys,
	// values and headers. They are 0 in [Hooks].MemoryLimited.
	Partitions, Records int
	Bytes               int64
	// Held is how many bytes the Mapping holds now, and Budget how many it may
	// hold.
	Held, Budget int64
	// Reserve is, in [Hooks].MemoryLimited, how many the next poll may bring.
	Reserve int64
}

// An Invocation is one call of the function. In [Hooks].InvokeStuck and
// [DrainError].Stuck it may be a call of a [Destination].
type Invocation struct {
	Mapping string
	BatchID string
	// Attempt is 1 for the first, 0 if it is a call of a Destination.
	Attempt    int
	Partitions []TopicPartition
	Records    int
	// Bytes is the size of keys, values and headers.
	Bytes int64
	// Took is how long it took, or for how long it has been running.
	Took time.Duration
	// Outcome is what became of it, [OutcomeRunning] until it ends.
	Outcome Outcome
	// Err is what the function returned, or a [*PanicError], for errors.As. Of
	// a call that runs it is why its context ended (context.Cause), nil if it has
	// not.
	Err error
	// Pause is, in [Hooks].Throttled, how long nothing is invoked.
	Pause time.Duration
	// Delivery is whether it is a call of a Destination.
	Delivery bool
	// Batch is, in [Hooks].InvokeStarted, what the function gets.
	Batch *Batch `json:"-"`
}

// A Commit reports one commit: which offsets, how long it took, and its error.
type Commit struct {
	Mapping string
	// Offsets are those that were committed.
	Offsets map[TopicPartition]int64
	// Failed are those that were not. They are tried again.
	Failed map[TopicPartition]int64
	// Took is how long it took.
	Took time.Duration
	// Err is why one of those was not, nil if there is none.
	Err error
}

// MarshalJSON writes the offsets as objects, with keys such as "orders/3".
func (c Commit) MarshalJSON() ([]byte, error) {
	type plain Commit // without this method
	return json.Marshal(struct {
		plain
		Offsets, Failed map[string]int64
	}{plain(c), byName(c.Offsets), byName(c.Failed)})
}

func byName(offsets map[TopicPartition]int64) map[string]int64 {
	named := make(map[string]int64, len(offsets))
	for tp, at := range offsets {
		named[fmt.Sprintf("%s/%d", tp.Topic, tp.Partition)] = at
	}
	return named
}

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
			l.Info("the number of pollers changed", "from", d.From, "to", d.To, "cause", d.Reason.Cause.String(), "reason", d.Reason.String())
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
func (w *watch) logGivenUp(b engine.BlockEvent) {
	w.logger.Warn("records are given up", "topic", b.ID.Topic, "partition", b.ID.Partition, "offset", b.Offset, "records", b.Records,
		"reason", Reason(b.Reason).String(), "attempts", b.Attempts, "batch", b.BatchID, "err", b.Err)
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

// logThin writes that calls carry little, and what a window would make of that.
func (w *watch) logThin(e engine.ThinEvent) {
	w.logger.Info("calls carry few records", "records_per_call", tenths(e.Records), "calls_per_second", tenths(e.Calls),
		"advice", fmt.Sprintf("if calls cost money or a round trip, WithBatchWindow(%d * time.Millisecond) would make that about %.0f records a call and %.1f calls a second",
			e.Window.Milliseconds(), e.Then, e.Calls*e.Records/e.Then))
}

// tenths is a number with one digit after the point.
func tenths(f float64) float64 { return math.Round(f*10) / 10 }

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
