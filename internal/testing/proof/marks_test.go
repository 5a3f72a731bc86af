package proof_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	marks "github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/offset"
	"github.com/seed429fd032/esm/internal/partition"
)

// A handling is a function that cannot handle some records yet, and the record of
// what it has handled.
type handling struct {
	stuck func(r *kgo.Record) bool
	list[string]
}

// Invoke is for the Mapping.
func (h *handling) Invoke(_ context.Context, b *esm.Batch) error {
	var f esm.Failures
	for _, r := range b.Records {
		if h.stuck != nil && h.stuck(r) {
			f.Add(r, errBilling)
		} else {
			h.add(place(r.Partition, r.Offset))
		}
	}
	return f.Err()
}

func place(p int32, offset int64) string { return fmt.Sprintf("%d/%d", p, offset) }

// places are some offsets of a partition.
func places(p int32, offsets ...int64) (all []string) {
	for _, o := range offsets {
		all = append(all, place(p, o))
	}
	return all
}

// nth is every nth record of a partition, from the first.
func nth(n int64) func(r *kgo.Record) bool {
	return func(r *kgo.Record) bool { return r.Offset%n == 0 }
}

// upTo are offsets from one to before another.
func upTo(from, to int64) (all []int64) {
	for ; from < to; from++ {
		all = append(all, from)
	}
	return all
}

// wants compares what was handled, in whatever order.
func (h *handling) wants(t *testing.T, who string, want []string) {
	t.Helper()
	got := h.all()
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s handled %d records and should have %d:\n%v\n%v", who, len(got), len(want), got, want)
	}
}

// metadata is what the group has beside the offset of partition 0 of orders.
func metadata(k *esmtest.Kafka) string {
	return k.Cluster().GroupInfo("billing").Commits["orders"][0].Metadata
}

// commitAs is somebody else who commits for the group, which has no member then.
func commitAs(t *testing.T, k *esmtest.Kafka, at int64, metadata string) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = "billing", -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "orders"
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata = at, &metadata
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	cl := k.Client()
	req.Topics[0].TopicID = k.Cluster().TopicInfo("orders").TopicID // for later versions
	resp, err := req.RequestWith(context.Background(), cl)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

// ten are ten records, of which every third is stuck with the first member, which
// then stops.
func ten(t *testing.T, k *esmtest.Kafka, source esm.Source) *handling {
	t.Helper()
	for range 10 {
		k.Produce("orders", "x")
	}
	first := &handling{stuck: nth(3)}
	m := esmtest.Start(t, source, first, quiet(), esm.WithBackoff(esm.Constant(time.Hour)), esm.WithBatchWindow(time.Second))
	time.Sleep(10 * time.Second)
	stop(t, m)
	first.wants(t, "the first member", places(0, 1, 2, 4, 5, 7, 8))
	if got := k.Committed("billing", "orders", 0); got != 0 {
		t.Fatalf("committed %d", got)
	}
	return first
}

// TestStopWithAPartialFailureRepeatsNothing: the next member gets what is left, and
// nothing else.
func TestStopWithAPartialFailureRepeatsNothing(t *testing.T) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				source := quick(k.Source("orders", "billing"))
				source.Client = append(source.Client, opts...)
				ten(t, k, source)
				k.Produce("orders", "y")
				second := &handling{stuck: nth(6)}
				m := esmtest.Start(t, source, second, quiet(), esm.WithBackoff(esm.Constant(time.Hour)))
				time.Sleep(10 * time.Second)
				stop(t, m)
				second.wants(t, "the second member", places(0, 3, 9, 10))
				third := &handling{}
				m = esmtest.Start(t, source, third, quiet())
				time.Sleep(10 * time.Second)
				stop(t, m)
				third.wants(t, "the third member", places(0, 0, 6))
				if got := k.Committed("billing", "orders", 0); got != 11 || metadata(k) != "" {
					t.Errorf("committed %d, %q", got, metadata(k))
				}
			})
		})
	}
}

// TestRebalanceWithAPartialFailureRepeatsNothing: half of the partitions go to
// another member while each has records that are left.
func TestRebalanceWithAPartialFailureRepeatsNothing(t *testing.T) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				const partitions, each = 4, 20
				k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
				fill(k, "orders", partitions, each)
				source := quick(k.Source("orders", "billing"))
				source.Client = append(source.Client, opts...)
				var failing atomic.Bool
				failing.Store(true)
				var again, revoked atomic.Int64
				both := &handling{stuck: func(r *kgo.Record) bool { return failing.Load() && r.Offset%4 == 1 }}
				m := esmtest.Start(t, source, both, quiet(), esm.WithBackoff(esm.Constant(time.Minute)), esm.WithHooks(esm.Hooks{Revoked: func(r esm.Rebalance) {
					again.Add(int64(r.Again))
					revoked.Add(int64(len(r.Partitions)))
				}}))
				time.Sleep(10 * time.Second)
				other, assigned := takeover(t, source, both, esm.WithBackoff(esm.Constant(time.Minute)))
				waitFor(t, time.Minute, "the other has partitions", func() bool { return assigned.Load() > 0 })
				time.Sleep(10 * time.Second)
				failing.Store(false)
				time.Sleep(5 * time.Minute)
				stop(t, other)
				stop(t, m)
				var want []string
				for p := range int32(partitions) {
					want = append(want, places(p, upTo(0, each)...)...)
				}
				both.wants(t, "both", want)
				if again.Load() != 0 || revoked.Load() == 0 {
					t.Errorf("%d records are said to come again, of %d partitions", again.Load(), revoked.Load())
				}
			})
		})
	}
}

// TestCrashWithAPartialFailure repeats what was settled since the last commit, and
// nothing that was settled before.
func TestCrashWithAPartialFailure(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		network := &cutNetwork{k: k}
		source := quick(k.Source("orders", "billing"))
		source.Client = append(source.Client, kgo.Dialer(network.dial))
		for range 10 {
			k.Produce("orders", "x")
		}
		var tries atomic.Int64
		first := &handling{stuck: func(r *kgo.Record) bool {
			// One of those that were stuck is handled right before the crash.
			if r.Offset == 6 && tries.Add(1) == 2 {
				network.cut(true)
				return false
			}
			return r.Offset%3 == 0
		}}
		m := esmtest.Start(t, source, first, quiet(), esm.WithBackoff(esm.Constant(10*time.Second)), esm.WithBatchWindow(time.Second), esm.WithStopTimeout(time.Second))
		time.Sleep(12 * time.Second)
		_ = m.Stop(context.Background()) // nobody hears it
		first.wants(t, "the first member", places(0, 1, 2, 4, 5, 6, 7, 8))
		time.Sleep(time.Minute)
		second := &handling{}
		m = esmtest.Start(t, k.Source("orders", "billing"), second, quiet())
		time.Sleep(10 * time.Second)
		stop(t, m)
		second.wants(t, "the second member", places(0, 0, 3, 6, 9))
	})
}

// limitMetadata is a broker with offset.metadata.max.bytes, which kfake has not. It
// returns how often it refused something. There is one partition only.
func limitMetadata(k *esmtest.Kafka, most int) *atomic.Int64 {
	refused := new(atomic.Int64)
	k.Cluster().ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		req := kreq.(*kmsg.OffsetCommitRequest)
		p := req.Topics[0].Partitions[0]
		if p.Metadata == nil || len(*p.Metadata) <= most {
			return nil, nil, false
		}
		refused.Add(1)
		resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic, topic.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		part := kmsg.NewOffsetCommitResponseTopicPartition()
		part.Partition, part.ErrorCode = p.Partition, kerr.OffsetMetadataTooLarge.Code
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	return refused
}

// TestRoomForMetadata: what fits does not come again, and the rest is said to.
func TestRoomForMetadata(t *testing.T) {
	for _, most := range []int{0, 100, 4096} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				const records = 2_000
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				fill(k, "orders", 1, records)
				refused := limitMetadata(k, most)
				var raised list[string]
				first := &handling{stuck: func(r *kgo.Record) bool { return r.Offset%2 == 0 }} // the worst
				m := esmtest.Start(t, k.Source("orders", "billing"), first, quiet(), esm.WithBackoff(esm.Constant(time.Hour)), esm.WithBatchSize(records), esm.WithBatchWindow(5*time.Second),
					esm.WithHooks(esm.Hooks{ProblemRaised: func(p esm.Problem) { raised.add(p.With) }}))
				time.Sleep(20 * time.Second)
				if s := m.Stats(); s.CommitErrorCount != 0 {
					t.Errorf("%d commits failed", s.CommitErrorCount)
				}
				if err := m.Healthy(); err != nil {
					t.Error(err)
				}
				drained := m.Stop(context.Background())
				if most < 4096 != (refused.Load() > 0) || refused.Load() > 5 {
					t.Errorf("%d commits were refused", refused.Load())
				}
				if want := min(1, int(refused.Load())); len(raised.all()) != want || want > 0 && raised.all()[0] != "commit metadata" {
					t.Errorf("problems: %v", raised.all())
				}
				text := metadata(k)
				if len(text) > most {
					t.Errorf("%d characters", len(text))
				}
				said := 0
				if got, err := marks.Read(partition.ID{Topic: "orders"}, 0, text); err != nil {
					t.Error(err)
				} else {
					said = len(got.Runs)
				}
				if most == 0 != (said == 0) || most == 4096 != (said == records/2) {
					t.Errorf("the commit says %d of %d", said, records/2)
				}
				if drained != nil {
					t.Error(drained)
				}
				second := &handling{}
				m = esmtest.Start(t, k.Source("orders", "billing"), second, quiet())
				time.Sleep(20 * time.Second)
				stop(t, m)
				repeats := len(second.all()) - records/2
				if want := records/2 - said; repeats != want {
					t.Errorf("%d records came again, and %d of %d were in the commit", repeats, said, records/2)
				}
				if got := k.Committed("billing", "orders", 0); got != records {
					t.Errorf("committed %d", got)
				}
			})
		})
	}
}

// TestMetadataThatIsNotBelieved: records come again, none is left out, and it is
// told once.
func TestMetadataThatIsNotBelieved(t *testing.T) {
	id := partition.ID{Topic: "orders"}
	write := func(at int64, m marks.Mark) string {
		text, _ := marks.Write(id, at, m, marks.Most)
		return text
	}
	all := marks.Mark{Epoch: 100, Runs: []offset.Run{{Lo: 1, Hi: 3}, {Lo: 4, Hi: 6}, {Lo: 7, Hi: 9}}}
	for _, tt := range []struct {
		name     string
		at       int64
		metadata string
		begins   int64 // with what the second member begins
		told     string
	}{
		{"an old version", 0, "", 0, ""},
		{"a foreign string", 0, "kgo-9f86d081-884c-7d65-9a2f-eaa0c55ad015", 0, "not of this library"},
		{"another version", 0, "esm9:AAIEAbDsykz9", 0, "another version"},
		{"a mirrored commit", 2, write(0, all), 2, "does not belong to this offset"},
		{"another partition's", 0, func() string {
			s, _ := marks.Write(partition.ID{Topic: "orders", Partition: 1}, 0, all, marks.Most)
			return s
		}(), 0, "does not belong to this offset"},
		{"an earlier epoch", 0, write(0, marks.Mark{Epoch: -1, Runs: all.Runs}), 0, "written anew"},
		{"beyond the end", 0, write(0, marks.Mark{Epoch: 100, Runs: []offset.Run{{Lo: 1, Hi: 3}, {Lo: 4, Hi: 1_000}}}), 0, "the log ends at 10"},
		{"far beyond the end", 0, write(0, marks.Mark{Epoch: 100, Runs: []offset.Run{{Lo: 1, Hi: 1 << 40}}}), 0, "the log ends at 10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				ten(t, k, k.Source("orders", "billing"))
				commitAs(t, k, tt.at, tt.metadata)
				var told list[string]
				second := &handling{}
				m := esmtest.Start(t, k.Source("orders", "billing"), second, esm.WithLogger(logger(func(line string) {
					if strings.Contains(line, "level=WARN") {
						told.add(line)
					}
				})))
				time.Sleep(10 * time.Second)
				stop(t, m)
				second.wants(t, "the second member", places(0, upTo(tt.begins, 10)...))
				if lines := told.all(); tt.told == "" && len(lines) > 0 || tt.told != "" && (len(lines) != 1 || !strings.Contains(lines[0], tt.told)) {
					t.Errorf("told: %v", lines)
				}
				if got := k.Committed("billing", "orders", 0); got != 10 || metadata(k) != "" {
					t.Errorf("committed %d, %q", got, metadata(k))
				}
			})
		})
	}
}

// TestRecordsThatWereWrittenAnewAreNotPassedOver: an unclean election took the last
// of what a commit says is settled, and others are there now, of a later epoch.
func TestRecordsThatWereWrittenAnewAreNotPassedOver(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1), esmtest.Brokers(3))
		ten(t, k, k.Source("orders", "billing"))
		// Of the next ten the last member is said to have handled all but the first.
		if err := k.Cluster().MoveTopicPartition("orders", 0, (k.Cluster().PartitionInfo("orders", 0).Leader+1)%3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for range 10 {
			k.Produce("orders", "y")
		}
		text, _ := marks.Write(partition.ID{Topic: "orders"}, 0, marks.Mark{Epoch: 0, Runs: []offset.Run{{Lo: 1, Hi: 3}, {Lo: 4, Hi: 15}}}, marks.Most)
		commitAs(t, k, 0, text)
		second := &handling{}
		m := esmtest.Start(t, k.Source("orders", "billing"), second, quiet())
		time.Sleep(10 * time.Second)
		stop(t, m)
		handled := map[string]bool{}
		for _, at := range second.all() {
			handled[at] = true
		}
		for _, at := range places(0, upTo(10, 20)...) {
			if !handled[at] {
				t.Errorf("%s is lost", at)
			}
		}
		if got := k.Committed("billing", "orders", 0); got != 20 || metadata(k) != "" {
			t.Errorf("committed %d, %q", got, metadata(k))
		}
	})
}

// TestMetadataIsNotTheUsers: a Source cannot read it in its own way.
func TestMetadataIsNotTheUsers(t *testing.T) {
	source := esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing",
		Client: []kgo.Opt{kgo.OnOffsetsFetched(func(context.Context, *kgo.Client, *kmsg.OffsetFetchResponse) error { return nil })}}
	m, err := esm.New(source, esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), esm.WithLogger(slog.New(slog.DiscardHandler)))
	if err == nil {
		ctx, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		err = m.Start(ctx)
	}
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "OnOffsetsFetched") {
		t.Error(err)
	}
}
