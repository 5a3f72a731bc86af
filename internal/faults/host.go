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
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
)

// A hostConfig is what the parent tells a host, as JSON.
type hostConfig struct {
	Name     string
	Topic    string
	Group    string
	Protocol string
	// Proxies are the addresses that stand for those of the brokers.
	Proxies map[string]string
	Seeds   []string
	Seed    uint64
	Debug   bool
}

// budget is what a host may hold in memory.
const budget = 16 << 20

// A host is a process with a Mapping, as a user has one: it tells what it
// does, and stops when it is told to, or when nobody listens any more.
type host struct {
	hostConfig
	teller
	calls, fetches atomic.Int64
}

// OnBrokerWrite counts fetch requests: a client that asks without a pause
// burns a processor, and nothing else shows it.
func (h *host) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Fetch) {
		h.fetches.Add(1)
	}
}

func runHost(config string, in io.Reader, out io.Writer) error {
	h := &host{teller: teller{w: out}}
	if err := json.Unmarshal([]byte(config), &h.hostConfig); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m, err := esm.New(h.source(), esm.InvokerFunc(h.invoke), h.options()...)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
			os.Exit(1) // the parent is gone
		}
		close(stop)
	}()
	started := make(chan error, 1)
	go func() { started <- m.Start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			h.tell(line{Kind: lineStopped, Err: "start: " + err.Error()})
			return err
		}
		h.tell(line{Kind: lineStarted})
		h.live(m, stop)
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
	return err
}

func (h *host) source() esm.Source {
	s := esm.Source{Brokers: h.Seeds, Topics: []string{h.Topic}, Group: h.Group, Client: []kgo.Opt{
		kgo.SessionTimeout(sessionTimeout), kgo.HeartbeatInterval(time.Second), kgo.ClientID(h.Name), kgo.WithHooks(h),
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
	return []esm.Option{
		esm.WithMaxPollers(10), esm.WithBatchSize(50), esm.WithBatchWindow(50 * time.Millisecond), esm.WithMemoryBudget(budget),
		esm.WithBackoff(esm.Constant(50 * time.Millisecond)), esm.WithRevokeTimeout(10 * time.Second),
		esm.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("host", h.Name)),
		esm.WithHooks(esm.Hooks{
			Assigned: func(i esm.AssignedInfo) { h.tell(line{Kind: lineAssigned, Parts: partsOf(i.Added)}) },
			Revoked: func(i esm.RevokedInfo) {
				l := line{Kind: lineRevoked, Parts: partsOf(i.Partitions), Lost: i.Lost, Cancelled: i.Cancelled}
				if i.CommitErr != nil {
					l.Err = i.CommitErr.Error()
				}
				h.tell(l)
			},
			Committed: func(i esm.CommittedInfo) {
				l := line{Kind: lineCommitted}
				for tp, at := range i.Offsets {
					l.Parts = append(l.Parts, part{Partition: tp.Partition, Offset: at})
				}
				if len(l.Parts) > 0 {
					h.tell(l)
				}
			},
			PositionReset: func(i esm.ResetInfo) {
				h.tell(line{Kind: lineReset, Err: fmt.Sprint(i.Err), Parts: []part{{Partition: i.Partition, Offset: i.To, Spans: [][2]int64{{i.To, i.From - 1}}}}})
			},
			RecordsLost: func(i esm.LossInfo) {
				h.tell(line{Kind: lineGone, Parts: []part{{Partition: i.Partition, Spans: [][2]int64{{i.From, i.To - 1}}}}})
			},
			ProblemRaised: func(i esm.ProblemInfo) {
				h.tell(line{Kind: lineProblem, Err: fmt.Sprintf("%s: %v", i.Problem.With, i.Problem.Err)})
			},
		}),
	}
}

// live says once a second how the process is, until it is to stop.
func (h *host) live(m *esm.Mapping, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-stop:
			return
		case <-m.Done():
			return
		case <-tick.C:
			metrics.Read(sample)
			st := m.Stats()
			h.tell(line{Kind: lineStats, Goroutines: runtime.NumGoroutine(), Heap: int64(sample[0].Value.Uint64()), Held: st.HeldBytes, Fetches: h.fetches.Swap(0)})
		}
	}
}

// invoke is the function: it takes its time, and fails in each way there is.
func (h *host) invoke(ctx context.Context, b *esm.Batch) error {
	call := fmt.Sprintf("%s#%d", b.ID, h.calls.Add(1))
	h.tell(line{Kind: lineCall, Call: call, Parts: spans(b.Records)})
	rng := rand.New(rand.NewPCG(h.Seed, uint64(b.Records[0].Offset)<<8|uint64(b.Attempt)))
	took := between(rng, 5*time.Millisecond, 25*time.Millisecond)
	if rng.IntN(300) == 0 {
		took = 2 * time.Second
	}
	timer := time.NewTimer(took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		h.tell(line{Kind: lineEnd, Call: call})
		return context.Cause(ctx)
	}
	switch rng.IntN(100) {
	case 0:
		h.tell(line{Kind: lineEnd, Call: call})
		return errors.New("no luck")
	case 1:
		h.tell(line{Kind: lineEnd, Call: call})
		panic("no luck at all")
	case 2:
		h.tell(line{Kind: lineEnd, Call: call})
		runtime.Goexit()
	case 3, 4:
		var f esm.Failures
		i := rng.IntN(len(b.Records))
		f.Add(b.Records[i], errors.New("this one not"))
		h.tell(line{Kind: lineEnd, Call: call, Parts: spans(slices.Delete(slices.Clone(b.Records), i, i+1))})
		return f.Err()
	}
	h.tell(line{Kind: lineEnd, Call: call, Parts: spans(b.Records)})
	return nil
}

// spans are the offsets of records, by partition.
func spans(records []*kgo.Record) []part {
	var parts []part
	for _, r := range records {
		i := slices.IndexFunc(parts, func(p part) bool { return p.Partition == r.Partition })
		if i < 0 {
			i = len(parts)
			parts = append(parts, part{Partition: r.Partition})
		}
		p := &parts[i]
		if n := len(p.Spans); n > 0 && p.Spans[n-1][1]+1 == r.Offset {
			p.Spans[n-1][1] = r.Offset
		} else {
			p.Spans = append(p.Spans, [2]int64{r.Offset, r.Offset})
		}
	}
	return parts
}

func partsOf(tps []esm.TopicPartition) []part {
	parts := make([]part, len(tps))
	for i, tp := range tps {
		parts[i].Partition = tp.Partition
	}
	return parts
}
