package esm

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A kafkaSource is what is read, how it is reached, and in which group.
type kafkaSource struct {
	brokers, topics   []string
	group, instanceID string
	start             startAt

	// options are the user's, of the client, and decompressor is what the client
	// decompresses with under them.
	options      []kgo.Opt
	decompressor func() (kgo.Decompressor, error)

	// revokeTimeout is how long what runs may take when partitions are taken away.
	revokeTimeout time.Duration
	// checks must pass before the group is joined.
	checks []func(context.Context) error
}

// A startAt is where partitions begin for which the group has no commit: at their
// ends, at the first record since some time, or at their start if it is neither.
type startAt struct {
	latest bool
	since  time.Time
}

// A startFailure is why it could not start.
type startFailure struct {
	doing string
	err   error
	last  error // the last problem, if err says only that the time is over
}

func (f *startFailure) Error() string { return fmt.Sprintf("%s: %v", f.doing, f.err) }
func (f *startFailure) Unwrap() error { return f.err }
