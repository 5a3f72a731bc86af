package main

import (
	"fmt"
	"time"

	"github.com/seed429fd032/esm"
)

// settings are the options of a host that an update changes.
type settings struct {
	BatchSize   int
	Window      time.Duration
	MaxPollers  int
	Concurrency int // of a poller
	Limit       int // of all calls, 0 for none
	Bisect      bool
	Budget      int64 // of memory
}

func (s settings) String() string {
	limit := "no limit"
	if s.Limit > 0 {
		limit = fmt.Sprint("at most ", s.Limit)
	}
	return fmt.Sprintf("batches of %d in %s, %d pollers of %d, %s, bisect %t, %d MiB", s.BatchSize, s.Window, s.MaxPollers, s.Concurrency, limit, s.Bisect, s.Budget>>20)
}

// updates are what hosts change to, and the first is how they begin.
var updates = []settings{
	{BatchSize: 50, Window: 50 * time.Millisecond, MaxPollers: 10, Concurrency: 5, Bisect: true, Budget: budget},
	{BatchSize: 20, Window: 0, MaxPollers: 3, Concurrency: 4, Bisect: true, Budget: budget},
	{BatchSize: 120, Window: 200 * time.Millisecond, MaxPollers: 20, Concurrency: 2, Limit: 12, Budget: budget * 3 / 4},
	{BatchSize: 35, Window: 20 * time.Millisecond, MaxPollers: 5, Concurrency: 5, Limit: 20, Bisect: true, Budget: budget},
}

// of are the settings of a host that shares its bounds: all of these are the same in
// each host at all times. Without calls of the group they are the host's own.
func (s settings) of(groupCalls int) settings {
	if groupCalls > 0 {
		s.MaxPollers, s.Concurrency, s.Limit = 200, updates[0].Concurrency, groupCalls
	}
	return s
}

// options are those that an update sets.
func (s settings) options() []esm.Option {
	limit := s.Limit
	if limit == 0 {
		limit = esm.Unlimited
	}
	return []esm.Option{
		esm.WithBatchSize(s.BatchSize), esm.WithBatchWindow(s.Window), esm.WithMaxPollers(s.MaxPollers), esm.WithPollerConcurrency(s.Concurrency),
		esm.WithMaxConcurrency(limit), esm.WithBisect(s.Bisect), esm.WithMemoryBudget(s.Budget),
	}
}
