package engine

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A World is what the engine calls of what is not its own: user code, of which
// it knows nothing. Invoke, Deliver and Halted are called without the lock, on
// goroutines that workers counts. The others run nobody's code, and may be called
// with it. Each func isolates what it calls, and returns whatever becomes of that;
// how long it takes is up to ctx and the user.
type World struct {
	// Unreadable makes an error of what cannot be read: a new one each time,
	// because whoever gets it may write into it.
	Unreadable func(partition.ID, *Unreadable) error
	// Invoke calls the function and fills in the verdict. Whatever the function
	// does, it panics never. It may end the goroutine, if the function does; the
	// verdict is filled in even then.
	//
	// It runs on the goroutine of a worker. The verdict is made before it
	// returns, since to make one may run methods of the user's.
	Invoke func(*Call)
	// Deliver gives a record of a portion to who takes what is given up, and
	// says whether that threw it away. With an error it was not taken.
	Deliver func(ctx context.Context, r *kgo.Record, of plan.Portion) (dropped bool, err error)
	// Halted is told that the function halted the Mapping, and with what. The
	// engine starts nothing more by then.
	Halted func(error)

	// Now says what time it is, and Go runs what takes a record to Deliver on a
	// goroutine of its own, without the lock. They are time.Now and a go statement
	// if they are nil: the engine has no other clock, so that a test that has its
	// own drives it step by step.
	Now func() time.Time
	Go  func(func())
}
