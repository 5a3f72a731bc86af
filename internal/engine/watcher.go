package engine

import (
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/scaling"
)

// A Watcher is told what happens. The engine and the Kafka side know nothing of
// hooks, of the log or of the words that users read: they say it here, in plain
// arguments.
//
// # The contract
//
// A method that tells something may run code of the user's. So it is called
// without the engine's lock (see later), and it returns in bounded time. Slices
// and maps are the watcher's own afterwards. Errors were kept by guard, or are
// ours.
//
// Note, Over, Troubles, Trouble, AnyTrouble, WantsCalls, WantsPolls and Logs run
// nobody's code, take no lock but a leaf, and may be called with the engine's lock.
type Watcher interface {
	// Note books that there is a problem with something, or with a nil error
	// that there is none. It books it at once, so that of two that are noted in
	// an order the second holds. What is returned tells it, and is nil if there
	// is nothing to tell.
	Note(with string, err error, now time.Time) (tell func())
	// Over ends a problem, unless it was seen again since it was listed.
	Over(Trouble) (tell func())
	// Troubles lists the problems, the oldest first, Trouble is the one with
	// something, or nil, and AnyTrouble reports whether there are any.
	Troubles() []Trouble
	Trouble(with string) *Trouble
	AnyTrouble() bool

	Assigned(added []partition.ID, total int)
	Revoked(RevokeEvent)
	RecordsLost(tp partition.ID, from, to int64)
	PositionReset(tp partition.ID, from, to int64, err error)
	StartsLate(tp partition.ID, why string, err error)
	SetBack(tp partition.ID, position int64, stood time.Duration)

	WantsPolls() bool
	Polled(PollEvent)
	MemoryLimited(PollEvent)

	WantsCalls() bool
	Ended(CallEvent) // what became of a call
	Stuck(CallEvent)
	Throttled(CallEvent)
	Reread(tp partition.ID, first int64, records int)
	Thin(ThinEvent)

	RetryScheduled(BlockEvent)
	HeldUp(BlockEvent)
	// GivenUp says that records will not be tried again, and Kept that they
	// would not be if there were a destination.
	GivenUp(BlockEvent)
	Kept(batchID string, outcome plan.Outcome, err error)
	Discarded(DiscardEvent)
	DeliveryFailed(DiscardEvent)

	Committed(offsets, failed map[partition.ID]int64, took time.Duration, err error)

	Scaled(scaling.Decision)

	// Logs reports whether the log has a level, and Log writes there what the
	// Kafka client says. AskLevel finds out about the levels, now and then.
	Logs(slog.Level) bool
	Log(level slog.Level, msg string, attrs ...any)
	AskLevel()
}

// A Trouble is a problem as the engine knows it.
type Trouble struct {
	With        string
	Err         error
	Since, Last time.Time
}

// A ThinEvent says that calls carry few records, and what a window would make of
// that.
type ThinEvent struct {
	Calls   float64       // a second, over the last minutes,
	Records float64       // that each carried,
	Window  time.Duration // and what they would carry
	Then    float64       // with this window
}

// A RevokeEvent says how partitions went.
type RevokeEvent struct {
	Partitions []partition.ID
	Lost       bool // the session had ended already
	Waited     time.Duration
	Cancelled  int   // calls
	CommitErr  error // of the last commit
	Again      int   // records that come again although they are settled
	Total      int   // partitions that are left
}

// A PollEvent says what a poll brought, or why there is none.
type PollEvent struct {
	Partitions, Records   int
	Bytes                 int64
	Held, Budget, Reserve int64
}

// A CallEvent says what became of a call of the function, or how it goes.
type CallEvent struct {
	ID         string
	Attempt    int
	Partitions []partition.ID
	Records    int
	Bytes      int64
	Took       time.Duration // until now, if it still runs
	Outcome    plan.Outcome
	Err        error
	Pause      time.Duration // of a throttle
	Delivery   bool          // it is a call of the destination
}

// event says what became of a call.
func (l *lease) event(v plan.Verdict, parts []*part, took time.Duration) CallEvent {
	call := CallEvent{ID: l.ID, Attempt: l.Attempt, Records: l.count, Bytes: l.Bytes, Took: took, Outcome: v.Outcome, Err: v.Err}
	for _, p := range parts {
		call.Partitions = append(call.Partitions, p.lane.ID)
	}
	return call
}

// running says how a call goes that has not ended.
func (l *lease) running(took time.Duration, cause error) CallEvent {
	return CallEvent{ID: l.ID, Attempt: l.Attempt, Partitions: l.partitions(), Records: l.count, Bytes: l.Bytes,
		Took: took, Outcome: plan.OutcomeRunning, Err: cause, Delivery: l.poller == nil}
}

// A BlockEvent says what holds a partition up.
type BlockEvent struct {
	ID         partition.ID
	Offset     int64
	Records    int
	Attempts   int
	Throttles  int // that count against them
	Since      time.Time
	Next       time.Time // when they are tried again, zero for now
	Err        error
	Reason     plan.Reason
	Deliveries int
	BatchID    string // that had them last
}

// A DiscardEvent says what became of a record that was given up.
type DiscardEvent struct {
	Record                  *kgo.Record // of nobody else, with its own coordinates
	Reason                  plan.Reason
	Attempts                int
	FirstErr, Err           error
	FirstFailed, LastFailed time.Time
	BatchID                 string
	BatchRecords            int
	Delivery                int // which one it was
	Took                    time.Duration
	Dropped                 bool
	DeliveryErr             error     // why it was not taken
	Next                    time.Time // when it is delivered again
}
