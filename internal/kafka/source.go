package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A Source is what is read, how it is reached, and in which group.
type Source struct {
	Brokers, Topics   []string
	Group, InstanceID string
	Start             StartAt

	// Options are the user's, of the client, and decompressor is what the client
	// decompresses with under them.
	Options      []kgo.Opt
	Decompressor func() (kgo.Decompressor, error)

	// RevokeTimeout is how long what runs may take when partitions are taken away.
	RevokeTimeout time.Duration
	// Checks must pass before the group is joined.
	Checks []func(context.Context) error
}

// A StartAt is where partitions begin for which the group has no commit: at their
// ends, at the first record since some time, or at their start if it is neither.
type StartAt struct {
	Latest bool
	Since  time.Time
}

// A StartFailure is why it could not start.
type StartFailure struct {
	Doing string
	Err   error
	Last  error // the last problem, if err says only that the time is over
}

func (f *StartFailure) Error() string { return fmt.Sprintf("%s: %v", f.Doing, f.Err) }
func (f *StartFailure) Unwrap() error { return f.Err }
