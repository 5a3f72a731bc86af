package esm

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

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
	// Again is how many records were settled above the frontier, and will
	// come again to the next owner.
	Again int
}

// A Gap is where the position of a partition moved other than by reading.
type Gap struct {
	Mapping string
	TopicPartition
	// From and To are offsets. Of records that were lost From is the first, and
	// To the one after the last. Where the position moved backward From is what
	// would have been read next, and To what will be.
	From, To int64
	// Err is what the client said of it, or nil.
	Err error
}

// A Poll is what a poll brought, or what stands in its way.
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

// An Invocation is one call of the function, or of a [Destination] where that
// hangs.
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

// A Commit is what was committed.
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
