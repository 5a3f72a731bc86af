package kafka

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/scaling"
)

// What follows is an engine as the Kafka side has it: records come and go by what
// this side calls, and a watcher hears what becomes of them. No test looks inside.

// order0 is the partition that most tests are about.
var order0 = partition.ID{Topic: "orders", Partition: 0}

// ordersEngine is an engine whose function takes whatever it gets, with one poller
// as soon as it has a partition.
func ordersEngine() (*engine.Engine, *problemBook) {
	w := &problemBook{known: map[string]engine.Trouble{}}
	return engine.New(&engine.Settings{
		MinPollers: 1, MaxPollers: 1, PollerConcurrency: 5, PollerByteRate: -1, MaxConcurrency: -1,
		BatchSize: 100, BatchBytes: 4 << 20, Backoff: func(int) time.Duration { return time.Hour },
		MaxRetries: -1, MaxRecordAge: -1, MemoryBudget: 128 << 20,
	}, engine.World{Invoke: func(*engine.Call) {}}, w, context.Background()), w
}

// ordersConsumer is a consumer without a client, of an engine that has order0.
func ordersConsumer() (*Consumer, *engine.Engine, *problemBook) {
	e, w := ordersEngine()
	begins(e, order0, 0)
	return New(e, w, &Source{}), e, w
}

// begins assigns a partition that the group has committed so far.
func begins(e *engine.Engine, id partition.ID, at int64) {
	e.Assign([]partition.ID{id}, time.Now())
	e.Place([]engine.Placement{{ID: id, At: at, LeaderEpoch: -1, Committed: true}}, time.Now())
}

// arrive is a poll of n records of order0, from an offset on.
func arrive(e *engine.Engine, at, n int64) {
	p := kgo.FetchPartition{Partition: order0.Partition, HighWatermark: at + n}
	for o := at; o < at+n; o++ {
		p.Records = append(p.Records, &kgo.Record{Topic: order0.Topic, Partition: order0.Partition, Offset: o})
	}
	e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: order0.Topic, Partitions: []kgo.FetchPartition{p}}}}}, time.Now())
}

// pass lets time pass, and what happens in it happen before what comes next.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A problemBook is a watcher that keeps problems, and what it told of them. It does
// not listen to anything else.
type problemBook struct {
	mu    sync.Mutex
	known map[string]engine.Trouble
	told  []string
}

func (b *problemBook) Note(with string, err error, now time.Time) (tell func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, was := b.known[with]
	switch {
	case err == nil && !was:
		return nil
	case err == nil:
		delete(b.known, with)
		return b.tell("over: " + with)
	case !was:
		b.known[with] = engine.Trouble{With: with, Err: err, Since: now, Last: now}
		return b.tell("raised: " + with)
	}
	p.Err, p.Last = err, now
	b.known[with] = p
	return nil
}

func (b *problemBook) Over(p engine.Trouble) (tell func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if is, known := b.known[p.With]; !known || !is.Last.Equal(p.Last) {
		return nil
	}
	delete(b.known, p.With)
	return b.tell("over: " + p.With)
}

func (b *problemBook) tell(what string) func() {
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = append(b.told, what)
	}
}

// heard is what was told, in the order in which it was.
func (b *problemBook) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.told)
}

func (b *problemBook) Troubles() (ps []engine.Trouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.known {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b engine.Trouble) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.With, b.With)) })
	return ps
}

func (b *problemBook) Trouble(with string) *engine.Trouble {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, known := b.known[with]; known {
		return &p
	}
	return nil
}

func (b *problemBook) AnyTrouble() bool { return len(b.Troubles()) > 0 }

func (b *problemBook) Assigned([]partition.ID, int)                                    {}
func (b *problemBook) Revoked(engine.RevokeEvent)                                      {}
func (b *problemBook) RecordsLost(partition.ID, int64, int64)                          {}
func (b *problemBook) PositionReset(partition.ID, int64, int64, error)                 {}
func (b *problemBook) StartsLate(partition.ID, string, error)                          {}
func (b *problemBook) SetBack(partition.ID, int64, time.Duration)                      {}
func (b *problemBook) WantsPolls() bool                                                { return false }
func (b *problemBook) Polled(engine.PollEvent)                                         {}
func (b *problemBook) MemoryLimited(engine.PollEvent)                                  {}
func (b *problemBook) WantsCalls() bool                                                { return false }
func (b *problemBook) Ended(engine.CallEvent)                                          {}
func (b *problemBook) Stuck(engine.CallEvent)                                          {}
func (b *problemBook) Throttled(engine.CallEvent)                                      {}
func (b *problemBook) Reread(partition.ID, int64, int)                                 {}
func (b *problemBook) Thin(engine.ThinEvent)                                           {}
func (b *problemBook) RetryScheduled(engine.BlockEvent)                                {}
func (b *problemBook) HeldUp(engine.BlockEvent)                                        {}
func (b *problemBook) GivenUp(engine.BlockEvent)                                       {}
func (b *problemBook) Kept(string, plan.Outcome, error)                                {}
func (b *problemBook) Discarded(engine.DiscardEvent)                                   {}
func (b *problemBook) DeliveryFailed(engine.DiscardEvent)                              {}
func (b *problemBook) Committed(_, _ map[partition.ID]int64, _ time.Duration, _ error) {}
func (b *problemBook) Scaled(scaling.Decision)                                         {}
func (b *problemBook) Logs(slog.Level) bool                                            { return false }
func (b *problemBook) Log(slog.Level, string, ...any)                                  {}
func (b *problemBook) AskLevel()                                                       {}
