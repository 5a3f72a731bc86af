package scaling

import (
	"fmt"
	"time"
)

// A Cause is what a [Decision] was made for: a label, of which there are few.
type Cause int

const (
	// NoCause: nothing has been decided yet.
	NoCause Cause = iota
	// Assignment: partitions came or went, and with them the bounds.
	Assignment
	// Options: they changed, and with them the bounds.
	Options
	// NoMember: the Mapping is out of its group.
	NoMember
	// Idle: the Mapping is paused, halted or stopping.
	Idle
	// NoLag: there is nothing to do.
	NoLag
	// InFlight: what lags is in flight, or waits in open windows.
	InFlight
	// Backlog: records wait for slots.
	Backlog
	// Arrivals: so many are needed to keep up with what arrives.
	Arrivals
	// ByteRate: the bytes of the records need more pollers than the calls do.
	ByteRate
	// Backoff: what lags waits to be tried again.
	Backoff
	// UnknownLag: the lag of partitions is unknown, which is not 0.
	UnknownLag
	// Measuring: too few calls have ended to say how long one takes.
	Measuring
	// Memory: the memory budget keeps slots idle, not the number of pollers.
	Memory
	// Places: calls wait for a place of the function's own (esm.Waiting).
	Places
	// Throttles: the function throttles.
	Throttles
	// Failures: most calls fail, and more at once would not help.
	Failures
	// Latency: calls take longer the more there are at once.
	Latency
	// Cadence: on-demand, the number is decided once a minute.
	Cadence
)

var causes = [...]string{"none", "assignment", "options", "no member", "idle", "no lag", "in flight", "backlog", "arrivals", "byte rate", "back-off", "unknown lag", "measuring", "memory", "places", "throttles", "failures", "latency", "cadence"}

// String names the cause.
func (c Cause) String() string {
	if c < 0 || int(c) >= len(causes) {
		return fmt.Sprintf("Cause(%d)", int(c))
	}
	return causes[c]
}

// MarshalText is String, for JSON and labels.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Cause) UnmarshalText(text []byte) error {
	for i, name := range causes {
		if string(text) == name {
			*c = Cause(i)
			return nil
		}
	}
	return fmt.Errorf("scaling: %.40q is no cause: it must be one of %q", text, causes)
}

// A Reason is why there are so many pollers: a cause, and the numbers beside it.
// Numbers that say nothing of the cause are 0.
type Reason struct {
	Cause Cause
	// Lag is how many records lag, of partitions whose lag is known.
	Lag int64 `json:",omitempty"`
	// Partitions is how many partitions the cause is about: that lag, that are
	// in back-off, whose lag is unknown.
	Partitions int `json:",omitempty"`
	// Wanted is how many pollers the records ask for, whatever the bounds.
	Wanted int `json:",omitempty"`
	// Allowed is how many there may be at most for a while, and Limit is why:
	// Throttles, Latency, Failures or Measuring.
	Allowed int   `json:",omitempty"`
	Limit   Cause `json:",omitempty"`
	// SlotRate is how many records a second one slot deals with.
	SlotRate float64 `json:",omitempty"`
	// Calls is how many calls the cause is about, and Of of how many.
	Calls, Of int64 `json:",omitempty"`
	// CallTime is how long a call takes now, with BusySlots of them at once, and
	// BestTime how long one took at best.
	CallTime, BestTime time.Duration `json:",omitempty"`
	BusySlots          int           `json:",omitempty"`
	// NeededByteRate is the byte rate of one poller with which the pollers that
	// there are would do.
	NeededByteRate int `json:",omitempty"`
	// NeededMemory is about how many bytes the memory budget would have to be for all
	// slots to have work: a whole number of MiB.
	NeededMemory int64 `json:",omitempty"`
	// Left is how long the pollers that are Wanted must do before the others go,
	// where there are more.
	Left time.Duration `json:",omitempty"`
}

// String says it in words.
func (r Reason) String() string {
	s := r.words()
	if r.Allowed > 0 && r.Limit != r.Cause {
		s += fmt.Sprintf("; %d at most for now (%s)", r.Allowed, r.Limit)
	}
	if r.Left > 0 {
		s += fmt.Sprintf("; the others go if %d will do for %s", max(1, r.Wanted), short(r.Left))
	}
	return s
}

func (r Reason) words() string {
	switch r.Cause {
	case NoCause:
		return "nothing has been decided yet"
	case Assignment:
		return "partitions were assigned or revoked"
	case Options:
		return "the options changed"
	case NoMember:
		return "out of the group"
	case Idle:
		return "nothing is invoked now"
	case NoLag:
		return "no lag"
	case InFlight:
		return fmt.Sprintf("a lag of %s, all in flight or in open windows", records(r.Lag))
	case Backlog:
		if r.SlotRate > 0 {
			return fmt.Sprintf("a lag of %s in %s, %.0f a second a slot: %s would do", records(r.Lag), partitions(r.Partitions), r.SlotRate, pollers(r.Wanted))
		}
		return fmt.Sprintf("a lag of %s in %s", records(r.Lag), partitions(r.Partitions))
	case Arrivals:
		return fmt.Sprintf("what arrives takes %s, at %.0f records a second a slot", pollers(r.Wanted), r.SlotRate)
	case ByteRate:
		return fmt.Sprintf("a lag of %s, which takes %s at this byte rate of a poller, or a byte rate of %d", records(r.Lag), pollers(r.Wanted), r.NeededByteRate)
	case Backoff:
		verb := "wait"
		if r.Partitions == 1 {
			verb = "waits"
		}
		return fmt.Sprintf("a lag of %s; %s %s to try again", records(r.Lag), partitions(r.Partitions), verb)
	case UnknownLag:
		return fmt.Sprintf("the lag of %s is unknown", partitions(r.Partitions))
	case Measuring:
		if r.Of == 0 {
			return "no call has ended that says how long one takes"
		}
		return fmt.Sprintf("%d of the %d calls have ended that say how long one takes now", r.Calls, r.Of)
	case Memory:
		if r.NeededMemory > 0 {
			return fmt.Sprintf("the memory budget is enough for %d of %d calls at once: about %d MiB would do for all (WithMemoryBudget)", r.Calls, r.Of, r.NeededMemory>>20)
		}
		return "the memory budget keeps slots idle (WithMemoryBudget)"
	case Places:
		return fmt.Sprintf("%d of %d calls wait for a place of the function's own", r.Calls, r.Of)
	case Throttles:
		return fmt.Sprintf("the function throttles: %s at most for now", pollers(r.Allowed))
	case Failures:
		return fmt.Sprintf("%d of the last %d calls failed, and more at once would not help", r.Calls, r.Of)
	case Latency:
		return fmt.Sprintf("a call takes %s with %d at once, and took %s at best: %s at most for now", short(r.CallTime), r.BusySlots, short(r.BestTime), pollers(r.Allowed))
	case Cadence:
		return "on-demand: decided once a minute"
	}
	return r.Cause.String()
}

func records(n int64) string  { return plural(n, "record", "records") }
func partitions(n int) string { return plural(n, "partition", "partitions") }
func pollers(n int) string    { return plural(n, "poller", "pollers") }

// short is a time for people: three digits of it say enough.
func short(d time.Duration) string {
	for unit := time.Duration(1); unit <= time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(time.Second).String()
}

// plural is a number with the word for one, or for several.
func plural[N int | int64](n N, one, several string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, several)
}
