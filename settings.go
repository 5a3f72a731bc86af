package esm

import (
	"time"

	"github.com/seed429fd032/esm/internal/plan"
)

// settings are what the engine is told of how to work. They are a value, which
// nobody changes any more once the engine has it: an update brings others. The
// face embeds them in its own configuration, so each is defined once.
//
// A limit that can be none is negative then.
type settings struct {
	minPollers, maxPollers int
	onDemand               bool
	pollerConcurrency      int
	pollerByteRate         int // bytes a second, or none
	maxConcurrency         int // or none

	batchSize   int
	batchWindow time.Duration
	batchBytes  int

	// backoff is how long to wait after the nth failed attempt, from 1: at most
	// maxBackoff. It is user code, isolated, and may take a second: it is asked
	// without the lock.
	backoff       func(attempt int) time.Duration
	invokeTimeout time.Duration // 0 for none

	maxRetries   int           // or none
	maxRecordAge time.Duration // 0 or less for no limit
	bisect       bool
	discards     bool // somebody takes what is given up

	memoryBudget int64
}

// maxBackoff is the longest that a partition waits between attempts.
const maxBackoff = 24 * time.Hour

// policy is what they say of failures, with the back-off after this one.
func (s *settings) policy(backoff time.Duration) plan.Policy {
	return plan.Policy{MaxRetries: s.maxRetries, MaxAge: s.maxRecordAge, Bisect: s.bisect, Discards: s.discards, Backoff: backoff}
}
