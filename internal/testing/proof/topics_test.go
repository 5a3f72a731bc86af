package proof_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/scaling"
)

// The tests in this file are about topics that change under a Mapping.

// A nudge gets hold of a Mapping's client, to have it look at the cluster at
// once. It would do so by itself after half a minute, which virtual time shows.
type nudge struct {
	mu     sync.Mutex
	client *kgo.Client
}

func (n *nudge) OnNewClient(cl *kgo.Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.client = cl // the last one is the real one
}

func (n *nudge) look() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.client.ForceMetadataRefresh()
}

// write produces values into one partition, in this order.
func (k *anyKafka) write(topic string, partition int32, values ...string) {
	k.t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)})
	}
	if err := k.client.ProduceSync(k.t.Context(), records...).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}

// grow adds partitions to a topic, and returns when all brokers know them.
func (k *anyKafka) grow(topic string, to int) {
	k.t.Helper()
	made, err := k.admin.UpdatePartitions(k.t.Context(), to, topic)
	if err = errors.Join(err, made.Error()); err != nil {
		k.t.Fatal(err)
	}
	ctx, done := context.WithTimeout(k.t.Context(), time.Minute)
	defer done()
	for _, b := range k.client.SeedBrokers() {
		for known := 0; known < to; {
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
			resp, err := b.RetriableRequest(ctx, req)
			if err != nil {
				k.t.Fatal(err)
			}
			known = len(resp.(*kmsg.MetadataResponse).Topics[0].Partitions)
		}
	}
	k.client.PurgeTopicsFromClient(topic) // it would not look again so soon
}

// A reader is a Mapping whose function keeps the values.
type reader struct {
	t       *testing.T
	m       *esm.Mapping
	values  list[string]
	news    chan struct{}
	nudge   nudge
	sampled chan scaling.Sample
}

// read starts a reader.
func read(t *testing.T, source esm.Source, opts ...esm.Option) *reader {
	t.Helper()
	r := &reader{t: t, news: make(chan struct{}, 1), sampled: make(chan scaling.Sample)}
	source.Client = append(source.Client[:len(source.Client):len(source.Client)], kgo.WithHooks(&r.nudge))
	r.m = esmtest.Start(t, source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		for _, rec := range b.Records {
			r.values.add(string(rec.Value))
		}
		select {
		case r.news <- struct{}{}:
		default:
		}
		return nil
	}), append([]esm.Option{quiet(), esm.WithBatchWindow(10 * time.Millisecond), esm.WithHooks(esm.Hooks{
		Sampled: func(d scaling.Decision) {
			select {
			case r.sampled <- d.Sample:
			default:
			}
		},
	})}, opts...)...)
	return r
}

// want waits until as many values were handled, and fails the test if they are
// others. Values of one partition are in order.
func (r *reader) want(values string) {
	r.t.Helper()
	end := time.After(time.Minute)
	for n := len(strings.Fields(values)); ; {
		got := r.values.all()
		if len(got) >= n {
			if got := strings.Join(got, " "); got != values {
				r.t.Errorf("handled %q, want %q", got, values)
			}
			return
		}
		select {
		case <-r.news:
		case <-end:
			r.t.Fatalf("after a minute: handled %q, want %q", got, values)
		}
	}
}

// caughtUp waits until the lag is known to be zero, with these ends of the
// partitions, which begins with a sample that is taken after the call.
func (r *reader) caughtUp(ends ...int64) {
	r.t.Helper()
	deadline := time.After(time.Minute)
	var last scaling.Sample
	called := time.Now()
	for {
		select {
		case last = <-r.sampled:
		case <-deadline:
			r.t.Fatalf("after a minute: %+v", last.Lanes)
		}
		n := 0
		for _, l := range last.Lanes {
			if int(l.Partition) < len(ends) && l.End == ends[l.Partition] && l.Lag == 0 {
				n++
			}
		}
		if n == len(ends) && n == len(last.Lanes) && last.At.After(called) {
			return
		}
	}
}

func TestTopicMadeAgainWhileRunningIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]kgo.Opt{"cooperative": nil, "kip-848": {kgo.ServerSideBalancer()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				topic := k.topic(2)
				source := k.source(topic, opts...)
				source.Start = esm.Latest() // and yet from its start
				raised := make(chan esm.Problem, 1000)
				r := read(t, source, esm.WithHooks(esm.Hooks{ProblemRaised: func(i esm.Problem) { raised <- i }}))
				k.write(topic, 0, "a", "b", "c")
				r.want("a b c")
				r.caughtUp(3, 0)
				if _, err := k.admin.DeleteTopic(t.Context(), topic); err != nil {
					t.Fatal(err)
				}
				for found := false; !found; {
					select {
					case i := <-raised:
						found = strings.Contains(i.With, topic) && strings.Contains(i.Err.Error(), "UNKNOWN_TOPIC")
					case <-time.After(time.Minute):
						t.Fatalf("a minute after the topic was deleted: %+v", r.m.State())
					}
				}
				k.client.PurgeTopicsFromClient(topic)
				k.make(topic, 3)
				k.write(topic, 0, "d")
				r.want("a b c d")
				k.write(topic, 2, "e")
				r.want("a b c d e")
				r.caughtUp(1, 0, 1)
				stop(t, r.m)
				offsets, err := k.admin.FetchOffsets(t.Context(), topic)
				if err != nil {
					t.Fatal(err)
				}
				for p, want := range map[int32]int64{0: 1, 2: 1} {
					if o, ok := offsets.Lookup(topic, p); !ok || o.At != want {
						t.Errorf("partition %d: committed %d (%v), want %d", p, o.At, ok, want)
					}
				}
			})
		})
	}
}

// TestPartitionsAddedWhileRunningLoseNothing: they are read from their start,
// also by those who began elsewhere.
func TestPartitionsAddedWhileRunningLoseNothing(t *testing.T) {
	t.Parallel()
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				topic := k.topic(1)
				k.write(topic, 0, "before")
				source := k.source(topic, opts...)
				source.Start = esm.Latest()
				r := read(t, source)
				k.write(topic, 0, "a")
				r.want("a")
				k.grow(topic, 3)
				k.write(topic, 2, "b", "c")
				r.nudge.look()
				r.want("a b c")
				r.caughtUp(2, 0, 2)
			})
		})
	}
}

// TestStartingPositionsHoldAfterARestart: a position is used for as long as a
// partition has no commit, and for partitions that are new; and never for one
// that has.
func TestStartingPositionsHoldAfterARestart(t *testing.T) {
	t.Parallel()
	noon := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for name, tt := range map[string]struct {
		at                        esm.StartingPosition
		first, second, fresh, old string
	}{
		"TrimHorizon": {at: esm.TrimHorizon(), second: "monday noon later", old: "early late"},
		"AtTimestamp": {at: esm.AtTimestamp(noon), second: "noon later", old: "late"},
		// What came after the first start is wanted, also by the second.
		"Latest": {at: esm.Latest(), second: "later", old: "early late"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				topic := k.topic(1)
				at := func(partition int32, when time.Time, value string) {
					if err := k.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value), Timestamp: when}).FirstErr(); err != nil {
						t.Fatal(err)
					}
				}
				at(0, noon.Add(-time.Minute), "monday")
				at(0, noon, "noon")
				source := k.source(topic)
				source.Start = tt.at
				// The first one dies before it has handled anything.
				inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error { return errBilling })
				first := esmtest.Start(t, source, inv, quiet(), esm.WithBatchWindow(10*time.Millisecond))
				at(0, noon.Add(time.Minute), "later")
				inv.Wait(1)
				stop(t, first)
				second := read(t, source)
				second.want(tt.second)
				second.caughtUp(3)
				stop(t, second.m)
				k.wantCommitted(topic, topic, 1, 3)
				// Whatever is said now, there is a commit.
				source.Start = esm.AtTimestamp(noon)
				third := read(t, source)
				at(0, noon, "last")
				third.want("last")
				stop(t, third.m)
				// A partition that is new to the group.
				source.Start = tt.at
				k.grow(topic, 2)
				at(1, noon.Add(-time.Minute), "early")
				at(1, noon.Add(time.Minute), "late")
				fourth := read(t, source)
				fourth.want(tt.old)
				fourth.caughtUp(4, 2)
			})
		})
	}
}

// TestRecordsThatRetentionTookAreReportedAndTheRestIsHandled: the log begins
// after the committed offset.
func TestRecordsThatRetentionTookAreReportedAndTheRestIsHandled(t *testing.T) {
	t.Parallel()
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		t.Parallel()
		topic := k.topic(1)
		k.write(topic, 0, "a", "b")
		r := read(t, k.source(topic))
		r.want("a b")
		stop(t, r.m)
		k.write(topic, 0, "c", "d", "e", "f")
		var upTo kadm.Offsets
		upTo.AddOffset(topic, 0, 5, -1)
		deleted, err := k.admin.DeleteRecords(t.Context(), upTo)
		if err = errors.Join(err, deleted.Error()); err != nil {
			t.Fatal(err)
		}
		var losses list[esm.Gap]
		var resets list[esm.Gap]
		r = read(t, k.source(topic), esm.WithHooks(esm.Hooks{RecordsLost: losses.add, PositionReset: resets.add}))
		r.want("f")
		r.caughtUp(6)
		if lost := losses.all(); len(lost) != 1 || lost[0].From != 2 || lost[0].To != 5 {
			t.Errorf("lost %+v", lost)
		}
		if s := r.m.Stats(); s.LostEventCount != 3 || len(resets.all()) != 0 {
			t.Errorf("%d counted as lost, resets %+v", s.LostEventCount, resets.all())
		}
		stop(t, r.m)
		k.wantCommitted(topic, topic, 1, 6)
	})
}

// TestLogThatEndsBeforeTheCommitIsReadFromItsStart: the commit is of a topic
// that is gone, or of records that the brokers lost.
func TestLogThatEndsBeforeTheCommitIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		t.Parallel()
		topic := k.topic(1)
		k.write(topic, 0, "a", "b")
		var beyond kadm.Offsets
		beyond.AddOffset(topic, 0, 500, -1)
		if err := k.admin.CommitAllOffsets(t.Context(), topic, beyond); err != nil {
			t.Fatal(err)
		}
		var resets list[esm.Gap]
		r := read(t, k.source(topic), esm.WithHooks(esm.Hooks{PositionReset: resets.add}))
		r.want("a b")
		r.caughtUp(2)
		if all := resets.all(); len(all) != 1 || all[0].From != 500 || all[0].To != 0 {
			t.Errorf("%+v", all)
		}
		stop(t, r.m)
		k.wantCommitted(topic, topic, 1, 2)
	})
}

// TestRecordsAtTheSizeLimitAreHandled: what the topic takes, the Mapping reads,
// even if it is more than its function gets at once.
func TestRecordsAtTheSizeLimitAreHandled(t *testing.T) {
	t.Parallel()
	// What a batch of one record costs beside its value: its header, and seven
	// small fields, of which two are lengths and grow with it.
	const header = 61
	for limit, overhead := range map[int]int{
		1_048_588:  header + 11, // Kafka's default
		10_485_760: header + 13,
	} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				topic := k.topic(1, "max.message.bytes", fmt.Sprint(limit))
				cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.ProducerBatchMaxBytes(20<<20), kgo.MaxBufferedBytes(100<<20),
					kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic(topic))
				if err != nil {
					t.Fatal(err)
				}
				defer cl.Close()
				write := func(size int) error {
					return cl.ProduceSync(t.Context(), &kgo.Record{Value: make([]byte, size)}).FirstErr()
				}
				if err := write(limit - overhead + 1); err == nil && k.real {
					t.Error("the topic takes more than its limit")
				}
				for _, size := range []int{1, limit - overhead, 2, limit - overhead, 3} {
					if err := write(size); err != nil {
						t.Fatal(size, err)
					}
				}
				batches := make(chan []int, 10)
				m := esmtest.Start(t, k.source(topic), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
					var sizes []int
					for _, r := range b.Records {
						sizes = append(sizes, len(r.Value))
					}
					batches <- sizes
					return nil
				}), quiet(), esm.WithBatchBytes(1<<20), esm.WithPollerByteRate(esm.Unlimited), esm.WithBatchWindow(10*time.Millisecond), esm.WithMemoryBudget(8<<20))
				var got []int
				for len(got) < 5 {
					select {
					case b := <-batches:
						if len(b) > 1 && (b[0] > 1<<20 || b[1] > 1<<20) {
							t.Errorf("a batch of %d", b)
						}
						got = append(got, b...)
					case <-time.After(time.Minute):
						t.Fatalf("after a minute: %d: %+v", got, m.State())
					}
				}
				if want := fmt.Sprint([]int{1, limit - overhead, 2, limit - overhead, 3}); fmt.Sprint(got) != want {
					t.Errorf("handled %d, want %s", got, want)
				}
			})
		})
	}
}
