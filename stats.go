package esm

import (
	"context"
	"encoding/json"
	"time"
)

// Stats is a consistent snapshot of a [Mapping]. Numbers that end in Count,
// and those said to be cumulative, count since Start; all others are of the
// moment.
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
	// ScaleReason is why the number of pollers is what it is.
	ScaleReason string

	// Partitions is how many are assigned to this process.
	Partitions int
	// OffsetLag is the lag of those. (AWS: OffsetLag, SumOffsetLag,
	// MaxOffsetLag.)
	OffsetLag Lag

	// PolledEventCount is how many records were read.
	PolledEventCount int64
	// FilteredOutEventCount is how many of those no filter wanted.
	FilteredOutEventCount int64
	// InvokedEventCount is how many records were handed to the function;
	// retries count again.
	InvokedEventCount int64
	// FailedInvokeEventCount is how many of those were in an invocation that
	// failed.
	FailedInvokeEventCount int64
	// OnFailureDestinationDeliveredEventCount is how many records were given up
	// and taken by their [Destination], and DestinationDeliveryFailures how
	// often it did not take one.
	OnFailureDestinationDeliveredEventCount, DestinationDeliveryFailures int64
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
	// CommitErrorCount is how many commits failed.
	CommitErrorCount int64
	// Rebalances is how many rebalances there were after the first
	// assignment.
	Rebalances int64
	// Resets is how often the position of a partition moved backward.
	Resets int64

	// PolledBytes is the size of the keys, values and headers that were read,
	// and FetchedBytes that of the fetch responses; both are cumulative.
	PolledBytes, FetchedBytes int64
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
	// WaitingPartitions is how many partitions are in back-off.
	WaitingPartitions int
	// ThrottledUntil is until when nothing is invoked, if that is not over.
	ThrottledUntil time.Time `json:",omitzero"`
	// InvokeDuration is how long an invocation takes, averaged over the last
	// ones.
	InvokeDuration time.Duration
}

// Lag is the lag of several partitions, of which some may be unknown. The zero
// Lag is unknown.
type Lag struct {
	sum, max int64
	unknown  int
	measured bool
}

// Sum is the lag of all partitions together, and whether all of it is known.
// If not, it is that of the others. While the Mapping is not in its group, and
// so does not even know its partitions, it is unknown.
func (l Lag) Sum() (int64, bool) { return l.sum, l.measured && l.unknown == 0 }

// Max is the largest lag of one partition, and whether all of them are known.
func (l Lag) Max() (int64, bool) { return l.max, l.measured && l.unknown == 0 }

// Unknown is how many partitions have an unknown lag.
func (l Lag) Unknown() int { return l.unknown }

// MarshalJSON writes {"sum": 12, "max": 7, "unknown": 0}, with null for what is
// unknown.
func (l Lag) MarshalJSON() ([]byte, error) {
	var shown struct {
		Sum     *int64 `json:"sum"`
		Max     *int64 `json:"max"`
		Unknown int    `json:"unknown"`
	}
	if _, known := l.Sum(); known {
		shown.Sum, shown.Max = &l.sum, &l.max
	}
	shown.Unknown = l.unknown
	return json.Marshal(shown)
}

func (l *Lag) add(lag int64, known bool) {
	if !known {
		l.unknown++
		return
	}
	l.sum += lag
	l.max = max(l.max, lag)
}

// PartitionStats is what is known of one partition. Offsets are -1 where they
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

// counters count since the start.
type counters struct {
	polls, polled, polledBytes                int64
	invoked, failed, settled, committed, lost int64
	invocations, errors, throttles, abandoned int64
	apart                                     int64 // throttles that held up their own partitions only
	retries, commitErrors, rebalances, resets int64
	evicted, reread                           int64
	delivered, undelivered, dropped           int64
	scaleReason                               string
	rateAt                                    time.Time
	rateBytes                                 int64
	bytesPerSecond                            float64
}

// tally counts what became of an invocation.
func (e *engine) tally(l *lease, v verdict, took time.Duration, now time.Time) {
	e.progress = now
	e.function.ended = now
	if v.outcome != planOutcomeAbandoned {
		e.function.last, e.function.lastErr, e.function.lastAt = v.outcome, "", now
		if v.err != nil {
			e.function.lastErr = v.err.Error() // which keep made
		}
	}
	if v.outcome != planOutcomeThrottled && v.outcome != planOutcomeHalt && v.outcome != planOutcomeAbandoned && !v.blamed {
		e.evidence.answered()
	}
	if v.outcome == planOutcomeSuccess || v.outcome == planOutcomePartial && len(v.failures) < l.count {
		e.function.succeeded(now, e.pool.busy > 0)
	}
	switch v.outcome {
	case planOutcomeFailure:
		e.counts.errors++
		e.counts.failed += int64(l.count)
	case planOutcomeAbandoned:
		e.counts.abandoned++
		return
	case planOutcomePartial:
		e.counts.errors++
		e.counts.failed += int64(len(v.failures))
	case planOutcomePermanent, planOutcomeTooLarge:
		e.counts.errors++
		e.counts.failed += int64(l.count)
	case planOutcomeThrottled, planOutcomeHalt:
		return
	}
	full := 2*l.count >= e.cfg.batchSize || 2*l.bytes >= int64(e.cfg.batchBytes)
	e.pace.ended(took, l.count, l.bytes, full)
	if e.pace.completed == scaleMinimum {
		e.scaleBell.ring()
	}
}

// stats takes a snapshot.
func (e *engine) stats(now time.Time) Stats {
	e.mu.Lock()
	defer e.unlock()
	c := &e.counts
	s := Stats{
		At:                                      now,
		ProvisionedPollers:                      e.pool.size,
		ActivePollers:                           e.pool.activeSince(now.Add(-5 * time.Minute)),
		ScaleReason:                             c.scaleReason,
		Partitions:                              len(e.lanes),
		PolledEventCount:                        c.polled,
		InvokedEventCount:                       c.invoked,
		FailedInvokeEventCount:                  c.failed,
		CommittedEventCount:                     c.committed,
		SettledEventCount:                       c.settled,
		EvictedEventCount:                       c.evicted,
		RereadEventCount:                        c.reread,
		LostEventCount:                          c.lost,
		OnFailureDestinationDeliveredEventCount: c.delivered,
		DestinationDeliveryFailures:             c.undelivered,
		DroppedEventCount:                       c.dropped,
		InvokeCount:                             c.invocations,
		InvokeErrorCount:                        c.errors,
		ThrottleCount:                           c.throttles,
		AbandonedCount:                          c.abandoned,
		RetryCount:                              c.retries,
		CommitErrorCount:                        c.commitErrors,
		Rebalances:                              max(0, c.rebalances-1),
		Resets:                                  c.resets,
		PolledBytes:                             c.polledBytes,
		FetchedBytes:                            e.memory.Wire().Fetched(),
		HeldBytes:                               e.memory.Held() + e.memory.Spare(),
		MemoryBudget:                            e.memory.Budget(),
		MemoryLimited:                           !e.limitedAt.IsZero(),
		Slots:                                   e.pool.size * e.pool.concurrency,
		BusySlots:                               e.pool.busy,
		WaitingPartitions:                       len(e.waiting),
		InvokeDuration:                          e.pace.service(),
	}
	if e.throttledUntil.After(now) {
		s.ThrottledUntil = e.throttledUntil
	}
	const unitPollers, unitBytes = 10, 20_000_000
	s.EventPollerUnits = max((e.pool.size+unitPollers-1)/unitPollers, int((c.bytesPerSecond+unitBytes-1)/unitBytes))
	for l := range e.leases {
		ran, waits := l.ran(now)
		switch {
		case context.Cause(l.ctx) != nil:
			s.StuckSlots++
		case ran >= slowCall:
			s.SlowSlots++
		}
		if waits {
			s.WaitingSlots++
		}
	}
	s.OffsetLag.measured = e.member
	for _, l := range e.lanes {
		s.OffsetLag.add(l.lag(now))
	}
	return s
}

// measure keeps the rate at which bytes are polled.
func (e *engine) measure(now time.Time) {
	c := &e.counts
	if seconds := now.Sub(c.rateAt).Seconds(); !c.rateAt.IsZero() && seconds > 0 {
		c.bytesPerSecond = float64(c.polledBytes-c.rateBytes) / seconds
	}
	c.rateAt, c.rateBytes = now, c.polledBytes
}

// partitions appends what is known of each partition.
func (e *engine) partitions(dst []PartitionStats, now time.Time) []PartitionStats {
	e.mu.Lock()
	defer e.unlock()
	for _, l := range e.lanes {
		s := PartitionStats{
			TopicPartition: TopicPartition(l.ID), State: l.state.String(),
			Committed: l.committed, Frontier: l.frontier(), Position: l.next, End: l.end,
			Queued: l.count, QueuedBytes: l.bytes,
		}
		s.Lag, s.LagKnown = l.lag(now)
		if p := l.part(); p != nil {
			if l.state == laneLeased {
				s.InFlight = len(p.left[0].records)
			} else {
				s.Queued += len(p.records)
				s.QueuedBytes += p.bytes
			}
		}
		if c := e.busy[l.ID]; c != nil {
			s.BatchID, s.Since = c.id, c.started
		}
		s.Blocker = l.blocker()
		dst = append(dst, s)
	}
	return dst
}

// sample is what the scaler gets to know.
func (e *engine) sample(now time.Time) ScaleSample {
	e.mu.Lock()
	defer e.unlock()
	e.measure(now)
	e.watchCalls(now)
	e.watchBlockers(now)
	e.reviewFunction(now)
	least, most := bounds(e.cfg, len(e.lanes))
	s := ScaleSample{
		At: now, Lanes: make([]LaneSample, 0, len(e.lanes)),
		Pollers: e.pool.size, Concurrency: e.cfg.pollerConcurrency, Least: least, Most: most, ByteRate: e.cfg.pollerByteRate,
		MaxConcurrency: e.cfg.maxConcurrency, Busy: e.pool.busy, Slots: e.pool.size * e.cfg.pollerConcurrency,
		Completed: e.pace.completed, Settled: e.counts.settled, Throttled: e.counts.throttles - e.counts.apart,
		Idle: e.holds != 0,
	}
	perRecord := 0.0
	if e.counts.polled > 0 {
		perRecord = float64(e.counts.polledBytes) / float64(e.counts.polled)
	}
	for l := range e.leases {
		if _, waits := l.ran(now); waits {
			s.Waiting++
		}
	}
	s.BatchTime, s.BatchRecords, s.BatchBytes = e.pace.batch(e.cfg.batchSize, perRecord)
	if e.pace.completed == 0 {
		for l := range e.leases {
			ran, _ := l.ran(now)
			s.BatchTime = max(s.BatchTime, ran)
		}
	}
	closed := !e.limitedAt.IsZero() && !e.queue.any()
	for _, l := range e.lanes {
		// While each lane has an invocation, memory holds nobody up.
		if closed && (l.state == laneIdle || l.state == laneFilling) && e.starved(l, e.cfg.batchSize, now) {
			s.MemoryLimited = true
		}
		ls := LaneSample{TopicPartition: TopicPartition(l.ID), Lag: -1, End: l.end, Backoff: l.state == laneWaiting || l.discarding()}
		if lag, known := l.lag(now); known {
			ls.Lag = lag
		}
		if l.state == laneFilling {
			ls.Waiting = int64(l.count)
		} else if p := l.part(); p != nil {
			ls.Waiting = int64(len(p.records))
		}
		s.Lanes = append(s.Lanes, ls)
	}
	return s
}
