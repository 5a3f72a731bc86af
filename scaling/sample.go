package scaling

import "time"

// Unlimited is a limit that is none.
const Unlimited = -1

// A Sample is what a [Scaler] knows at one moment. With the samples before it, it
// is all that a decision depends on. It can be written as JSON and read again.
type Sample struct {
	At    time.Time
	Lanes []Lane
	// Pollers is how many there are, of Concurrency invocations each, and
	// Least and Most are their bounds.
	Pollers, Concurrency, Least, Most int
	// ByteRate is how many bytes one poller may move a second, or Unlimited.
	ByteRate int
	// MaxConcurrency is how many invocations may run at once, or Unlimited.
	MaxConcurrency int
	// Busy is how many invocations run, of Slots, and Waiting how many of them
	// wait for a place of the function's own (esm.Waiting).
	Busy, Slots, Waiting int
	// BatchTime is how long one invocation with a full batch takes, and
	// BatchRecords and BatchBytes are what such a batch has. While nothing has
	// completed, the time is that of the longest invocation that runs, which
	// is a lower bound. All are 0 while nothing is known.
	BatchTime    time.Duration
	BatchRecords float64
	BatchBytes   float64
	// Completed, Settled and Throttled count invocations, records and
	// throttles since the start. Failed counts the invocations of those
	// completed that failed.
	Completed, Settled, Throttled, Failed int64
	// Round is how many invocations with a full batch began and succeeded since
	// the number of pollers last changed; RoundTime is the median of the last 63
	// of them, and RoundSpread how far apart the first and the third quartile
	// are. They say what that many at once do to the function.
	Round                  int64
	RoundTime, RoundSpread time.Duration
	// BusyTime is the time of slots that were busy, summed up since the start:
	// its growth over the time between two samples is how many were on average.
	BusyTime time.Duration
	// MemoryLimited is whether slots are idle because the memory budget is
	// used up.
	MemoryLimited bool
	// MemoryBudget is how many bytes of records may be held.
	MemoryBudget int64
	// Idle is whether the Mapping is paused, halted or stopping.
	Idle bool
}

// A Lane is what a Sample says of one partition.
type Lane struct {
	Topic     string
	Partition int32
	// Lag is the number of offsets between the frontier and the end, and -1
	// where it is unknown.
	Lag int64
	// End is the end of the partition, -1 where it is unknown.
	End int64
	// Waiting is how many records of the lag wait on purpose, so that a slot
	// would not help them: in an open window or in flight.
	Waiting int64
	// Backoff is whether the partition waits to try a failed batch again.
	Backoff bool
}

// A partition names a Lane.
type partition struct {
	topic  string
	number int32
}

func (l *Lane) partition() partition { return partition{l.Topic, l.Partition} }
