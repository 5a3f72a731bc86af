package esm

import (
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
// A hook may keep the slices and maps of an info. It should not change them: all
// Hooks of the Mapping get the same ones. What the Mapping does is not changed by
// that.
type Hooks struct {
	// StateChanged: the Mapping is in another [Phase].
	StateChanged func(StateInfo)
	// ProblemRaised: something keeps the Mapping from working, see [Problem].
	// Called once for each problem.
	ProblemRaised func(ProblemInfo)
	// ProblemCleared: the problem is gone.
	ProblemCleared func(ProblemInfo)

	// Assigned: the group gave partitions to this process. Also called with
	// none, once for each rebalance.
	Assigned func(AssignedInfo)
	// Revoked: partitions moved away, or the session was lost. Called when
	// the process is done with them.
	Revoked func(RevokedInfo)
	// RecordsLost: retention took records before they were read.
	RecordsLost func(LossInfo)
	// PositionReset: the position of a partition moved backward, because the
	// broker lost records or because the committed offset was beyond its end.
	PositionReset func(ResetInfo)

	// Polled: records came from the brokers.
	Polled func(PolledInfo)
	// MemoryLimited: the memory budget keeps the Mapping from polling. Called
	// when that begins.
	MemoryLimited func(MemoryInfo)
	// InvokeStarted: an invocation begins. The batch is valid until the
	// invocation ends.
	InvokeStarted func(InvokeStartedInfo)
	// InvokeEnded: an invocation ended.
	InvokeEnded func(InvokeEndedInfo)
	// InvokeStuck: a call of the function or of a destination goes on after its
	// context ended, for a second, or takes longer than a minute. Called again
	// after ten minutes, and then each hour.
	InvokeStuck func(InvokeStuckInfo)
	// RetryScheduled: a partition waits before its batch is tried again.
	RetryScheduled func(RetryInfo)
	// HeldUp: a partition has been held up by the same batch for a minute.
	// Called once a batch.
	HeldUp func(HeldUpInfo)
	// Discarded: a record was given up, and its destination took it.
	Discarded func(DiscardedInfo)
	// DeliveryFailed: a destination did not take a record. It is delivered
	// again.
	DeliveryFailed func(DeliveryFailedInfo)
	// Throttled: nothing is invoked for a while, because the function asked
	// for it. A throttle that holds up its own partition only is told to
	// RetryScheduled.
	Throttled func(ThrottledInfo)
	// Committed: offsets were committed, or could not be.
	Committed func(CommittedInfo)

	// Sampled: the scaler decided, once a second or when there is news, mostly
	// that all stays as it is. Recorded as JSON, these decisions are a trace for
	// [scaling.Replay].
	Sampled func(scaling.Decision)
	// Scaled: the number of pollers changed.
	Scaled func(scaling.Decision)
}

// StateInfo is what [Hooks].StateChanged gets.
type StateInfo struct {
	Mapping string
	From    Phase
	To      State
}

// ProblemInfo is what [Hooks].ProblemRaised and ProblemCleared get.
type ProblemInfo struct {
	Mapping string
	Problem Problem
}

// AssignedInfo is what [Hooks].Assigned gets.
type AssignedInfo struct {
	Mapping string
	// Added are the partitions that are new to this process.
	Added []TopicPartition
	// Total is how many it has now.
	Total int
}

// RevokedInfo is what [Hooks].Revoked gets.
type RevokedInfo struct {
	Mapping    string
	Partitions []TopicPartition
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

// LossInfo is what [Hooks].RecordsLost gets.
type LossInfo struct {
	Mapping string
	TopicPartition
	// From is the first offset that was not read, and To the one after the
	// last.
	From, To int64
}

// ResetInfo is what [Hooks].PositionReset gets.
type ResetInfo struct {
	Mapping string
	TopicPartition
	// From is the offset that would have been read next, and To the one that
	// will be.
	From, To int64
	// Err is what the client said of it, or nil.
	Err error
}

// PolledInfo is what [Hooks].Polled gets.
type PolledInfo struct {
	Mapping    string
	Partitions int
	Records    int
	// Bytes is the size of keys, values and headers.
	Bytes int64
	// Held is how many bytes the Mapping holds now.
	Held int64
}

// MemoryInfo is what [Hooks].MemoryLimited gets.
type MemoryInfo struct {
	Mapping string
	// Held is what the Mapping holds, Budget what it may hold, and Reserve
	// what the next poll may bring.
	Held, Budget, Reserve int64
}

// InvokeStartedInfo is what [Hooks].InvokeStarted gets.
type InvokeStartedInfo struct {
	Batch *Batch
}

// InvokeEndedInfo is what [Hooks].InvokeEnded gets.
type InvokeEndedInfo struct {
	Mapping    string
	BatchID    string
	Attempt    int
	Partitions []TopicPartition
	Records    int
	Bytes      int64
	Duration   time.Duration
	Outcome    Outcome
	// Err is what the function returned, or a [*PanicError].
	Err error
}

// InvokeStuckInfo is what [Hooks].InvokeStuck gets.
type InvokeStuckInfo struct {
	Mapping    string
	BatchID    string
	Partitions []TopicPartition
	// Running is how long it has been running.
	Running time.Duration
	// Cause is why its context ended (context.Cause), or nil if it is only
	// slow.
	Cause error
	// Delivery is whether it is a call of a [Destination].
	Delivery bool
}

// RetryInfo is what [Hooks].RetryScheduled gets.
type RetryInfo struct {
	Mapping string
	TopicPartition
	// Offset is that of the first of the records that are tried together, which
	// holds the partition up, and Records how many they are.
	Offset  int64
	Records int
	// Attempts is how many attempts failed.
	Attempts int
	Delay    time.Duration
	// Throttles is, where what fails them is a throttle, how many count against
	// these records ([Throttled]), from 2 on; 0 where it is a failure like any
	// other. Below 5 no attempt is charged.
	Throttles int
	Err       error
}

// ThrottledInfo is what [Hooks].Throttled gets.
type ThrottledInfo struct {
	Mapping string
	// For is how long nothing is invoked.
	For time.Duration
	Err error
}

// HeldUpInfo is what [Hooks].HeldUp gets.
type HeldUpInfo struct {
	Mapping string
	Blocker Blocker
}

// DiscardedInfo is what [Hooks].Discarded gets.
type DiscardedInfo struct {
	Mapping string
	TopicPartition
	Offset int64
	Reason Reason
	// Attempts is how many failed.
	Attempts int
	// Err is what the last one failed with, or nil.
	Err error
	// Dropped is whether it was thrown away ([Drop]).
	Dropped bool
	// Took is how long the delivery took.
	Took time.Duration
}

// DeliveryFailedInfo is what [Hooks].DeliveryFailed gets.
type DeliveryFailedInfo struct {
	Mapping string
	TopicPartition
	Offset int64
	Reason Reason
	// Deliveries is how often this record was not taken.
	Deliveries int
	// Delay is how long the partition waits before it is delivered again.
	Delay time.Duration
	Err   error
}

// CommittedInfo is what [Hooks].Committed gets.
type CommittedInfo struct {
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
