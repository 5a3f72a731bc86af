package esm

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/scaling"
)

// Stats is a consistent snapshot of a [Mapping]. What ends in Count counts since
// Start, what ends in Total is summed up since then, and so is InvokeDurations. All
// else is of the moment. As JSON a time.Duration is a number of nanoseconds, as
// everywhere in Go; what is unknown is null.
type Stats struct {
	At    time.Time
	Phase Phase

	// ProvisionedPollers is the number of pollers. (AWS: the metric of that
	// name.)
	ProvisionedPollers int
	// ActivePollers is how many pollers had an invocation in the last five
	// minutes, including those that are gone.
	ActivePollers int
	// EventPollerUnits is what AWS would bill: one for each 10 pollers, or
	// for each 20 MB/s that was polled in the last second, if that is more.
	// (AWS: EventPollerUnit.)
	EventPollerUnits int
	// PollerSecondsTotal is the time of pollers: two for an hour are 7,200 seconds.
	// EventPollerUnitSecondsTotal is that of event poller units, which AWS bills: divided
	// by 3,600, times the price of a unit for an hour, it is what this Mapping would cost
	// there.
	PollerSecondsTotal, EventPollerUnitSecondsTotal float64
	// ScaleReason is why the number of pollers is what it is.
	ScaleReason scaling.Reason

	// Partitions is how many are assigned to this process.
	Partitions int
	// OffsetLag is the lag of those. (AWS: OffsetLag, SumOffsetLag,
	// MaxOffsetLag.)
	OffsetLag Lag
	// TimeLag is how old the oldest record is that is not settled, by its timestamp.
	TimeLag TimeLag

	// PolledEventCount is how many records were read.
	PolledEventCount int64
	// InvokedEventCount is how many records were handed to the function;
	// retries count again.
	InvokedEventCount int64
	// FailedInvokeEventCount is how many of those were in an invocation that
	// failed.
	FailedInvokeEventCount int64
	// OnFailureDestinationDeliveredEventCount is how many records were given up
	// and taken by their [Destination], and DeliveryFailureCount how often it did
	// not take one. (AWS: the latter is DestinationDeliveryFailures.)
	OnFailureDestinationDeliveredEventCount, DeliveryFailureCount int64
	// DroppedEventCount is how many records were given up and thrown away by
	// [Drop].
	DroppedEventCount int64
	// CommittedEventCount is the sum over the partitions of how far the
	// committed offset moved.
	CommittedEventCount int64
	// SettledEventCount is how many records are done with.
	SettledEventCount int64
	// EvictedEventCount is how many records were given back unhandled, to make
	// room while their partition was in back-off. They are read again, and
	// counted as polled again.
	EvictedEventCount int64
	// RereadEventCount is how many records were read again because the function
	// replaced their key, value or headers before they had to be tried again.
	RereadEventCount int64
	// LostEventCount is how many offsets retention took before they were
	// read.
	LostEventCount int64

	// InvokeCount, InvokeErrorCount, ThrottleCount and AbandonedCount count
	// invocations: all, those that failed, those that were throttled, and
	// those that the engine cut short.
	InvokeCount, InvokeErrorCount, ThrottleCount, AbandonedCount int64
	// RetryCount is how often a partition went into back-off.
	RetryCount int64
	// CommitErrorCount is how many commits failed, and PollingErrorCount how many
	// polls brought an error and how many fetches got no answer.
	CommitErrorCount, PollingErrorCount int64
	// RebalanceCount is how many rebalances there were after the first
	// assignment.
	RebalanceCount int64
	// ResetCount is how often the position of a partition moved backward.
	ResetCount int64

	// PolledByteCount is the size of the keys, values and headers that were read,
	// and FetchedByteCount that of the fetch responses.
	PolledByteCount, FetchedByteCount int64
	// HeldBytes is what the Mapping holds in memory, of MemoryBudget, and
	// MemoryLimited whether that keeps it from polling.
	HeldBytes, MemoryBudget int64
	MemoryLimited           bool

	// Slots is how many invocations the pollers can have at once, BusySlots
	// how many they have, and WaitingSlots how many of those wait for a place
	// of the function's own ([Waiting]). SlowSlots is how many calls have been
	// running for more than a minute, and StuckSlots how many go on although
	// their context ended; deliveries are among these two.
	Slots, BusySlots, WaitingSlots, SlowSlots, StuckSlots int
	// MinPollers, MaxPollers and MaxConcurrency are the bounds of this process now:
	// what is set, with pollers for its partitions at most, and Unlimited for a
	// concurrency that is. With [WithGroupBounds] they are its share. A share of 0 is
	// none, or unknown: the process has one slot all the same.
	MinPollers, MaxPollers, MaxConcurrency int
	// ReadyPartitions is how many partitions have a batch that waits for a slot, and
	// WaitingPartitions how many are in back-off. Free slots and a lag without ready
	// partitions are a want of records: see MemoryLimited.
	ReadyPartitions, WaitingPartitions int
	// ThrottledUntil is until when nothing is invoked, if that is not over.
	ThrottledUntil time.Time `json:",omitzero"`
	// InvokeDuration is how long an invocation takes, averaged over the last
	// ones.
	InvokeDuration time.Duration
	// InvokeDurations are how long the invocations took that reached the function,
	// without the time in which it waited for a place ([Waiting]).
	InvokeDurations Histogram
	// CommitDuration is how long the last commit took that was answered, and
	// FetchDuration the last fetch, from its request to the end of the response: a
	// broker that has nothing new waits before it answers. 0 if there was none.
	CommitDuration, FetchDuration time.Duration
	// RecordsPerCall is how many records an invocation carries, averaged over the
	// last five minutes, without those that tried records again; 0 if there was
	// none. What raises it is [WithBatchWindow].
	RecordsPerCall float64
}

// statsOf is what a snapshot says to users.
func statsOf(s *engine.Snapshot, now time.Time) Stats {
	return Stats{
		At:                                      now,
		ProvisionedPollers:                      s.Pollers,
		ActivePollers:                           s.ActivePollers,
		EventPollerUnits:                        s.Units,
		PollerSecondsTotal:                      s.PollerSeconds,
		EventPollerUnitSecondsTotal:             s.UnitSeconds,
		TimeLag:                                 TimeLag{s.Age, s.Member, now},
		ScaleReason:                             s.ScaleReason,
		Partitions:                              s.Lanes,
		OffsetLag:                               Lag{s.Lag, s.Member},
		PolledEventCount:                        s.Polled,
		InvokedEventCount:                       s.Invoked,
		FailedInvokeEventCount:                  s.Failed,
		OnFailureDestinationDeliveredEventCount: s.Delivered,
		DeliveryFailureCount:                    s.Undelivered,
		DroppedEventCount:                       s.Dropped,
		CommittedEventCount:                     s.Committed,
		SettledEventCount:                       s.Settled,
		EvictedEventCount:                       s.Evicted,
		RereadEventCount:                        s.Reread,
		LostEventCount:                          s.Lost,
		InvokeCount:                             s.Invocations,
		InvokeErrorCount:                        s.Errors,
		ThrottleCount:                           s.Throttles,
		AbandonedCount:                          s.Abandoned,
		RetryCount:                              s.Retries,
		CommitErrorCount:                        s.CommitErrors,
		PollingErrorCount:                       s.PollErrors,
		RebalanceCount:                          max(0, s.Rebalances-1),
		ResetCount:                              s.Resets,
		PolledByteCount:                         s.PolledBytes,
		FetchedByteCount:                        s.FetchedBytes,
		HeldBytes:                               s.Held,
		MemoryBudget:                            s.Budget,
		MemoryLimited:                           s.MemoryLimited,
		Slots:                                   s.Slots,
		BusySlots:                               s.Busy,
		WaitingSlots:                            s.Placeless,
		SlowSlots:                               s.Slow,
		StuckSlots:                              s.Stuck,
		MinPollers:                              s.Bounds.Least,
		MaxPollers:                              s.Bounds.Most,
		MaxConcurrency:                          s.Bounds.Calls,
		ReadyPartitions:                         s.Queued,
		WaitingPartitions:                       s.Waiting,
		ThrottledUntil:                          s.ThrottledUntil,
		InvokeDuration:                          s.Service,
		InvokeDurations:                         Histogram{s.Took.Counts, s.Took.Seconds},
		CommitDuration:                          s.CommitTook,
		FetchDuration:                           s.FetchTook,
		RecordsPerCall:                          s.RecordsPerCall,
	}
}

// Lag is the lag of several partitions, of which some may be unknown. The zero
// Lag is unknown.
type Lag struct {
	of       engine.LagSum
	measured bool
}

// Sum is the lag of all partitions together, and whether all of it is known.
// If not, it is that of the others. While the Mapping is not in its group, and
// so does not even know its partitions, it is unknown.
func (l Lag) Sum() (int64, bool) { return l.of.Sum, l.measured && l.of.Unknown == 0 }

// Max is the largest lag of one partition, and whether all of them are known.
func (l Lag) Max() (int64, bool) { return l.of.Max, l.measured && l.of.Unknown == 0 }

// Unknown is how many partitions have an unknown lag.
func (l Lag) Unknown() int { return l.of.Unknown }

// MarshalJSON writes {"sum": 12, "max": 7, "unknown": 0}, with null for what is
// unknown.
func (l Lag) MarshalJSON() ([]byte, error) {
	var shown struct {
		Sum     *int64 `json:"sum"`
		Max     *int64 `json:"max"`
		Unknown int    `json:"unknown"`
	}
	if _, known := l.Sum(); known {
		shown.Sum, shown.Max = &l.of.Sum, &l.of.Max
	}
	shown.Unknown = l.of.Unknown
	return json.Marshal(shown)
}

// TimeLag is how old the oldest record of several partitions is that is not settled. The
// zero TimeLag is unknown.
type TimeLag struct {
	of       engine.AgeSum
	measured bool
	at       time.Time
}

// Max is the age of the oldest record, 0 if all are settled, and whether it is known of
// every partition. It is not known of one that has records that were not read yet and none
// in memory, nor where the lag is unknown or a record has no timestamp; if so, it is that of
// the others.
func (l TimeLag) Max() (time.Duration, bool) {
	known := l.measured && l.of.Unknown == 0
	if l.of.Oldest.IsZero() {
		return 0, known
	}
	return max(0, l.at.Sub(l.of.Oldest)), known
}

// Unknown is how many partitions have an unknown age.
func (l TimeLag) Unknown() int { return l.of.Unknown }

// MarshalJSON writes {"seconds": 1.5, "unknown": 0}, with null for what is unknown.
func (l TimeLag) MarshalJSON() ([]byte, error) {
	var shown struct {
		Seconds *float64 `json:"seconds"`
		Unknown int      `json:"unknown"`
	}
	if age, known := l.Max(); known {
		s := age.Seconds()
		shown.Seconds = &s
	}
	shown.Unknown = l.of.Unknown
	return json.Marshal(shown)
}

// Histogram is how often something took how long, since Start.
type Histogram struct {
	// Counts has a number for each of [HistogramBounds], of what took no longer than that
	// and longer than the bound before, and at the end one for all that took longer.
	Counts [18]int64
	// Seconds is how many all of them took together.
	Seconds float64
}

// HistogramBounds are the bounds of a [Histogram]: from 1 ms to 15 min.
func HistogramBounds() []time.Duration { return engine.HistogramBounds() }

// Count is how many there were.
func (h Histogram) Count() (n int64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// MarshalJSON writes {"count": 7, "seconds": 0.21, "at most": {"50ms": 4, "100ms": 3}}: what took
// no longer than that and longer than the bound before, without bounds that have none. What
// took longer than the last bound is under "longer".
func (h Histogram) MarshalJSON() ([]byte, error) {
	b := fmt.Appendf(nil, `{"count":%d,"seconds":%s,"at most":{`, h.Count(), strconv.FormatFloat(h.Seconds, 'g', -1, 64))
	sep, last := "", len(h.Counts)-1
	for i, bound := range HistogramBounds() {
		if n := h.Counts[i]; n > 0 {
			b = fmt.Appendf(b, `%s%q:%d`, sep, bound, n)
			sep = ","
		}
	}
	return fmt.Appendf(b, `},"longer":%d}`, h.Counts[last]), nil
}

// PartitionStats are the numbers of one assigned partition. Offsets are -1 where they
// are unknown.
type PartitionStats struct {
	TopicPartition
	// State is "idle", "filling" (its window is open), "ready", "invoking",
	// "waiting" (in back-off), "rereading" (records that the function changed
	// are read again), "discarding" (its records are about to be delivered to
	// the destination) or "blocked" (a call from before a rebalance still runs
	// for it).
	State string
	// Committed is the committed offset, Frontier the offset below which all
	// is settled, Position the next one to be read, and End the end of the
	// partition.
	Committed, Frontier, Position, End int64
	// Lag is End less Frontier, or less the start of the log if that is
	// later; it means something if LagKnown.
	Lag      int64
	LagKnown bool
	// Oldest is the timestamp of the oldest record that is not settled, zero if there is
	// none or it is unknown: see [TimeLag.Max].
	Oldest time.Time `json:",omitzero"`
	// Queued and QueuedBytes are what is in memory and in no invocation, and
	// InFlight is how many records the invocation has.
	Queued      int
	QueuedBytes int64
	InFlight    int
	// BatchID is the invocation or delivery that runs for it, "" if there is
	// none, and Since since when.
	BatchID string    `json:",omitempty"`
	Since   time.Time `json:",omitzero"`
	// Blocker is the record that holds the partition up, or nil.
	Blocker *Blocker
}

// partitionStatsOf is what a row says to users.
func partitionStatsOf(mapping string, r *engine.Row) PartitionStats {
	s := PartitionStats{
		TopicPartition: TopicPartition(r.ID), State: r.State,
		Committed: r.Committed, Frontier: r.Frontier, Position: r.Position, End: r.End, Lag: r.Lag, LagKnown: r.LagKnown, Oldest: r.Oldest,
		Queued: r.Queued, QueuedBytes: r.QueuedBytes, InFlight: r.InFlight,
		BatchID: r.CallID, Since: r.CallSince,
	}
	if r.Blocked {
		s.Blocker = blockerOf(mapping, r.Block)
	}
	return s
}
