package esm

import (
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/scaling"
)

// A watcher is told what happens. The engine and the Kafka side know nothing of
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
// note, over, troubles, trouble, anyTrouble, wantsCalls, wantsPolls and logs run nobody's code, take no lock but
// a leaf, and may be called with the engine's lock.
type watcher interface {
	// note books that there is a problem with something, or with a nil error
	// that there is none. It books it at once, so that of two that are noted in
	// an order the second holds. What is returned tells it, and is nil if there
	// is nothing to tell.
	note(with string, err error, now time.Time) (tell func())
	// over ends a problem, unless it was seen again since it was listed.
	over(trouble) (tell func())
	// troubles lists the problems, the oldest first, trouble is the one with
	// something, or nil, and anyTrouble reports whether there are any.
	troubles() []trouble
	trouble(with string) *trouble
	anyTrouble() bool

	assigned(added []partition.ID, total int)
	revoked(revokeEvent)
	recordsLost(tp partition.ID, from, to int64)
	positionReset(tp partition.ID, from, to int64, err error)
	startsLate(tp partition.ID, why string, err error)
	setBack(tp partition.ID, position int64, stood time.Duration)

	wantsPolls() bool
	polled(pollEvent)
	memoryLimited(pollEvent)

	wantsCalls() bool
	ended(callEvent) // what became of a call
	stuck(callEvent)
	throttled(callEvent)
	reread(tp partition.ID, first int64, records int)

	retryScheduled(blockEvent)
	heldUp(blockEvent)
	// givenUp says that records will not be tried again, and kept that they
	// would not be if there were a destination.
	givenUp(blockEvent)
	kept(batchID string, outcome int, err error)
	discarded(discardEvent)
	deliveryFailed(discardEvent)

	committed(offsets, failed map[partition.ID]int64, took time.Duration, err error)

	scaled(scaling.Decision)

	// logs reports whether the log has a level, and log writes there what the
	// Kafka client says. askLevel finds out about the levels, now and then.
	logs(slog.Level) bool
	log(level slog.Level, msg string, attrs ...any)
	askLevel()
}

// A trouble is a problem as the engine knows it.
type trouble struct {
	with        string
	err         error
	since, last time.Time
}

// A revokeEvent says how partitions went.
type revokeEvent struct {
	partitions []partition.ID
	lost       bool // the session had ended already
	waited     time.Duration
	cancelled  int   // calls
	commitErr  error // of the last commit
	again      int   // records that come again although they are settled
	total      int   // partitions that are left
}

// A pollEvent says what a poll brought, or why there is none.
type pollEvent struct {
	partitions, records   int
	bytes                 int64
	held, budget, reserve int64
}

// A callEvent says what became of a call of the function, or how it goes.
type callEvent struct {
	id         string
	attempt    int
	partitions []partition.ID
	records    int
	bytes      int64
	took       time.Duration // until now, if it still runs
	outcome    int           // as Outcome counts them
	err        error
	pause      time.Duration // of a throttle
	delivery   bool          // it is a call of the destination
}

// event is what is told of a call that ended.
func (l *lease) event(v plan.Verdict, parts []*part, took time.Duration) callEvent {
	call := callEvent{id: l.id, attempt: l.attempt, records: l.count, bytes: l.bytes, took: took, outcome: int(v.Outcome), err: v.Err}
	for _, p := range parts {
		call.partitions = append(call.partitions, p.lane.ID)
	}
	return call
}

// running is what is told of a call that goes on.
func (l *lease) running(took time.Duration, cause error) callEvent {
	return callEvent{id: l.id, attempt: l.attempt, partitions: l.partitions(), records: l.count, bytes: l.bytes,
		took: took, outcome: outcomeRunning, err: cause, delivery: l.poller == nil}
}

// outcomeRunning is that of a call that goes on.
const outcomeRunning = -1

// A blockEvent says what holds a partition up.
type blockEvent struct {
	tp         partition.ID
	offset     int64
	records    int
	attempts   int
	throttles  int // that count against them
	since      time.Time
	next       time.Time // when they are tried again, zero for now
	err        error
	reason     int // as Reason counts them
	deliveries int
	batchID    string // that had them last
}

// A discardEvent says what became of a record that was given up.
type discardEvent struct {
	record                  *kgo.Record // of nobody else, with its own coordinates
	reason                  int         // as Reason counts them
	attempts                int
	firstErr, err           error
	firstFailed, lastFailed time.Time
	batchID                 string
	batchRecords            int
	delivery                int // which one it was
	took                    time.Duration
	dropped                 bool
	deliveryErr             error     // why it was not taken
	next                    time.Time // when it is delivered again
}
