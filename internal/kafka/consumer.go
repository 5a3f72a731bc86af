package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// A Consumer is the engine's side towards Kafka: the client, the poll loop,
// and what the group says.
//
// # The poll handshake
//
// A poll may return records of a partition that is taken away while it runs.
// If the partition comes back before those records are handed over, they look
// like records of the new assignment, from before its beginning. The client
// fetches nothing of an assignment until the assigned callback has returned.
// So that callback cuts a poll short that is under way, and waits until what
// it brought is handed over, to lanes that are gone, before it makes the new
// ones. A poll that begins later cannot have anything old. An assignment of
// what was never taken away has nothing old: it keeps its lane.
//
// The rejected design is the client's own BlockRebalanceOnPoll: while a
// callback runs, it stops polling for the partitions that stay, for as long as
// the slowest invocation of those that go.
//
// # Goroutines
//
// The poll loop, the committer, sampleLag, the watchdog, mend, placeLate,
// countPartitions and the timekeeper of the engine are started by Start and waited for by Close. Callbacks
// come on goroutines of the client; Close waits for them by closing it.
type Consumer struct {
	engine    *engine.Engine
	watch     engine.Watcher // the engine's
	source    *Source
	client    *kgo.Client
	Committer *Committer
	pauser    *pauser
	positions positions
	// decompressor is the user's, or the client's own with the user's limit.
	decompressor kgo.Decompressor
	network      network
	lagBell      engine.Bell
	checkBell    engine.Bell
	lateBell     engine.Bell
	memberBell   engine.Bell
	countBell    engine.Bell
	heartbeats   heartbeats
	refused      time.Duration // how long the poll loop waited last, after nothing but refusals

	mu       sync.Mutex // a leaf
	topicIDs map[string][16]byte
	kept     map[partition.ID]kept // what the coordinator said last
	counts   map[string]counted
	suspects map[string]int // topics that may have been deleted, or made again, and how often to look
	noEnds   refusals       // to say where a partition ends,
	noStarts refusals       // and where its log starts

	// purge is held while the client is told to forget topics, or to consume
	// them again. It guards since when it has forgotten which.
	purge  sync.Mutex
	purged map[string]time.Time

	foreign   atomic.Bool // it was told that the metadata of a commit is not ours
	joining   atomic.Bool // the group is to be joined for the first time
	started   chan error  // gets why the start failed
	first     chan struct{}
	firstOnce sync.Once

	cancel context.CancelFunc // ends the goroutines
	group  sync.WaitGroup
	abort  context.CancelFunc // ends every request of the client
}

const (
	// commitMargin is what is left of the rebalance timeout after an
	// invocation had its time, for the commit.
	commitMargin = 15 * time.Second
	// flushTimeout is how long a revoke waits for its commit: less than the
	// margin.
	flushTimeout = 10 * time.Second
	// metadataMaxAge is how long a new partition can go unseen.
	metadataMaxAge = 30 * time.Second
	// metadataMinAge is how long the client waits at least before it asks
	// again who leads a partition. Until it has asked, it repeats its fetches
	// to the old leader, which refuses them at once: hundreds a second. Its
	// own default is 5 s.
	metadataMinAge = 250 * time.Millisecond
	// heartbeatInterval is how long it takes at most until a member learns that
	// others joined or left. When partitions move, they stand still for about as
	// long, because who gets them is asked last. The client's own default is 3 s,
	// and a KIP-848 group has the broker's: see pulse.
	heartbeatInterval = 500 * time.Millisecond
)

// New makes a consumer that reads for an engine, and tells what happens to the
// watcher of that engine.
func New(e *engine.Engine, w engine.Watcher, s *Source) *Consumer {
	return &Consumer{
		engine: e, watch: w, source: s, lagBell: engine.NewBell(), checkBell: engine.NewBell(), lateBell: engine.NewBell(), memberBell: engine.NewBell(), countBell: engine.NewBell(),
		topicIDs: map[string][16]byte{}, suspects: map[string]int{}, counts: map[string]counted{}, noEnds: refusals{}, noStarts: refusals{},
		purged:  map[string]time.Time{},
		started: make(chan error, 1), first: make(chan struct{}),
		positions: positions{start: s.Start, ends: map[partition.ID]int64{}},
	}
}

// options are what the engine is built upon. They come after the user's, so
// they win. decompressor is the user's, or the client's own.
func (c *Consumer) options(decompressor kgo.Decompressor) []kgo.Opt {
	wire, largest, each := c.engine.Fetching()
	opts := append([]kgo.Opt{kgo.MetadataMinAge(metadataMinAge), kgo.HeartbeatInterval(heartbeatInterval)}, c.source.Options...)
	opts = append(opts,
		kgo.SeedBrokers(c.source.Brokers...),
		kgo.ConsumerGroup(c.source.Group),
		kgo.DisableAutoCommit(),
		// Markers of transactions move the frontier to the end.
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(fetchMaxWait),
		kgo.FetchMaxBytes(largest),
		kgo.FetchMaxPartitionBytes(each),
		kgo.WithDecompressor(allower{decompressor, wire}),
		kgo.MetadataMaxAge(metadataMaxAge),
		kgo.RebalanceTimeout(c.source.RevokeTimeout+commitMargin),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.RewindOffset(time.Minute)),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			c.assigned(partitionsOf(m))
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, m map[string][]int32) {
			c.revoked(ctx, partitionsOf(m))
		}),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, m map[string][]int32) {
			c.lost(ctx, partitionsOf(m))
		}),
		kgo.OnOffsetsFetched(c.fetched),
		kgo.AdjustFetchOffsetsFn(c.adjust),
		kgo.WithHooks(wireHooks{wire}, clientHooks{c}, &c.heartbeats),
		kgo.WithLogger(clientLog{c}),
	)
	if c.source.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(c.source.InstanceID))
	}
	return opts
}

func partitionsOf(m map[string][]int32) []partition.ID {
	var tps []partition.ID
	for t, ps := range m {
		for _, p := range ps {
			tps = append(tps, partition.ID{Topic: t, Partition: p})
		}
	}
	return tps
}

// Start connects, checks that everything is there, joins the group, and
// returns when the first assignment was handled. If it fails, close must be
// called all the same.
func (c *Consumer) Start(ctx context.Context) error {
	decompressor, err := c.source.Decompressor()
	if err != nil {
		return err
	}
	life, abort := context.WithCancel(context.Background())
	cl, err := kgo.NewClient(append(c.options(decompressor), kgo.WithContext(life))...)
	if err != nil {
		abort()
		return fmt.Errorf("esm: Source.Client: %w", err)
	}
	c.client, c.abort, c.decompressor = cl, abort, decompressor
	isolation, _ := cl.OptValue(kgo.FetchIsolationLevel).(int8) // Kafka's number: 1 is read committed
	c.positions.readCommitted = isolation == 1
	// A broker that accepts the connection and then says nothing holds a
	// request up longer than ctx. Nothing is lost by cutting it short here.
	settled := context.AfterFunc(ctx, abort)
	err = c.preflight(ctx)
	settled()
	if err != nil {
		return err
	}

	c.Committer = newCommitter(&c.engine.Books, commitWith(cl), c.raise)
	c.pauser = &pauser{wanted: c.engine.Pauses, client: cl}
	c.engine.Serve(c.positions.readCommitted, c.pauser.reconcile, func() {
		_, largest, each := c.engine.Fetching()
		cl.UpdateFetchMaxBytes(largest, each)
	})
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for _, f := range []func(context.Context){c.engine.KeepTime, c.poll, c.sampleLag, c.watchdog, c.mend, c.placeLate, c.countPartitions, c.pulse} {
		c.group.Go(func() { f(run) })
	}
	c.group.Go(func() {
		defer close(c.Committer.gone)
		c.Committer.run(run)
	})
	c.joining.Store(true)
	defer c.joining.Store(false)
	// Only now: joining the group disturbs its other members.
	cl.AddConsumeTopics(c.source.Topics...)
	select {
	case <-c.first:
	case err := <-c.started:
		return &StartFailure{Doing: "join the group", Err: err}
	case <-ctx.Done():
		return &StartFailure{Doing: "join the group", Err: context.Cause(ctx), Last: c.lastProblem()}
	}
	if c.source.Start.Latest {
		// What Start promises is promised only once it is written down.
		if err := c.Committer.Flush(ctx); err != nil {
			return &StartFailure{Doing: "commit the starting position", Err: err, Last: c.lastProblem()}
		}
	}
	return nil
}

// joined says that the first assignment was handled.
func (c *Consumer) joined() { c.firstOnce.Do(func() { close(c.first) }) }

// assigned makes lanes. See the handshake above.
func (c *Consumer) assigned(tps []partition.ID) {
	e := c.engine
	c.stillMember()
	e.EndPoll()
	member, _ := c.client.GroupMetadata()
	e.Join(member)
	e.Assign(tps, time.Now())
	c.countBell.Ring()
	c.pauser.reconcile()
	c.lateBell.Ring()
	c.clear("group")
	if len(tps) == 0 {
		c.joined()
	}
}

// revoked lets what runs for the partitions end, commits it, and gives them up.
func (c *Consumer) revoked(ctx context.Context, tps []partition.ID) {
	if len(tps) == 0 {
		c.readd(ctx, time.Now())
		return // a session ends without losing anything
	}
	c.stillMember()
	gone := c.engine.Revoke(ctx, tps, c.source.RevokeTimeout, func() error {
		ctx, done := context.WithTimeout(ctx, flushTimeout)
		defer done()
		return c.Committer.Flush(ctx)
	})
	c.pauser.reconcile()
	c.suspect(gone...)
	c.readd(ctx, time.Now())
}

// lost drops partitions that are gone already.
func (c *Consumer) lost(ctx context.Context, tps []partition.ID) {
	c.engine.Lose(tps, time.Now())
	c.pauser.reconcile()
	c.readd(ctx, time.Now())
}

// stillMember drops all partitions if the client is not the member any more that
// got them: see the engine's membership. In a callback the client's id is that of
// the session that the callback is of. Elsewhere it may change at any time, but
// never back to one that it had.
func (c *Consumer) stillMember() {
	had := c.engine.Member() // before the client's is read
	if is, _ := c.client.GroupMetadata(); is != had {
		c.engine.Forget(had, time.Now())
	}
}

// poll is the poll loop. It is the only way in for records.
func (c *Consumer) poll(ctx context.Context) {
	e := c.engine
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for ctx.Err() == nil {
		buffered := c.client.BufferedFetchBytes() + c.client.BufferedFetchRecords()*engine.RecordOverhead
		p := e.Permit(ctx, buffered, time.Now())
		if p.Ctx != nil {
			if c.pollOnce(ctx, p) {
				continue
			}
			// Nothing but errors. The broker answers those at once, so asking
			// at once would go round and round.
			pause(ctx, fetchMaxWait)
			continue
		}
		if p.Again > 0 {
			again.Reset(p.Again)
		} else {
			again.Stop()
		}
		select {
		case <-ctx.Done():
		case <-e.GateBell:
		case <-again.C:
		}
	}
}

// pollOnce polls and hands over what came, or sets the client back to where the
// work of some lanes ends. It reports false if it got nothing but errors.
func (c *Consumer) pollOnce(ctx context.Context, p engine.Permit) bool {
	e := c.engine
	defer p.End()
	if !p.Poll {
		// As with a poll, no new assignment begins meanwhile, so this cannot
		// hit the position of one.
		c.pauser.reconcile()
		c.client.SetOffsets(p.Nudged)
		c.client.SetOffsets(p.Back)
		return true
	}

	wire, _, _ := e.Fetching()
	wire.Polling()
	fetches := c.client.PollFetches(p.Ctx)
	wire.Polled(broughtBy(fetches), time.Now())
	failed, refused := false, false
	fetches.EachError(func(_ string, _ int32, err error) {
		refused = refused || memory.Refused(err)
		failed = failed || !wasCut(err) && !memory.Refused(err)
	})
	if failed {
		wire.Fail()
		c.troubles(fetches)
	}
	e.Enqueue(fetches, time.Now())
	if !refused || !fetches.Empty() {
		c.refused = 0
	} else {
		c.refused = min(max(2*c.refused, refusedPause), mostRefusedPause)
		pause(ctx, c.refused)
	}
	return !failed || !fetches.Empty()
}

// wasCut reports whether a poll came back because it was told to.
func wasCut(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed)
}

// watchdog looks once a second at what may not get on, and whether the group knows
// the member still.
func (c *Consumer) watchdog(ctx context.Context) {
	timer := time.NewTicker(time.Second)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.memberBell:
			c.stillMember()
			continue
		case <-timer.C:
		}
		c.stillMember()
		c.engine.WatchAll(time.Now())
		c.watch.AskLevel()
	}
}
