package esm

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/scaling"
)

// What follows is an engine as the Kafka side has it: records come and go by what
// this side calls, and a watcher hears what becomes of them. No test looks inside.

// order0 is the partition that most tests are about.
var order0 = partition.ID{Topic: "orders", Partition: 0}

// ordersEngine is an engine whose function takes whatever it gets, with one poller
// as soon as it has a partition.
func ordersEngine() (*engine, *problemBook) {
	w := &problemBook{known: map[string]trouble{}}
	return newEngine(&settings{
		minPollers: 1, maxPollers: 1, pollerConcurrency: 5, pollerByteRate: -1, maxConcurrency: -1,
		batchSize: 100, batchBytes: 4 << 20, backoff: func(int) time.Duration { return time.Hour },
		maxRetries: -1, maxRecordAge: -1, memoryBudget: 128 << 20,
	}, world{invoke: func(*call) {}}, w, context.Background()), w
}

// ordersConsumer is a consumer without a client, of an engine that has order0.
func ordersConsumer() (*consumer, *engine, *problemBook) {
	e, w := ordersEngine()
	begins(e, order0, 0)
	return newConsumer(e, &kafkaSource{}), e, w
}

// begins assigns a partition that the group has committed so far.
func begins(e *engine, id partition.ID, at int64) {
	e.assign([]partition.ID{id}, time.Now())
	e.place([]placement{{ID: id, at: at, leaderEpoch: -1, committed: true}}, time.Now())
}

// arrive is a poll of n records of order0, from an offset on.
func arrive(e *engine, at, n int64) {
	p := kgo.FetchPartition{Partition: order0.Partition, HighWatermark: at + n}
	for o := at; o < at+n; o++ {
		p.Records = append(p.Records, &kgo.Record{Topic: order0.Topic, Partition: order0.Partition, Offset: o})
	}
	e.enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: order0.Topic, Partitions: []kgo.FetchPartition{p}}}}}, time.Now())
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
	known map[string]trouble
	told  []string
}

func (b *problemBook) note(with string, err error, now time.Time) (tell func()) {
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
		b.known[with] = trouble{with: with, err: err, since: now, last: now}
		return b.tell("raised: " + with)
	}
	p.err, p.last = err, now
	b.known[with] = p
	return nil
}

func (b *problemBook) over(p trouble) (tell func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if is, known := b.known[p.with]; !known || !is.last.Equal(p.last) {
		return nil
	}
	delete(b.known, p.with)
	return b.tell("over: " + p.with)
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

func (b *problemBook) troubles() (ps []trouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.known {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b trouble) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.with, b.with)) })
	return ps
}

func (b *problemBook) trouble(with string) *trouble {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, known := b.known[with]; known {
		return &p
	}
	return nil
}

func (b *problemBook) anyTrouble() bool { return len(b.troubles()) > 0 }

func (b *problemBook) assigned([]partition.ID, int)                                    {}
func (b *problemBook) revoked(revokeEvent)                                             {}
func (b *problemBook) recordsLost(partition.ID, int64, int64)                          {}
func (b *problemBook) positionReset(partition.ID, int64, int64, error)                 {}
func (b *problemBook) startsLate(partition.ID, string, error)                          {}
func (b *problemBook) setBack(partition.ID, int64, time.Duration)                      {}
func (b *problemBook) wantsPolls() bool                                                { return false }
func (b *problemBook) polled(pollEvent)                                                {}
func (b *problemBook) memoryLimited(pollEvent)                                         {}
func (b *problemBook) wantsCalls() bool                                                { return false }
func (b *problemBook) ended(callEvent)                                                 {}
func (b *problemBook) stuck(callEvent)                                                 {}
func (b *problemBook) throttled(callEvent)                                             {}
func (b *problemBook) reread(partition.ID, int64, int)                                 {}
func (b *problemBook) retryScheduled(blockEvent)                                       {}
func (b *problemBook) heldUp(blockEvent)                                               {}
func (b *problemBook) givenUp(blockEvent)                                              {}
func (b *problemBook) kept(string, int, error)                                         {}
func (b *problemBook) discarded(discardEvent)                                          {}
func (b *problemBook) deliveryFailed(discardEvent)                                     {}
func (b *problemBook) committed(_, _ map[partition.ID]int64, _ time.Duration, _ error) {}
func (b *problemBook) scaled(scaling.Decision)                                         {}
func (b *problemBook) logs(slog.Level) bool                                            { return false }
func (b *problemBook) log(slog.Level, string, ...any)                                  {}
func (b *problemBook) askLevel()                                                       {}
