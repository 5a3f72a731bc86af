// Package explain says in a paragraph what limits a Mapping right now, and what to change.
package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// Facts are what is known of a Mapping at one moment.
type Facts struct {
	Now time.Time
	// Phase is a word for what it does if it does not run, "" if it does, and Because
	// why, if it says.
	Phase, Because string
	// Member is whether it is in its group.
	Member bool
	// Problems are in the words of who has them, the oldest first.
	Problems []string

	Partitions int
	Unknown    int       // of which the lag is not known
	Lagging    int       // of which there is one
	Lag        int64     // of those
	Oldest     time.Time // when the oldest record was made that is not settled, zero if that is not known
	Largest    string    // the partition with the largest lag,
	LargestLag int64     // and that

	Pollers, MostPollers, Slots, Busy int
	SetPollers                        int // what WithMaxPollers says
	MaxConcurrency                    int // or scaling.Unlimited
	GroupBounds                       bool
	Waiting                           int // of those busy, for a place of the function's own
	Ready                             int // partitions with a batch that waits for a slot
	BatchSize                         int
	RecordsPerCall                    float64
	CallTime, FetchTime               time.Duration
	BytesPerSecond                    float64
	ByteRate                          int // of a poller, or scaling.Unlimited

	ThrottledFor  time.Duration
	MemoryLimited bool
	MemoryBudget  int64
	Reason        scaling.Reason

	HeldUp int    // partitions that wait to try again
	Worst  string // what holds the one up that has waited for longest
}

// A Limit is what keeps a Mapping from being faster.
type Limit int

// The limits, in no order.
const (
	Nothing Limit = iota
	Stopped
	Group
	Throttle
	Failing
	Places
	Function
	MaxPollers
	MaxConcurrency
	Partitions
	Growing
	Memory
	ByteRate
	Retries
	OnePartition
	Windows
	Brokers
)

// Limit is what limits it right now.
func (f *Facts) Limit() Limit {
	switch {
	case f.Phase != "":
		return Stopped
	case !f.Member:
		return Group
	case f.Lag == 0:
		return Nothing
	case f.ThrottledFor > 0:
		return Throttle
	case f.is(scaling.Failures):
		return Failing
	case f.Busy > 0 && 2*f.Waiting >= f.Busy:
		return Places
	case f.HeldUp > 0 && f.HeldUp >= f.Lagging:
		return Retries
	case f.keepsUp():
		return Nothing
	case f.ByteRate > 0 && f.BytesPerSecond >= 0.9*float64(f.ByteRate)*float64(f.Pollers):
		return ByteRate
	case f.Slots > 0 && 10*f.Busy >= 9*f.Slots || f.Ready > 0: // a slot is free for a moment only
		return f.busy()
	case f.MemoryLimited:
		return Memory
	case f.Reason.Cause == scaling.InFlight:
		return Windows
	case f.hot():
		return OnePartition
	case f.Lagging <= f.Busy: // each partition that lags has its call
		return Partitions
	}
	return Brokers
}

// busy is the limit where all slots are.
func (f *Facts) busy() Limit {
	switch {
	case f.is(scaling.Latency):
		return Function
	case f.MaxConcurrency > 0 && f.Busy >= f.MaxConcurrency:
		return MaxConcurrency
	case f.hot():
		return OnePartition
	case f.Busy >= f.Lagging-f.HeldUp:
		return Partitions
	case f.Pollers >= f.MostPollers:
		return MaxPollers
	}
	return Growing
}

func (f *Facts) is(c scaling.Cause) bool {
	return f.Reason.Cause == c || f.Reason.Limit == c && f.Reason.Allowed > 0
}

// keepsUp reports whether what lags is what has just come: no partition has more than
// a batch, and none waits for a slot.
func (f *Facts) keepsUp() bool { return f.Ready == 0 && f.LargestLag <= int64(f.BatchSize) }

// hot reports whether one partition has most of the lag, and nothing of the others
// waits for a slot.
func (f *Facts) hot() bool {
	return f.Partitions > 1 && f.Ready == 0 && 10*f.LargestLag >= 6*f.Lag && f.LargestLag > int64(f.BatchSize)
}

// String is the paragraph.
func (f *Facts) String() string {
	limit := f.Limit()
	var said []string
	if limit != Stopped && limit != Group {
		said = append(said, f.lag())
	}
	said = append(said, f.words(limit))
	if f.HeldUp > 0 && f.Worst != "" {
		who := "One partition waits to try again"
		if f.HeldUp > 1 {
			who = fmt.Sprintf("%d partitions wait to try again, and nothing behind their records moves", f.HeldUp)
		}
		said = append(said, sentence(who+": "+f.Worst))
	}
	const most = 3
	for i, p := range f.Problems {
		if i == most {
			said = append(said, fmt.Sprintf("There are %d more problems.", len(f.Problems)-most))
			break
		}
		said = append(said, sentence("A problem: "+p))
	}
	return strings.Join(said, " ")
}

// sentence ends a text with one period.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

// lag says how much there is to do.
func (f *Facts) lag() string {
	unknown := ""
	if f.Unknown > 0 {
		unknown = fmt.Sprintf(" The lag of %d of %s is unknown.", f.Unknown, count(int64(f.Partitions), "partition"))
	}
	if f.Lag == 0 {
		switch {
		case f.Partitions == 0:
			return "No partition is assigned to this process: the others of its group have them all."
		case f.Unknown > 0:
			return unknown[1:]
		}
		return fmt.Sprintf("Nothing waits in %s.", count(int64(f.Partitions), "partition"))
	}
	s := fmt.Sprintf("A lag of %s in %d of %s", count(f.Lag, "record"), f.Lagging, count(int64(f.Partitions), "partition"))
	if !f.Oldest.IsZero() && f.Unknown == 0 {
		if age := f.Now.Sub(f.Oldest); age > 0 {
			s += ", the oldest " + short(age) + " old"
		}
	}
	return s + "." + unknown
}

// words say what limits it, and what to change.
func (f *Facts) words(l Limit) string {
	switch l {
	case Stopped:
		return sentence("It is " + f.Phase + because(f.Because) + ": nothing is invoked")
	case Group:
		return "It is not in its consumer group, so it has no partitions."
	case Throttle:
		return fmt.Sprintf("The limit is the function: it throttles, and nothing is invoked for %s. Give it more concurrency, or lower WithMaxConcurrency to what it has.", short(f.ThrottledFor))
	case Failing:
		return fmt.Sprintf("The limit is the function: most calls fail (%d of the last %d), and more at once would not help. Mend the function; its last error is in State.LastResult.", f.Reason.Calls, f.Reason.Of)
	case Places:
		return fmt.Sprintf("The limit is the function: %d of %d calls wait for a place of its own (esm.Waiting). Give it more places; more pollers would only wait.", f.Waiting, f.Busy)
	case Function:
		return fmt.Sprintf("The limit is the function: a call takes %s with %d at once and took %s at best, so more calls at once bring nothing. Make it faster, or give what is behind it more capacity.",
			short(f.Reason.CallTime), f.Reason.BusySlots, short(f.Reason.BestTime))
	case MaxPollers:
		s := fmt.Sprintf("The limit is WithMaxPollers(%d): %s busy, a call takes %s", f.SetPollers, f.all(), short(f.CallTime))
		if f.GroupBounds {
			s += fmt.Sprintf(", and %d pollers are this process's share", f.MostPollers)
		}
		if f.Reason.Wanted > f.Pollers {
			return s + fmt.Sprintf(". %d pollers would do, if the function bears the calls.", f.Reason.Wanted)
		}
		return s + ". Raise it, if the function bears more calls."
	case MaxConcurrency:
		return fmt.Sprintf("The limit is WithMaxConcurrency(%d): as many calls run, %s each. Raise it, if the function bears more.", f.MaxConcurrency, short(f.CallTime))
	case Partitions:
		return fmt.Sprintf("The limit is one call a partition at a time, which keeps their order: each one that can go on has its call, of %s. %s", short(f.CallTime), f.larger("more partitions, or a faster function"))
	case Growing:
		return fmt.Sprintf("Now %s busy, with %s of %d at most, and the scaler says: %s.", f.all(), count(int64(f.Pollers), "poller"), f.MostPollers, f.Reason)
	case Memory:
		s := fmt.Sprintf("The limit is the memory budget, %d MiB: it keeps %d of %s idle. ", f.MemoryBudget>>20, f.idle(), count(int64(f.Slots), "slot"))
		if n := f.Reason.NeededMemory; n > 0 {
			return s + fmt.Sprintf("About %d MiB would do for all of them (WithMemoryBudget).", n>>20)
		}
		return s + "Raise WithMemoryBudget, or send less in a batch."
	case ByteRate:
		s := fmt.Sprintf("The limit is WithPollerByteRate(%d): %s move as much as they may. ", f.ByteRate, count(int64(f.Pollers), "poller"))
		if n := f.Reason.NeededByteRate; n > f.ByteRate {
			return s + fmt.Sprintf("%d would do, or more pollers.", n)
		}
		return s + "Raise it, or have more pollers."
	case Retries:
		return "The limit is the function: all partitions that lag wait to try again what failed."
	case OnePartition:
		return fmt.Sprintf("The limit is one partition: %s has %d %% of the lag and one call at a time, of %s, which keeps its order; %d of %s are idle. %s",
			f.Largest, 100*f.LargestLag/f.Lag, short(f.CallTime), f.idle(), count(int64(f.Slots), "slot"), f.larger("keys that spread better, or a faster function"))
	case Windows:
		return "Nothing limits it: all of the lag is in calls that run, or waits in windows that are open (WithBatchWindow)."
	case Brokers:
		return fmt.Sprintf("The limit is what the brokers send: %d of %s are idle, no batch waits and memory is free; the last fetch took %s. Look at the network, the brokers and the decompression.",
			f.idle(), count(int64(f.Slots), "slot"), short(f.FetchTime))
	}
	if f.Unknown > 0 && f.Lag == 0 {
		return "What limits it is unknown, too."
	}
	return fmt.Sprintf("Nothing limits it: %s, %s busy.", count(int64(f.Pollers), "poller"), fmt.Sprintf("%d of %s", f.Busy, count(int64(f.Slots), "slot")))
}

// larger says what helps where each partition has one call at a time.
func (f *Facts) larger(other string) string {
	if f.RecordsPerCall > 0 && f.RecordsPerCall >= 0.9*float64(f.BatchSize) {
		return fmt.Sprintf("Larger batches help (WithBatchSize, %d now), %s.", f.BatchSize, other)
	}
	return "What helps is " + other + "."
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func count(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// short is a time for people: three digits of it say enough.
func short(d time.Duration) string {
	for unit := time.Duration(1); unit <= time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(time.Second).String()
}

// all names the slots, with a verb.
func (f *Facts) all() string {
	if f.Slots == 1 {
		return "its one slot is"
	}
	return fmt.Sprintf("all %d slots are", f.Slots)
}

// idle is how many slots have no call: pollers that leave still have some, so there may
// be more calls than slots.
func (f *Facts) idle() int { return max(0, f.Slots-f.Busy) }
