package proof_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
	"github.com/seed429fd032/esm/scaling"
)

// The tests in this file say what a Mapping does in real time, to whatever
// Kafka there is: always to the one in memory, and to a real one of three
// brokers if ESM_KAFKA=1, because what a fake says of a broker is an opinion.

// With KIP-848 it is the broker that says how long a session lasts and how
// often a member shows itself. Here that is as in the source of the tests.
var newProtocol = map[string]string{
	"group.consumer.heartbeat.interval.ms":     "500",
	"group.consumer.min.heartbeat.interval.ms": "500",
	"group.consumer.session.timeout.ms":        "6000",
	"group.consumer.min.session.timeout.ms":    "6000",
}

// The real clusters that the tests share.
var (
	realKafka = &kafkatest.Shared{Config: kafkatest.Config{Brokers: 3, Properties: with(newProtocol,
		"log.cleaner.backoff.ms", "200", // the pause of the compaction
	)}}
	secureKafka = &kafkatest.Shared{Config: kafkatest.Config{Secure: true, Properties: with(newProtocol,
		"offset.metadata.max.bytes", "0", // an offset and not a byte beside it
	)}}
)

// with adds a setting to others.
func with(settings map[string]string, key, value string) map[string]string {
	settings = maps.Clone(settings)
	settings[key] = value
	return settings
}

func TestMain(m *testing.M) {
	if os.Getenv(brokerVariable) != "" {
		serveBroker()
		return
	}
	flag.Parse()
	primeClient()
	if f := flag.Lookup("test.parallel"); kafkatest.Wanted() && f.Value.String() == f.DefValue {
		// Those that are parallel do little but wait for brokers, most of
		// them for a session or a pause to end.
		if err := f.Value.Set("6"); err != nil {
			panic(err)
		}
	}
	os.Exit(kafkatest.Main(m, realKafka, secureKafka))
}

// An anyKafka is a cluster of either kind.
type anyKafka struct {
	t       *testing.T
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	real    bool
	fake    *kfake.Cluster // nil if it is a real one
}

// topics makes each topic's name differ between tests.
var topics atomic.Int64

// everyKafka runs a test on each kind of cluster.
func everyKafka(t *testing.T, f func(t *testing.T, k *anyKafka)) {
	t.Run("memory", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(time.Second), kfake.BrokerConfigs(newProtocol))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		k := connectTo(t, cluster.ListenAddrs())
		k.fake = cluster
		f(t, k)
	})
	t.Run("real", func(t *testing.T) { f(t, theRealKafka(t)) })
}

// theRealKafka skips the test if none is wanted.
func theRealKafka(t *testing.T) *anyKafka {
	t.Helper()
	k := connectTo(t, realKafka.Get(t).Addrs)
	k.real = true
	return k
}

// endSessionsOfThoseWhoLeft keeps from a fake that a static member of KIP-848
// leaves for a while (epoch -2), so that to it the member just falls silent.
// The fake (kfake of September 2026) stops the timer of the session then, and
// keeps the partitions for the member for ever; a broker lets the session end,
// as that of any member that is not heard of. A fake that was told this must
// not be used to see such a member come back.
func (k *anyKafka) endSessionsOfThoseWhoLeft() {
	if k.fake == nil {
		return
	}
	k.fake.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.fake.KeepControl()
		req := r.(*kmsg.ConsumerGroupHeartbeatRequest)
		if req.MemberEpoch != -2 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		resp.MemberID, resp.MemberEpoch = &req.MemberID, req.MemberEpoch
		return resp, nil, true
	})
}

func connectTo(t *testing.T, brokers []string) *anyKafka {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &anyKafka{t: t, brokers: brokers, client: cl, admin: kadm.NewClient(cl)}
}

// topic makes a topic, with settings in pairs, and returns its name.
func (k *anyKafka) topic(partitions int, settings ...string) string {
	k.t.Helper()
	name := fmt.Sprintf("orders-%d", topics.Add(1))
	k.make(name, partitions, settings...)
	return name
}

// make makes a topic of this name.
func (k *anyKafka) make(name string, partitions int, settings ...string) {
	k.t.Helper()
	configs := map[string]*string{}
	for i := 0; i < len(settings); i += 2 {
		configs[settings[i]] = &settings[i+1]
	}
	resp, err := k.admin.CreateTopic(k.t.Context(), int32(partitions), -1, configs, name)
	if err = errors.Join(err, resp.Err); err != nil {
		k.t.Fatal(err)
	}
}

// fill writes numbered records into each partition, from one number on.
func (k *anyKafka) fill(topic string, partitions int, from, to int64) {
	k.t.Helper()
	var records []*kgo.Record
	for o := from; o < to; o++ {
		for p := range int32(partitions) {
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: fmt.Appendf(nil, "%d/%d", p, o)})
		}
	}
	if err := k.client.ProduceSync(k.t.Context(), records...).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}

// source reads a topic in a group of the same name. Its session is short, so
// that what waits for its end does not wait long.
func (k *anyKafka) source(topic string, opts ...kgo.Opt) esm.Source {
	return esm.Source{Brokers: k.brokers, Topics: []string{topic}, Group: topic,
		Client: append([]kgo.Opt{kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(500 * time.Millisecond)}, opts...)}
}

// wantCommitted checks what a group has committed of each partition.
func (k *anyKafka) wantCommitted(group, topic string, partitions int, want int64) {
	k.t.Helper()
	offsets, err := k.admin.FetchOffsets(context.Background(), group)
	if err != nil {
		k.t.Fatal(err)
	}
	for p := range int32(partitions) {
		if o, ok := offsets.Lookup(topic, p); !ok || o.At != want {
			k.t.Errorf("%s/%d: committed %d (%v), want %d", topic, p, o.At, ok, want)
		}
	}
}

// A crew is the members of a group, and what they have handled.
type crew struct {
	t      *testing.T
	ledger *ledger
	each   func()          // what the function does for each batch
	done   <-chan struct{} // closed when all that is wanted was handled

	mu    sync.Mutex
	marks []mark
}

// A mark is closed when so many different records were handled.
type mark struct {
	records int64
	reached chan struct{}
}

func newCrew(t *testing.T, wanted int64) *crew {
	c := &crew{t: t, ledger: newLedger(), each: func() {}}
	c.done = c.after(wanted)
	return c
}

// after is closed when so many different records were handled.
func (c *crew) after(records int64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := mark{records, make(chan struct{})}
	c.marks = append(c.marks, m)
	return m.reached
}

// join starts a member.
func (c *crew) join(name string, source esm.Source, opts ...esm.Option) *esm.Mapping {
	c.t.Helper()
	opts = append([]esm.Option{quiet(), esm.WithName(name), esm.WithBatchWindow(10 * time.Millisecond), esm.WithHooks(esm.Hooks{
		Assigned: func(i esm.Rebalance) { c.ledger.reassigned(name, i.Partitions) },
	})}, opts...)
	return esmtest.Start(c.t, source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		c.each()
		c.handled(name, b)
		return nil
	}), opts...)
}

// handled notes a batch, and of the marks that it reached.
func (c *crew) handled(name string, b *esm.Batch) {
	c.ledger.handled(name, b)
	n := c.ledger.different()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks = slices.DeleteFunc(c.marks, func(m mark) bool {
		if n < m.records {
			return false
		}
		close(m.reached)
		return true
	})
}

// wait waits until as many records were handled as are wanted.
func (c *crew) wait() {
	c.t.Helper()
	c.waitFor(c.done)
}

// waitFor waits for a mark.
func (c *crew) waitFor(reached <-chan struct{}) {
	c.t.Helper()
	select {
	case <-reached:
	case <-time.After(2 * time.Minute):
		c.t.Fatalf("after two minutes: %s", c.ledger)
	}
}

// judge fails the test if anything was lost, repeated or out of order.
func (c *crew) judge(topic string, partitions int, each int64) {
	c.t.Helper()
	if n := c.ledger.missing(topic, partitions, each); n != 0 || c.ledger.repeats != 0 || c.ledger.backward != 0 {
		c.t.Errorf("%d missing: %s", n, c.ledger)
	}
}

func TestRecordsAreHandledOnceInOrderAndCommitted(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(12)
		k.fill(topic, 12, 0, 2000)
		c := newCrew(t, 24_000)
		m := c.join("m", k.source(topic))
		c.wait()
		stop(t, m)
		c.judge(topic, 12, 2000)
		k.wantCommitted(topic, topic, 12, 2000)
		if s := m.Stats(); s.SettledEventCount != 24_000 || s.RebalanceCount != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestMembersComeAndGo: each way to share partitions, and nothing is handled
// twice.
func TestMembersComeAndGo(t *testing.T) {
	for name, opts := range map[string][]kgo.Opt{
		"cooperative": nil,
		"eager":       {kgo.Balancers(kgo.RangeBalancer())},
		"KIP-848":     {kgo.ServerSideBalancer()},
	} {
		t.Run(name, func(t *testing.T) {
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				const partitions, each = 8, 3000
				topic := k.topic(partitions)
				k.fill(topic, partitions, 0, each)
				c := newCrew(t, partitions*each)
				enough := make(chan struct{}, 1000)
				c.each = func() {
					pause(20 * time.Millisecond)
					select {
					case enough <- struct{}{}:
					default:
					}
				}
				source := k.source(topic, opts...)
				c.join("stays", source)
				for i := range 3 {
					other := c.join(fmt.Sprint("goes-", i), source)
					for range 30 { // it goes in the middle
						<-enough
					}
					stop(t, other)
				}
				c.wait()
				c.judge(topic, partitions, each)
			})
		})
	}
}

// pause is what a function does that takes its time.
func pause(d time.Duration) { <-time.After(d) }

func TestRestartGoesOnWhereItStopped(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(3)
		k.fill(topic, 3, 0, 100)
		all := newCrew(t, 600)
		first := newCrew(t, 300)
		first.ledger = all.ledger
		m := first.join("m", k.source(topic))
		first.wait()
		stop(t, m)
		k.fill(topic, 3, 100, 200)
		second := newCrew(t, 600)
		second.ledger = all.ledger
		m = second.join("m", k.source(topic))
		second.wait()
		stop(t, m)
		all.judge(topic, 3, 200)
		k.wantCommitted(topic, topic, 3, 200)
	})
}

func TestFailedBatchIsTriedAgain(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(2)
		k.fill(topic, 2, 0, 5)
		inv := esmtest.NewInvoker(t).Fail(2, errBilling).Throttle(1, 10*time.Millisecond).Panic("oh")
		m := esmtest.Start(t, k.source(topic), inv, quiet(), esm.WithBackoff(esm.Constant(10*time.Millisecond)), esm.WithBatchWindow(10*time.Millisecond))
		for n := 5; len(inv.Values()) < 10; n++ {
			inv.Wait(n)
		}
		stop(t, m)
		values := inv.Values()
		slices.Sort(values)
		if got := strings.Join(values, " "); got != "0/0 0/1 0/2 0/3 0/4 1/0 1/1 1/2 1/3 1/4" {
			t.Errorf("handled %s", got)
		}
		k.wantCommitted(topic, topic, 2, 5)
	})
}

func TestHaltStopsBeforeTheRecordThatAskedForIt(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(1)
		k.fill(topic, 1, 0, 20)
		inv := esmtest.NewInvoker(t).Return(nil, esm.Halt(errBilling))
		m := esmtest.Start(t, k.source(topic), inv, quiet(), esm.WithBatchSize(10))
		<-m.Done()
		var halt *esm.HaltError
		if err := m.Err(); !errors.As(err, &halt) || !errors.Is(err, errBilling) {
			t.Errorf("%v", err)
		}
		k.wantCommitted(topic, topic, 1, 10)
	})
}

func TestLatestLosesNothingThatCameAfterStart(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(3)
		k.fill(topic, 3, 0, 10)
		source := k.source(topic)
		source.Start = esm.Latest()
		c := newCrew(t, 30)
		m := c.join("m", source)
		k.wantCommitted(topic, topic, 3, 10) // before Start returned
		k.fill(topic, 3, 10, 20)
		c.wait()
		stop(t, m)
		if n := c.ledger.missing(topic, 3, 20); n != 30 || c.ledger.repeats != 0 {
			t.Errorf("%d are missing, and 30 came before the start: %s", n, c.ledger)
		}
	})
}

// TestTransactionsLeaveNoHoles: the markers of transactions take offsets, and
// the committed offset passes them. Records of aborted ones are not seen by
// those who do not want them.
func TestTransactionsLeaveNoHoles(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(1)
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint("a", i)), kgo.StringRecord(fmt.Sprint("b", i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := cl.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
		}
		inv := esmtest.NewInvoker(t)
		caughtUp := make(chan struct{})
		var once sync.Once
		esmtest.Start(t, k.source(topic, kgo.FetchIsolationLevel(kgo.ReadCommitted())), inv, quiet(), esm.WithBatchWindow(10*time.Millisecond),
			esm.WithHooks(esm.Hooks{Sampled: func(d scaling.Decision) {
				if lanes := d.Sample.Lanes; len(lanes) == 1 && lanes[0].End == 12 && lanes[0].Lag == 0 {
					once.Do(func() { close(caughtUp) })
				}
			}}))
		select {
		case <-caughtUp:
		case <-time.After(time.Minute):
			t.Fatal("the lag is not gone after a minute")
		}
		if got := strings.Join(inv.Values(), " "); got != "a0 b0 a2 b2" {
			t.Errorf("handled %q", got)
		}
	})
}

func TestCompressionsAreRead(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(1)
		for i, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
			cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.ProducerBatchCompression(codec))
			if err != nil {
				t.Fatal(err)
			}
			var records []*kgo.Record
			for j := range 100 {
				records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d/%d", i, j)})
			}
			err = cl.ProduceSync(t.Context(), records...).FirstErr()
			cl.Close()
			if err != nil {
				t.Fatal(err)
			}
		}
		c := newCrew(t, 400)
		c.join("m", k.source(topic))
		c.wait()
		c.judge(topic, 1, 400)
	})
}

func TestPauseHoldsAndResumeGoesOn(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.topic(4)
		c := newCrew(t, 400)
		m := c.join("m", k.source(topic))
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.fill(topic, 4, 0, 100)
		if s := m.Stats(); s.InvokeCount != 0 {
			t.Errorf("%d invocations while paused", s.InvokeCount)
		}
		if err := m.Resume(); err != nil {
			t.Fatal(err)
		}
		c.wait()
		c.judge(topic, 4, 100)
	})
}

func TestMissingTopicFailsStart(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		m := esmtest.New(t, k.source("nowhere"), esmtest.NewInvoker(t), quiet())
		var se *esm.StartError
		if err := m.Start(t.Context()); !errors.As(err, &se) || !strings.Contains(err.Error(), "UNKNOWN_TOPIC_OR_PARTITION") {
			t.Errorf("%v", err)
		}
	})
}

// TestTopicDeletedBesideAnother: State names the topic, and the other one
// flows.
func TestTopicDeletedBesideAnother(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		stays, goes := k.topic(2), k.topic(2)
		source := k.source(stays)
		source.Topics = append(source.Topics, goes)
		raised := make(chan esm.Problem, 100)
		c := newCrew(t, 200)
		m := c.join("m", source, esm.WithHooks(esm.Hooks{ProblemRaised: func(i esm.Problem) { raised <- i }}))
		if _, err := k.admin.DeleteTopic(t.Context(), goes); err != nil {
			t.Fatal(err)
		}
		for found := false; !found; {
			select {
			case i := <-raised:
				found = strings.Contains(i.With, goes)
			case <-time.After(time.Minute):
				t.Fatalf("a minute after the topic was deleted: %+v", m.State())
			}
		}
		k.fill(stays, 2, 0, 100)
		c.wait()
		c.judge(stays, 2, 100)
		stop(t, m)
		k.wantCommitted(stays, stays, 2, 100)
	})
}

// TestBrokersDieAndComeBack: one broker after the other is killed and started
// again while records flow.
func TestBrokersDieAndComeBack(t *testing.T) {
	cluster := realKafka.Get(t)
	k := connectTo(t, cluster.Addrs)
	const partitions, each = 12, 4000
	topic := k.topic(partitions)
	k.fill(topic, partitions, 0, each)
	c := newCrew(t, partitions*each)
	c.each = func() { pause(300 * time.Millisecond) } // 12 s, for all at once
	var lost list[esm.Rebalance]
	m := c.join("m", k.source(topic, kgo.SessionTimeout(30*time.Second)), esm.WithHooks(esm.Hooks{Revoked: lost.add}))
	for i := range 3 {
		if err := cluster.Kill(i); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Restart(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	c.wait()
	again := int64(0)
	for _, l := range lost.all() {
		// On a busy machine the brokers may be away for longer than the
		// session lasts. What was settled since the last commit comes again.
		if again = c.ledger.repeated(); !l.Lost {
			t.Errorf("revoked without a reason: %+v", l)
		}
	}
	stop(t, m)
	if n := c.ledger.missing(topic, partitions, each); n != 0 || c.ledger.repeated() > again || c.ledger.backward != 0 {
		t.Errorf("%d missing, after %d lost sessions: %s", n, len(lost.all()), c.ledger)
	}
	connectTo(t, k.brokers).wantCommitted(topic, topic, partitions, each) // its old connections are dead
	if s := m.Stats(); s.LostEventCount != 0 || s.ResetCount != 0 {
		t.Errorf("%d offsets lost, %d positions reset", s.LostEventCount, s.ResetCount)
	}
}
