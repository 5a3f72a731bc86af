package engine

import (
	"time"

	"github.com/seed429fd032/esm/internal/plan"
)

// Settings say how the engine works. They are a value, which
// nobody changes any more once the engine has it: an update brings others. The
// face embeds them in its own configuration, so each is defined once.
//
// A limit that can be none is negative then.
type Settings struct {
	MinPollers, MaxPollers int
	OnDemand               bool
	PollerConcurrency      int
	PollerByteRate         int  // bytes a second, or none
	MaxConcurrency         int  // or none
	GroupBounds            bool // MinPollers, MaxPollers and MaxConcurrency are of all processes of the group

	BatchSize   int
	BatchWindow time.Duration
	BatchBytes  int

	// Backoff is how long to wait after the nth failed attempt, from 1: at most
	// maxBackoff. It is user code, isolated, and may take a second: it is asked
	// without the lock.
	Backoff       func(attempt int) time.Duration
	InvokeTimeout time.Duration // 0 for none

	MaxRetries   int           // or none
	MaxRecordAge time.Duration // 0 or less for no limit
	Bisect       bool
	Discards     bool // somebody takes what is given up

	MemoryBudget int64
}

// MaxBackoff is the longest that a partition waits between attempts.
const MaxBackoff = 24 * time.Hour

// policy is what they say of failures, with the back-off after this one.
func (s *Settings) policy(backoff time.Duration) plan.Policy {
	return plan.Policy{MaxRetries: s.MaxRetries, MaxAge: s.MaxRecordAge, Bisect: s.Bisect, Discards: s.Discards, Backoff: backoff}
}
