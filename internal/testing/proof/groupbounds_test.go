package proof_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// sharers are the processes of a group that shares its bounds. They count what all of
// them call at once.
type sharers struct {
	t       *testing.T
	kafka   *esmtest.Kafka
	source  esm.Source
	options []esm.Option
	most    int // calls at once
	takes   func() time.Duration

	mu         sync.Mutex
	members    []*sharer // those that live
	dead       []*sharer
	joined     int
	calls      int
	highest    int // calls at once
	oneSlots   int // of those at most were the one slot of a process without a share
	violations []string
	told       []string
}

// A sharer is one of them. It dies as a process does: all of it at once.
type sharer struct {
	name    string
	mapping *esm.Mapping
	running int
	dead    bool
	conns   map[net.Conn]bool
}

// one reports whether a member has but the one slot that it has without a share.
func (m *sharer) one() bool {
	s := m.mapping.Stats()
	return m.running == 1 && (s.MaxPollers == 0 || s.MaxConcurrency == 0)
}

func (c *sharers) invoke(m *sharer) error {
	c.mu.Lock()
	if m.dead {
		c.mu.Unlock()
		return errors.New("nobody is there")
	}
	m.running++
	c.judge()
	c.mu.Unlock()
	time.Sleep(c.takes())
	c.mu.Lock()
	defer c.mu.Unlock()
	m.running--
	return nil
}

// tell notes what becomes of partitions, to explain what was wrong.
func (c *sharers) tell(m *sharer, what string, i esm.Rebalance) {
	s := m.mapping.Stats()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, fmt.Sprintf("%s %s %s %d, lost %t, waited %s, cancelled %d: %d to %d pollers, calls %d, runs %d", time.Now().Format("04:05.000"), m.name, what, len(i.Partitions), i.Lost, i.Waited, i.Cancelled, s.MinPollers, s.MaxPollers, s.MaxConcurrency, m.running))
}

// judge counts the calls that run. Nothing begins or ends meanwhile.
func (c *sharers) judge() {
	c.calls++
	running := 0
	for _, m := range c.members {
		running += m.running
	}
	c.highest = max(c.highest, running)
	if running <= c.most {
		return
	}
	oneSlots := 0
	for _, m := range c.members {
		if m.one() {
			oneSlots++
		}
	}
	c.oneSlots = max(c.oneSlots, oneSlots)
	if running > c.most+oneSlots {
		s := fmt.Sprintf("%d calls run, %d may, and %d processes have one slot:", running, c.most, oneSlots)
		for _, m := range c.members {
			s += fmt.Sprintf(" %s %d", m.name, m.running)
		}
		if len(c.violations) == 0 {
			for _, told := range c.told[max(0, len(c.told)-40):] {
				s += "\n\t" + told
			}
			s += "\n\t" + time.Now().Format("04:05.000")
		}
		c.violations = append(c.violations, s)
	}
}

// dial connects a member that lives.
func (c *sharers) dial(m *sharer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := c.kafka.Dial(ctx, network, address)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil && m.dead {
			_ = conn.Close()
			err = errors.New("nobody is there")
		}
		if err == nil {
			m.conns[conn] = true
		}
		return conn, err
	}
}

func (c *sharers) join() *sharer {
	c.mu.Lock()
	c.joined++
	m := &sharer{name: fmt.Sprint("m", c.joined), conns: map[net.Conn]bool{}}
	c.mu.Unlock()
	source := c.source
	source.Client = append([]kgo.Opt{kgo.Dialer(c.dial(m))}, source.Client[1:]...) // the first one is the Kafka's own
	inv := esm.InvokerFunc(func(context.Context, *esm.Batch) error { return c.invoke(m) })
	mapping, err := esm.New(source, inv, append([]esm.Option{quiet(), esm.WithGroupBounds(true), esm.WithName(m.name), esm.WithStopTimeout(2 * time.Minute), esm.WithHooks(esm.Hooks{
		Assigned: func(i esm.Rebalance) { c.tell(m, "assigned", i) },
		Revoked:  func(i esm.Rebalance) { c.tell(m, "revoked", i) },
	}), esm.WithBatchSize(5), esm.WithBatchWindow(0), esm.WithPollerByteRate(esm.Unlimited)}, c.options...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	m.mapping = mapping
	c.mu.Lock()
	c.members = append(c.members, m)
	c.mu.Unlock()
	if err := mapping.Start(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	return m
}

// take takes a member out of those that live. It calls nothing any more, if it dies
// with that.
func (c *sharers) take(i int, dies bool) *sharer {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.members[i]
	if dies {
		m.dead = true
		for conn := range m.conns {
			_ = conn.Close()
		}
		c.members = append(c.members[:i:i], c.members[i+1:]...)
		c.dead = append(c.dead, m)
	}
	return m
}

// stable waits until no rebalance is under way. The fake ends the sessions of members
// that wait in one for a member that died after it began, and real brokers do not.
func (c *sharers) stable() {
	c.t.Helper()
	admin := kadm.NewClient(c.kafka.Client())
	waitFor(c.t, 2*time.Minute, "stable", func() bool {
		groups, err := admin.DescribeGroups(context.Background(), "billing")
		if err != nil {
			c.t.Fatal(err)
		}
		return groups["billing"].State == "Stable" || groups["billing"].State == "" // with KIP-848 it says nothing
	})
}

func (c *sharers) leave(i int) {
	m := c.take(i, false)
	stop(c.t, m.mapping)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.members {
		if c.members[i] == m {
			c.members = append(c.members[:i:i], c.members[i+1:]...)
			break
		}
	}
}

// end ends all of them.
func (c *sharers) end() {
	var ending sync.WaitGroup
	for _, m := range append(c.dead, c.members...) {
		ending.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			if m.dead {
				cancel()
			}
			defer cancel()
			if err := m.mapping.Stop(ctx); err != nil && !m.dead {
				c.t.Errorf("stop: %v", err)
			}
		})
	}
	ending.Wait()
	for i, v := range c.violations {
		if i < 5 {
			c.t.Error(v)
		}
	}
	c.t.Logf("%d processes, %d calls, at most %d at once of %d, %d of these in one slot", c.joined, c.calls, c.highest, c.most, c.oneSlots)
}

// forgive forgets what was wrong, and sets what is from now on.
func (c *sharers) forgive(most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violations, c.most = nil, most
}

// shares are what the processes have together, of pollers at least and at most, and of
// calls, and whether each of them knows its own.
func (c *sharers) shares() (least, most, calls int) {
	for _, m := range c.members {
		s := m.mapping.Stats()
		least, most, calls = least+s.MinPollers, most+s.MaxPollers, calls+s.MaxConcurrency
	}
	return least, most, calls
}

// newCrowd makes the group, without a member, and so many records for it.
func newCrowd(t *testing.T, partitions int, each int64, client []kgo.Opt, most int, options ...esm.Option) *sharers {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
	fill(k, "orders", partitions, each)
	c := &sharers{t: t, kafka: k, source: k.Source("orders", "billing"), most: most, options: options,
		takes: func() time.Duration {
			if rand.IntN(4) == 0 { // longer than it takes until partitions are somewhere else
				return time.Duration(4000+rand.IntN(10_000)) * time.Millisecond
			}
			return time.Duration(50+rand.IntN(600)) * time.Millisecond
		}}
	if len(c.source.Client) != 1 {
		t.Fatalf("a Source has %d options of the client", len(c.source.Client))
	}
	c.source.Client = append(c.source.Client, kgo.HeartbeatInterval(500*time.Millisecond), kgo.SessionTimeout(20*time.Second)) // longer than any call
	c.source.Client = append(c.source.Client, client...)
	return c
}

// assignors are how partitions come to members.
var assignors = map[string][]kgo.Opt{
	"range":       {kgo.Balancers(kgo.RangeBalancer())},
	"round-robin": {kgo.Balancers(kgo.RoundRobinBalancer())},
	"sticky":      {kgo.Balancers(kgo.StickyBalancer())},
	"cooperative": nil,
	"kip-848":     {kgo.ServerSideBalancer()},
}

// TestTheGroupKeepsItsBounds: members join, leave and die, and all of them together
// never have more calls than the bounds say.
func TestTheGroupKeepsItsBounds(t *testing.T) {
	const partitions = 40
	bounds := map[string]struct {
		most    int
		options []esm.Option
	}{
		"pollers":     {14, []esm.Option{esm.WithMinPollers(7), esm.WithMaxPollers(7), esm.WithPollerConcurrency(2)}},
		"concurrency": {11, []esm.Option{esm.WithMaxConcurrency(11), esm.WithMinPollers(40), esm.WithMaxPollers(40)}},
	}
	for name, client := range assignors {
		for bound, b := range bounds {
			if raceEnabled && !nightly && bound == "pollers" {
				continue // the same races
			}
			t.Run(name+"/"+bound, func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					c := newCrowd(t, partitions, 500, client, b.most, b.options...)
					c.join()
					c.join()
					changes := 12
					switch {
					case nightly:
						changes = 40
					case raceEnabled:
						changes = 5
					}
					for i := range changes {
						time.Sleep(time.Duration(1500+rand.IntN(5000)) * time.Millisecond)
						switch n := len(c.members); {
						case n < 3 || n < 10 && i%3 != 0:
							c.join()
						case i%2 == 0:
							c.stable()
							c.take(rand.IntN(n), true)
						default:
							c.leave(rand.IntN(n))
						}
					}
					time.Sleep(100 * time.Second) // the sessions of the dead are over
					if least, most, calls := c.shares(); bound == "pollers" && (least != 7 || most != 7) || bound == "concurrency" && calls != 11 {
						t.Errorf("%d processes have %d to %d pollers and %d calls", len(c.members), least, most, calls)
					}
					c.end()
					if c.highest < c.most || c.calls < 100 {
						t.Errorf("%d calls, %d at once: the test proves little", c.calls, c.highest)
					}
				})
			})
		}
	}
}

// TestFiftyProcessesKeepTheBounds of their group, as they come, one after the other,
// and as half of them go, dead and alive.
func TestFiftyProcessesKeepTheBounds(t *testing.T) {
	virtual(t, func(t *testing.T) {
		if raceEnabled && !nightly {
			t.Skip("takes minutes with the race detector")
		}
		c := newCrowd(t, 120, 300, nil, 60, esm.WithMaxConcurrency(60), esm.WithMinPollers(60), esm.WithMaxPollers(60))
		for range 50 {
			c.join()
		}
		// A partition is nobody's as long as a call of its former owner runs, which
		// is up to 14 s.
		least, most, calls := 0, 0, 0
		for wait := 0; wait < 40 && (least != 60 || most != 60 || calls != 60); wait++ {
			time.Sleep(time.Second)
			least, most, calls = c.shares()
		}
		if len(c.members) != 50 || least != 60 || most != 60 || calls != 60 {
			t.Errorf("%d processes have %d to %d pollers and %d calls", len(c.members), least, most, calls)
		}
		for i := range 25 {
			if i%2 == 0 {
				c.stable()
				c.take(rand.IntN(len(c.members)), true)
			} else {
				c.leave(rand.IntN(len(c.members)))
			}
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		if least, most, calls := c.shares(); len(c.members) != 25 || least != 60 || most != 60 || calls != 60 {
			t.Errorf("%d processes have %d to %d pollers and %d calls", len(c.members), least, most, calls)
		}
		c.end()
		if c.highest < c.most {
			t.Errorf("%d calls at once, and %d may", c.highest, c.most)
		}
	})
}

// TestPartitionsAreAddedToAGroupThatSharesItsBounds: soon all processes go by the new
// number. For a moment they do not agree, and may have more calls: that is documented.
func TestPartitionsAreAddedToAGroupThatSharesItsBounds(t *testing.T) {
	for _, name := range []string{"cooperative", "kip-848"} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				c := newCrowd(t, 12, 2000, assignors[name], 9, esm.WithMaxConcurrency(9), esm.WithMinPollers(40), esm.WithMaxPollers(40))
				for range 4 {
					c.join()
				}
				sum := func(what string, partitions, want int) {
					t.Helper()
					waitFor(t, time.Minute, what, func() bool {
						owned := 0
						for _, m := range c.members {
							owned += m.mapping.Stats().Partitions
						}
						_, _, calls := c.shares()
						return owned == partitions && calls == want
					})
				}
				sum("shared", 12, 9)
				resp, err := kadm.NewClient(c.kafka.Client()).CreatePartitions(t.Context(), 28, "orders")
				if err == nil {
					err = resp.Error()
				}
				if err != nil {
					t.Fatal(err)
				}
				sum("shared again", 40, 9)
				time.Sleep(20 * time.Second) // what ran when they did not agree is over
				c.forgive(17)
				for _, m := range c.members { // and they are told what bound they have, all of them
					if err := m.mapping.Update(esm.WithMaxConcurrency(17)); err != nil {
						t.Fatal(err)
					}
				}
				sum("updated", 40, 17)
				time.Sleep(20 * time.Second)
				c.end()
			})
		})
	}
}
