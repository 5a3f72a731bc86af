package scaling

import (
	"fmt"
	"time"
)

// A Decision is a number of pollers, and why.
type Decision struct {
	// Mapping is the name of the one that it was made for; a Scaler leaves it
	// empty.
	Mapping string
	// Sample is what it was made on. Its time is the zero time where there was
	// none: partitions came or went, or the options changed, and the number of
	// pollers followed its bounds.
	Sample Sample
	// From is how many pollers there were, and To how many there are from now on.
	From, To int
	// Reason is why.
	Reason Reason
	// Again is when the decision is to be looked at again, even if there is no
	// news: after this long. 0 leaves it to whoever asks.
	Again time.Duration
	// Short is the limit under which the lag has grown for a minute, if there is
	// one.
	Short Limit
}

// A Limit is a setting that keeps the number of pollers, or what they do, from
// what the records ask for.
type Limit int

const (
	// NoLimit: none does.
	NoLimit Limit = iota
	// MaxPollers: Sample.Most.
	MaxPollers
	// PollerByteRate: Sample.ByteRate.
	PollerByteRate
	// MaxConcurrency: Sample.MaxConcurrency.
	MaxConcurrency
)

var limits = [...]string{"none", "max pollers", "poller byte rate", "max concurrency"}

// String names the limit.
func (l Limit) String() string {
	if l < 0 || int(l) >= len(limits) {
		return fmt.Sprintf("Limit(%d)", int(l))
	}
	return limits[l]
}

// MarshalText is String, for JSON.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (l *Limit) UnmarshalText(text []byte) error {
	for i, name := range limits {
		if string(text) == name {
			*l = Limit(i)
			return nil
		}
	}
	return fmt.Errorf("scaling: %.40q is no limit: it must be one of %q", text, limits)
}
