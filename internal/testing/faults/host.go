package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// A hostConfig is what the parent tells a host, as JSON.
type hostConfig struct {
	Name     string
	Topics   []string
	Group    string
	Protocol string
	// Proxies are the addresses that stand for those of the brokers.
	Proxies map[string]string
	Seeds   []string
	Seed    uint64
	Debug   bool
	// HaltsForGood is whether a halt stops it, rather than pause it.
	HaltsForGood bool
	// GroupCalls is how many calls all hosts may have together, 0 if the bounds are
	// those of each.
	GroupCalls int
}

const (
	// budget is what a host may hold in memory at most, and batchBytes what a
	// batch has. The budget is little, so that what waits for a function that is
	// throttled, or for a destination, has to give way to what does not. It is
	// more than onePoll, or nothing would be polled while something is held.
	budget     = 10 << 20
	batchBytes = 1 << 20
	// hookTime is how long a hook holds up what it was told of at most. For less
	// than a second the Mapping waits for it, whatever happens meanwhile.
	hookTime = 800 * time.Millisecond
	// maxRetries is how often a record is tried again before it is given up.
	maxRetries = 3
)

// A host is a process with a Mapping, as a user has one: it tells what it
// does, does what it is told, and stops when it is told to, or when nobody
// listens any more.
type host struct {
	hostConfig
	teller
	mapping    *esm.Mapping
	calls      atomic.Int64
	deliveries atomic.Int64
	fetches    atomic.Int64
	stalls     atomic.Int64
	stalled    atomic.Bool // in this poll

	// What the parent wants of the function and of the destination.
	throttled, refusing atomic.Int64 // until when, Unix nanoseconds
	halting             atomic.Bool  // the next call halts
	halted              chan struct{}

	corrupt sync.Map // records that are not what was written, to tell each once
}

// OnBrokerWrite counts fetch requests: a client that asks without a pause
// burns a processor, and nothing else shows it.
func (h *host) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Fetch) {
		h.fetches.Add(1)
	}
}

// OnPollStart and OnFetchRecordUnbuffered make the poll loop stand still now
// and then, after the client took records from its buffers and before it hands
// them over: the moment in which a partition can go and come back.
func (h *host) OnPollStart(context.Context) { h.stalled.Store(false) }

func (h *host) OnFetchRecordUnbuffered(_ *kgo.Record, polled bool) {
	if polled && h.stalls.Add(1)%5003 == 0 && !h.stalled.Swap(true) {
		time.Sleep(1500 * time.Millisecond)
	}
}

func runHost(config string, in io.Reader, out io.Writer) error {
	h := &host{teller: teller{w: out}, halted: make(chan struct{}, 1)}
	if err := json.Unmarshal([]byte(config), &h.hostConfig); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m, err := esm.New(h.source(), esm.InvokerFunc(h.invoke), h.options()...)
	if err != nil {
		return err
	}
	h.mapping = m
	stop, orders := make(chan struct{}), make(chan string, 100)
	go h.listen(in, orders, stop)
	goroutines := runtime.NumGoroutine()
	started := make(chan error, 1)
	go func() { started <- m.Start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			h.tell(line{Kind: lineStopped, Err: "start: " + err.Error()})
			return err
		}
		h.tell(line{Kind: lineStarted})
		h.live(orders, stop)
	case <-stop:
	}
	said := line{Kind: lineStopped}
	err = m.Stop(ctx)
	if drain := new(esm.DrainError); errors.As(err, &drain) {
		said.Cancelled = drain.Cancelled
	}
	if err != nil {
		said.Err = err.Error()
	}
	h.tell(said)
	if err == nil {
		h.leaked(goroutines)
	}
	return err
}

// listen takes what the parent says, a line each.
func (h *host) listen(in io.Reader, orders chan<- string, stop chan<- struct{}) {
	r := bufio.NewReader(in)
	for {
		order, err := r.ReadString('\n')
		if err != nil {
			os.Exit(1) // the parent is gone
		}
		switch order = strings.TrimSpace(order); order {
		case "stop":
			close(stop)
		default:
			orders <- order
		}
	}
}

// leaked tells of goroutines that a stop left behind which said that it left
// none.
func (h *host) leaked(before int) {
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond) // those that have said that they end
	}
	stacks := make([]byte, 64<<10)
	stacks = stacks[:runtime.Stack(stacks, true)]
	h.tell(line{Kind: lineLeaked, Goroutines: runtime.NumGoroutine() - before, Err: string(stacks)})
}

func (h *host) source() esm.Source {
	s := esm.Source{Brokers: h.Seeds, Topics: h.Topics, Group: h.Group, Client: []kgo.Opt{
		kgo.SessionTimeout(sessionTimeout), kgo.HeartbeatInterval(time.Second), kgo.ClientID(h.Name), kgo.WithHooks(h),
		kgo.SASL(plain.Auth{User: kafkatest.User, Pass: kafkatest.Password}.AsMechanism()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if proxy, ok := h.Proxies[addr]; ok {
				addr = proxy
			}
			d := net.Dialer{Timeout: 5 * time.Second}
			return d.DialContext(ctx, network, addr)
		}),
	}}
	switch h.Protocol {
	case serverSide:
		s.Client = append(s.Client, kgo.ServerSideBalancer())
	case static:
		s.InstanceID = h.Name
	}
	return s
}

func (h *host) options() []esm.Option {
	level := slog.LevelError + 1
	if h.Debug {
		level = slog.LevelDebug
	}
	opts := append(updates[0].of(h.GroupCalls).options(), esm.WithGroupBounds(h.GroupCalls > 0),
		esm.WithBatchBytes(batchBytes), esm.WithBackoff(esm.Constant(50*time.Millisecond)), esm.WithRevokeTimeout(10*time.Second),
		esm.WithMaxRetries(maxRetries), esm.WithMaxRecordAge(maxAge), esm.WithDestination(esm.DestinationFunc(h.deliver)),
		esm.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("host", h.Name)),
		esm.WithHooks(h.hooks()))
	if !h.HaltsForGood {
		opts = append(opts, esm.WithPauseOnHalt(true))
	}
	return opts
}

func (h *host) hooks() esm.Hooks {
	return esm.Hooks{
		Assigned: func(i esm.Rebalance) {
			h.tell(line{Kind: lineAssigned, Parts: partitionsOf(i.Partitions), Share: h.share()})
		},
		Revoked: func(i esm.Rebalance) {
			l := line{Kind: lineRevoked, Parts: partitionsOf(i.Partitions), Lost: i.Lost, Cancelled: i.Cancelled, Again: i.Again, Share: h.share()}
			if i.CommitErr != nil {
				l.Err = i.CommitErr.Error()
			}
			h.tell(l)
		},
		// The hook is called when the lease is taken, and what it holds up is
		// the call: so there is time in between for the partition to be lost.
		InvokeStarted: func(i esm.Invocation) {
			h.tell(line{Kind: lineLeased, Call: i.Batch.ID})
			if holdUp() {
				h.tell(line{Kind: lineHeldUp, Call: i.Batch.ID})
			}
		},
		Committed: func(i esm.Commit) {
			l := line{Kind: lineCommitted}
			for tp, at := range i.Offsets {
				l.Parts = append(l.Parts, part{Partition: number(tp.Topic, tp.Partition), Offset: at})
			}
			if len(l.Parts) > 0 {
				h.tell(l)
			}
		},
		Discarded: func(i *esm.Discard) {
			l := line{Kind: lineDiscarded, Reason: i.Reason.String(), Attempts: i.Attempts}
			l.add(number(i.Record.Topic, i.Record.Partition), i.Record.Offset, i.Record.Offset)
			h.tell(l)
			holdUp() // the next record that is to be given up
		},
		PositionReset: func(i esm.Gap) {
			n := number(i.Topic, i.Partition)
			h.tell(line{Kind: lineReset, Err: fmt.Sprint(i.Err), Parts: []part{{Partition: n, Offset: i.To, Spans: []span{{i.To, i.From - 1, i.To}}}}})
		},
		RecordsLost: func(i esm.Gap) {
			n := number(i.Topic, i.Partition)
			h.tell(line{Kind: lineGone, Parts: []part{{Partition: n, Spans: []span{{i.From, i.To - 1, i.From}}}}})
		},
		ProblemRaised: func(i esm.Problem) {
			h.tell(line{Kind: lineProblem, With: i.With, Err: fmt.Sprint(i.Err)})
		},
		ProblemCleared: func(i esm.Problem) { h.tell(line{Kind: lineSolved, With: i.With}) },
		StateChanged: func(i esm.State) {
			if i.Phase == esm.PhaseHalted {
				h.tell(line{Kind: lineHalted})
				select {
				case h.halted <- struct{}{}:
				default: // nobody waits for another one
				}
			}
		},
	}
}

// share is what it has of the calls of its group.
func (h *host) share() int {
	if h.GroupCalls == 0 {
		return 0
	}
	return max(0, h.mapping.Stats().MaxConcurrency)
}

// holdUp holds up what a hook was told of, now and then.
func holdUp() bool {
	if rand.IntN(50) > 0 {
		return false
	}
	time.Sleep(hookTime/2 + rand.N(hookTime/2))
	return true
}

func partitionsOf(tps []esm.TopicPartition) []part {
	parts := make([]part, len(tps))
	for i, tp := range tps {
		parts[i].Partition = number(tp.Topic, tp.Partition)
	}
	return parts
}

// live does what it is told, and says once a second how the process is, until
// it is to stop.
func (h *host) live(orders <-chan string, stop <-chan struct{}) {
	ctx, done := context.WithCancel(context.Background())
	defer done()
	var obeying sync.WaitGroup
	defer obeying.Wait()
	defer done()
	obeying.Go(func() {
		for {
			select {
			case order := <-orders:
				h.obey(ctx, order)
			case <-ctx.Done():
				return
			}
		}
	})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-stop:
			return
		case <-h.mapping.Done():
			return
		case <-tick.C:
			metrics.Read(sample)
			st := h.mapping.Stats()
			l := line{Kind: lineStats, Goroutines: runtime.NumGoroutine(), Heap: int64(sample[0].Value.Uint64()), Held: st.HeldBytes,
				Fetches: h.fetches.Swap(0), Evicted: st.EvictedEventCount, Share: h.share()}
			for _, problem := range h.mapping.State().Problems {
				l.Problems = append(l.Problems, problem.With)
			}
			if err := h.mapping.Healthy(); err != nil {
				l.Unwell = err.Error()
			}
			h.tell(l)
		}
	}
}
