package kafkadest_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
	"github.com/seed429fd032/esm/kafkadest"
)

func TestMissingTopicIsNamedAndThenFound(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := name()
		dest := k.dest(kafkadest.Config{Topic: topic})
		for range 2 {
			began := time.Now()
			err := deliver(t, dest, discard(1, "v"))
			wantError(t, err, kerr.UnknownTopicOrPartition, topic)
			wantError(t, err, kerr.UnknownTopicOrPartition, "Create it")
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("to say so took %s", took)
			}
		}
		k.make(topic, 2)
		insist(t, dest, discard(1, "v"))
		k.read(topic, 1)
	})
}

// insist delivers as a Mapping does, again and again.
func insist(t *testing.T, dest *kafkadest.Destination, g *esm.Discard) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 2*time.Minute)
	defer done()
	for ; ; g.Delivery++ {
		one, oneDone := context.WithTimeout(ctx, 30*time.Second)
		err := dest.Deliver(one, g)
		oneDone()
		if err == nil {
			return
		}
		t.Logf("delivery %d: %v", g.Delivery, err)
		select {
		case <-ctx.Done():
			t.Errorf("after two minutes: %v", err)
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func TestTopicThatIsMadeAgain(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic})
		must(t, dest, discard(1, "v"))
		if _, err := k.admin.DeleteTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		if err := deliver(t, dest, discard(2, "v")); err == nil {
			t.Error("it was taken by a topic that is gone")
		} else if !strings.Contains(err.Error(), topic) {
			t.Error(err)
		}
		k.makeAgain(topic)
		insist(t, dest, discard(2, "v"))
		k.read(topic, 1)
	})
}

// makeAgain makes a topic that was deleted, which takes a real cluster a moment.
func (k *anyKafka) makeAgain(topic string) {
	k.t.Helper()
	for range 100 {
		resp, err := k.admin.CreateTopic(k.t.Context(), 1, -1, nil, topic)
		if err == nil && resp.Err == nil {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	k.t.Fatalf("%s could not be made again", topic)
}

func TestTooLargeForTheTopic(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1, "max.message.bytes", "100000")
		dest := k.dest(kafkadest.Config{Topic: topic, Client: []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}})
		large := discard(1, strings.Repeat("v", 150_000))
		wantError(t, deliver(t, dest, large), kerr.MessageTooLarge, "max.message.bytes")

		limit := "200000"
		if _, err := k.admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, topic); err != nil {
			t.Fatal(err)
		}
		insist(t, dest, large)
		k.read(topic, 1)
	})
}

// TestBrokerJudgesLargeRecords: the client's own limit of a megabyte is none.
func TestBrokerJudgesLargeRecords(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		small := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: small, Client: []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}})
		wantError(t, deliver(t, dest, discard(1, strings.Repeat("v", 3_000_000))), kerr.MessageTooLarge, "compressed_bytes=3")
		k.read(small, 0)
		must(t, dest, discard(2, "v"))

		roomy := k.make(name(), 1, "max.message.bytes", "20000000")
		dest = k.dest(kafkadest.Config{Topic: roomy})
		must(t, dest, discard(1, strings.Repeat("v", 10_000_000)))
		k.read(roomy, 1)
	})
}

// TestRecordsThatFitAloneAreAllTaken, although the client makes batches of them
// that do not fit.
func TestRecordsThatFitAloneAreAllTaken(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1, "max.message.bytes", "100000")
		var written batches
		dest := k.dest(kafkadest.Config{Topic: topic,
			Client: []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(50 * time.Millisecond), kgo.WithHooks(&written)}})
		var wg sync.WaitGroup
		for i := range 20 {
			g := discard(int64(i), strings.Repeat("v", 60_000))
			g.Record.Partition = int32(i)
			wg.Go(func() {
				if err := deliver(t, dest, g); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		k.read(topic, 20)
	})
}

// TestNoRight asks a real broker, TestRightsThatAreGivenLater the one in
// memory. It is a broker of its own, which knows nobody and gives all rights
// that are not denied.
// guardedKafka starts a real Kafka that can deny the right to write to a topic.
func guardedKafka(t *testing.T) (k *anyKafka, deny, allow func(topic string)) {
	t.Helper()
	if !kafkatest.Wanted() {
		t.Skip(kafkatest.NotWanted)
	}
	cluster, err := kafkatest.Start(t.Context(), kafkatest.Config{Properties: map[string]string{
		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"allow.everyone.if.no.acl.found": "true",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	k = connectTo(t, cluster.Addrs)
	acl := func(topic string) *kadm.ACLBuilder {
		return kadm.NewACLs().Deny("User:ANONYMOUS").DenyHosts("*").Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpWrite)
	}
	deny = func(topic string) {
		if _, err := k.admin.CreateACLs(t.Context(), acl(topic)); err != nil {
			t.Fatal(err)
		}
	}
	allow = func(topic string) {
		if _, err := k.admin.DeleteACLs(t.Context(), acl(topic)); err != nil {
			t.Fatal(err)
		}
	}
	return k, deny, allow
}

func TestNoRight(t *testing.T) {
	k, deny, allow := guardedKafka(t)
	topic := k.make(name(), 1)
	dest := k.dest(kafkadest.Config{Topic: topic})
	deny(topic)
	wantError(t, deliver(t, dest, discard(1, "v")), kerr.TopicAuthorizationFailed, "Write")
	allow(topic)
	insist(t, dest, discard(1, "v"))
	k.read(topic, 1)
}

// hasty is for tests of what takes several tries.
var hasty = kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond })

func TestRightsThatAreGivenLater(t *testing.T) {
	k := fakeKafka(t, kfake.SeedTopics(1, "failed"), kfake.EnableACLs(), kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", "a"), kfake.User("PLAIN", "writer", "w"))
	as := func(user, pass string) kgo.Opt { return kgo.SASL(plain.Auth{User: user, Pass: pass}.AsMechanism()) }
	admin := connectTo(t, k.brokers, as("admin", "a"))

	wrong := k.dest(kafkadest.Config{Topic: "failed", Client: []kgo.Opt{as("writer", "wrong"), hasty}})
	if err := deliver(t, wrong, discard(1, "v")); err == nil {
		t.Error("the wrong password was taken")
	}

	dest := k.dest(kafkadest.Config{Topic: "failed", Client: []kgo.Opt{as("writer", "w")}})
	wantError(t, deliver(t, dest, discard(1, "v")), kerr.TopicAuthorizationFailed, "Describe and Write")
	grant := func(op kadm.ACLOperation) {
		t.Helper()
		acl := kadm.NewACLs().Allow("User:writer").AllowHosts("*").Topics("failed").ResourcePatternType(kadm.ACLPatternLiteral).Operations(op)
		if _, err := admin.admin.CreateACLs(t.Context(), acl); err != nil {
			t.Fatal(err)
		}
	}
	grant(kadm.OpDescribe)
	err := deliver(t, dest, discard(1, "v"))
	if !strings.Contains(fmt.Sprint(err), "Write on the topic") {
		t.Errorf("%v", err)
	}
	grant(kadm.OpWrite)
	insist(t, dest, discard(1, "v"))
	admin.read("failed", 1)
}

func TestClusterThatCannotBeReached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // nobody listens there any more
	dest, err := kafkadest.New(kafkadest.Config{Brokers: []string{addr}, Topic: "failed", Client: []kgo.Opt{hasty}})
	if err != nil {
		t.Fatal(err)
	}
	defer dest.Close()
	if err := deliver(t, dest, discard(1, "v")); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
	ctx, done := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer done()
	wantError(t, dest.Deliver(ctx, discard(1, "v")), context.DeadlineExceeded, "refused")
}

// TestTooFewReplicas runs in memory only: a real cluster has to lose brokers for
// it, and asks for no more replicas than there are.
func TestTooFewReplicas(t *testing.T) {
	k := fakeKafka(t)
	topic := k.make(name(), 1)
	k.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.fake.KeepControl()
		return refuse(req.(*kmsg.ProduceRequest), kerr.NotEnoughReplicas), nil, true
	})
	dest := k.dest(kafkadest.Config{Topic: topic, Client: []kgo.Opt{hasty}})
	wantError(t, deliver(t, dest, discard(1, "v")), kerr.NotEnoughReplicas, "min.insync.replicas")
}

// refuse answers a request with an error for each partition.
func refuse(req *kmsg.ProduceRequest, why *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, rt := range req.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic, t.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = rp.Partition, why.Code
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// TestMessageThatWasSentIsWaitedFor: the answer of the broker is late, and the
// Deliver that sent the message has given up. The next one does not send it
// again.
func TestMessageThatWasSentIsWaitedFor(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		var line deaf
		var written batches
		// A connection for the client's metrics that hears nothing while it is
		// opened would hold up the one for messages.
		dest := k.dest(kafkadest.Config{Topic: topic, Client: []kgo.Opt{kgo.Dialer(line.dial), kgo.WithHooks(&written), kgo.DisableClientMetrics()}})
		must(t, dest, discard(1, "v"))

		for _, answered := range []bool{false, true} { // before the next Deliver
			before, batchesBefore := k.count(topic), written.count()
			hear := line.block()
			defer hear()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			first := make(chan error, 1)
			go func() { first <- dest.Deliver(ctx, discard(2+before, "v")) }()
			until(t, func() bool { return k.count(topic) > before })
			cancel()
			wantError(t, <-first, context.Canceled, topic)

			again := discard(2+before, "v")
			again.Delivery = 2
			if answered {
				hear()
				until(t, func() bool { return written.count() > batchesBefore })
				must(t, dest, again)
			} else {
				second := make(chan error, 1)
				go func() { second <- deliver(t, dest, again) }()
				select {
				case err := <-second:
					t.Errorf("it did not wait: %v", err)
				case <-time.After(100 * time.Millisecond):
				}
				hear()
				if err := <-second; err != nil {
					t.Error(err)
				}
			}
			if n := k.count(topic); n != before+1 {
				t.Errorf("%d messages, want %d", n, before+1)
			}
		}

		// A record that comes again as a new one is sent again.
		before := k.count(topic)
		must(t, dest, discard(1, "v"))
		if n := k.count(topic); n != before+1 {
			t.Errorf("%d messages, want %d", n, before+1)
		}
	})
}

// until waits for something that nobody tells of.
func until(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("after a minute: not yet")
		}
	}
}

// deaf makes connections on which nothing is heard while it is blocked.
type deaf struct {
	mu   sync.Mutex
	hear chan struct{} // nil, or closed when it is heard again
}

func (d *deaf) block() (hear func()) {
	ch := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hear = ch
	return sync.OnceFunc(func() { close(ch) })
}

func (d *deaf) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return deafConn{c, d}, nil
}

type deafConn struct {
	net.Conn
	d *deaf
}

func (c deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.d.mu.Lock()
	hear := c.d.hear
	c.d.mu.Unlock()
	if hear != nil {
		<-hear
	}
	return n, err
}

// TestOneThatEndsTakesNobodyWithIt: the client fails all messages of a topic
// that it does not know yet when the first one is taken back.
func TestOneThatEndsTakesNobodyWithIt(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		connect := make(chan struct{})
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			select {
			case <-connect:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		buffered := make(chan struct{}, 100)
		dest := k.dest(kafkadest.Config{Topic: topic, Client: []kgo.Opt{kgo.Dialer(dial), kgo.WithHooks(bufferedHook(buffered))}})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- dest.Deliver(ctx, discard(1, "first")) }()
		wait(t, buffered)
		other := discard(2, "second")
		other.Record.Partition++
		go func() { second <- deliver(t, dest, other) }()
		wait(t, buffered)
		cancel()
		wantError(t, <-first, context.Canceled, topic)
		close(connect)
		if err := <-second; err != nil {
			t.Error(err)
		}
		seconds := 0
		for _, r := range k.read(topic, int(k.count(topic))) { // the first may have gone on
			if strings.HasSuffix(string(r.Key), "-2") {
				seconds++
			}
		}
		if seconds != 1 {
			t.Errorf("it arrived %d times", seconds)
		}
	})
}

type bufferedHook chan struct{}

func (h bufferedHook) OnProduceRecordBuffered(*kgo.Record) { h <- struct{}{} }

// TestDeliveriesDoNotSufferFromOthers: one whose context ends takes others with
// it in the client, which must not show.
func TestDeliveriesDoNotSufferFromOthers(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		dest := k.dest(kafkadest.Config{Topic: topic})
		var wg sync.WaitGroup
		for i := range 400 {
			g := discard(int64(i), "v")
			g.Record.Partition = int32(i)
			ctx, cancel := context.WithCancel(t.Context())
			wg.Go(func() {
				defer cancel()
				err := dest.Deliver(ctx, g)
				if i%2 == 0 && err != nil {
					t.Errorf("%d: %v", i, err)
				}
				if i%2 == 1 && err != nil {
					g.Delivery = 2
					insist(t, dest, g)
				}
			})
			if i%2 == 1 {
				wg.Go(cancel)
			}
		}
		wg.Wait()
		k.read(topic, 400)
	})
}

// TestLeaderDies while records are delivered: each arrives once.
func TestLeaderDies(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		const lanes, each = 10, 30
		topic := k.make(name(), 2)
		dest := k.dest(kafkadest.Config{Topic: topic})
		halfway := make(chan struct{}, lanes*each)
		var wg sync.WaitGroup
		for lane := range lanes {
			wg.Go(func() {
				for i := range each {
					g := discard(int64(i), fmt.Sprint(lane, "/", i))
					g.Record.Partition = int32(lane)
					insist(t, dest, g)
					halfway <- struct{}{}
				}
			})
		}
		for range lanes * each / 2 {
			<-halfway
		}
		if k.fake != nil {
			k.fake.ShufflePartitionLeaders()
			if err := k.fake.RemoveNode(k.fake.LeaderFor(topic, 0)); err != nil {
				t.Fatal(err)
			}
		} else {
			topics, err := k.admin.ListTopics(t.Context(), topic)
			if err != nil {
				t.Fatal(err)
			}
			leader := int(topics[topic].Partitions[0].Leader) - 1
			if err := k.real.Kill(leader); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if err := k.real.Restart(t.Context(), leader); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		until(t, func() bool {
			ends, err := k.admin.ListEndOffsets(t.Context(), topic)
			return err == nil && ends.Error() == nil
		})
		k.read(topic, lanes*each)
	})
}
