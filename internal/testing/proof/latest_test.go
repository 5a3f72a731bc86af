package proof_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// unhurried is a source whose requests take a while: where a leader refuses and the
// metadata names it again, the client asks again in the same moment otherwise, and
// no time passes.
func unhurried(k *esmtest.Kafka) esm.Source {
	source := quick(k.Source("orders", "billing"))
	source.Client = append(source.Client, kgo.Dialer(dialSlowly(k)))
	return source
}

// bereave takes the leader of a partition of the only topic away, as it is when
// its brokers are down: the metadata says so, with an epoch of its own, and nobody
// can write to it. What it returns gives it a leader again, in a later epoch.
func bereave(t *testing.T, k *esmtest.Kafka, topic string, partition int32) (elect func()) {
	t.Helper()
	resp := leaderless(t, k, topic, partition)
	var over atomic.Bool
	k.Cluster().ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		if over.Load() {
			return nil, nil, false
		}
		answer := *resp
		answer.SetVersion(r.GetVersion())
		return &answer, nil, true
	})
	return func() {
		t.Helper()
		for range 2 { // the epoch without a leader, and the new one
			if err := k.Cluster().MoveTopicPartition(topic, partition, k.Cluster().LeaderFor(topic, partition)); err != nil {
				t.Fatal(err)
			}
		}
		over.Store(true)
	}
}

// leaderless is what the brokers say when a partition has no leader.
func leaderless(t *testing.T, k *esmtest.Kafka, topic string, partition int32) *kmsg.MetadataResponse {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	about := kmsg.NewMetadataRequestTopic()
	about.Topic = &topic
	req.Topics = append(req.Topics, about)
	resp, err := req.RequestWith(t.Context(), k.Client())
	if err != nil {
		t.Fatal(err)
	}
	for i := range resp.Topics[0].Partitions {
		if p := &resp.Topics[0].Partitions[i]; p.Partition == partition {
			p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
			p.LeaderEpoch++
		}
	}
	return resp
}

// fillPartition writes numbered records into one partition.
func fillPartition(k *esmtest.Kafka, topic string, partition int32, what string, n int) {
	for i := range n {
		k.ProduceTo(topic, partition, fmt.Sprintf("%s %d/%d", what, partition, i))
	}
}

// valuesOf lists what was handled of a partition.
func valuesOf(inv *esmtest.Invoker, partition int32) (values []string) {
	for _, c := range inv.Calls() {
		for _, r := range c.Batch.Records {
			if r.Partition == partition {
				values = append(values, string(r.Value))
			}
		}
	}
	return values
}

// TestLatestStartsWithoutThePartitionThatHasNoLeader: what can start does, and
// where the other one begins is known when it has a leader: where it stood, exactly.
// What was written when the leader came back is after that, and is not lost.
func TestLatestStartsWithoutThePartitionThatHasNoLeader(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 6))
		fill(k, "orders", 6, 10)
		elect := bereave(t, k, "orders", 3)
		source := unhurried(k)
		source.Start = esm.Latest()
		inv := esmtest.NewInvoker(t)
		// With a window, so that what is committed first is where it begins.
		m := esmtest.New(t, source, inv, quiet(), esm.WithBatchWindow(500*time.Millisecond))
		began := time.Now()
		started := make(chan error, 1)
		go func() { started <- m.Start(t.Context()) }()
		time.Sleep(4 * time.Second)
		elect()
		fillPartition(k, "orders", 3, "later", 5) // before anybody has asked for the end
		if err := <-started; err != nil {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it started after %s", took)
		}
		for p := range int32(6) {
			if got := k.Committed("billing", "orders", p); got != 10 {
				t.Errorf("partition %d: committed %d", p, got)
			}
			if p != 3 {
				fillPartition(k, "orders", p, "later", 5)
			}
		}
		time.Sleep(5 * time.Second)
		for p := range int32(6) {
			if got := valuesOf(inv, p); len(got) != 5 || got[0] != fmt.Sprintf("later %d/0", p) {
				t.Errorf("partition %d: handled %q", p, got)
			}
		}
		if ps := m.State().Problems; len(ps) != 0 {
			t.Errorf("problems that are over: %+v", ps)
		}
	})
}

// TestLatestStartsWhileAPartitionHasNoLeader: TrimHorizon does too.
func TestLatestStartsWhileAPartitionHasNoLeader(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 6))
		fill(k, "orders", 6, 10)
		bereave(t, k, "orders", 3)
		source := unhurried(k)
		source.Start = esm.Latest()
		inv := esmtest.NewInvoker(t)
		var log list[string]
		began := time.Now()
		m := esmtest.Start(t, source, inv, esm.WithLogger(logger(log.add)))
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it started after %s", took)
		}
		for p := range int32(6) {
			if p != 3 {
				fillPartition(k, "orders", p, "later", 5)
			}
		}
		time.Sleep(5 * time.Second)
		for p := range int32(6) {
			if got := valuesOf(inv, p); p != 3 && len(got) != 5 {
				t.Errorf("partition %d: handled %q", p, got)
			}
		}
		said := ""
		for _, p := range m.State().Problems {
			said += p.With + ": " + p.Err.Error() + "\n"
		}
		if !strings.Contains(said, "orders") || !strings.Contains(said, "LEADER_NOT_AVAILABLE") {
			t.Errorf("State says %q", said)
		}
		if all := strings.Join(log.all(), ""); !strings.Contains(all, "partition=3") || !strings.Contains(all, "has no leader") {
			t.Errorf("the log says\n%s", all)
		}
	})
}

// A writer is a func that is written to.
type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// TestLatestOfALeaderThatDoesNotAnswer: others may write to that partition, and in
// the same epoch, so nobody can tell what was there when the Mapping started but by
// the time of the records. Nothing is lost; what is read again is young.
func TestLatestOfALeaderThatDoesNotAnswer(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 6))
		fillPartition(k, "orders", 3, "old", 5)
		time.Sleep(time.Hour)
		fillPartition(k, "orders", 3, "young", 5)
		fault := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "orders", Partitions: []int32{3}, Err: kerr.KafkaStorageError, Count: -1})
		source := unhurried(k)
		source.Start = esm.Latest()
		inv := esmtest.NewInvoker(t)
		m := esmtest.New(t, source, inv, quiet())
		started := make(chan error, 1)
		go func() { started <- m.Start(t.Context()) }()
		time.Sleep(5 * time.Second)
		fillPartition(k, "orders", 3, "meanwhile", 5)
		said := ""
		for _, p := range m.State().Problems {
			said += p.With + ": " + p.Err.Error() + "\n"
		}
		if !strings.Contains(said, "orders/3") || !strings.Contains(said, "KAFKA_STORAGE_ERROR") {
			t.Errorf("State says %q", said)
		}
		time.Sleep(10 * time.Second) // it has started without it
		fault.Remove()
		fillPartition(k, "orders", 3, "later", 5)
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		got := valuesOf(inv, 3)
		want := []string{"young", "meanwhile", "later"}
		if len(got) != 15 {
			t.Fatalf("handled %q", got)
		}
		for i, v := range got {
			if !strings.HasPrefix(v, want[i/5]) {
				t.Errorf("record %d is %q", i, v)
			}
		}
	})
}

// TestLatestDoesNotStartWhereNoLeaderAnswers: nothing could be read.
func TestLatestDoesNotStartWhereNoLeaderAnswers(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "orders", Err: kerr.KafkaStorageError, Count: -1})
		source := unhurried(k)
		source.Start = esm.Latest()
		err := esmtest.New(t, source, esmtest.NewInvoker(t), quiet(), esm.WithStartTimeout(30*time.Second)).Start(t.Context())
		var se *esm.StartError
		if !errors.As(err, &se) || se.Doing != "find the starting position" || !errors.Is(err, kerr.KafkaStorageError) {
			t.Error(err)
		}
	})
}

// TestNoRecordIsLostWhileAPositionIsAskedFor: where no record is young enough, a
// partition begins at its end. What is written between the two questions is young
// enough.
func TestNoRecordIsLostWhileAPositionIsAskedFor(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		k.Produce("orders", "old")
		time.Sleep(time.Hour)
		source := unhurried(k)
		source.Start = esm.AtTimestamp(time.Now())
		time.Sleep(time.Second)
		// To be told the end takes a moment, and records come all the time.
		k.Cluster().ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			if r.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].Timestamp == -1 {
				k.Cluster().SleepControl(func() { time.Sleep(time.Second) })
			}
			return nil, nil, false
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wrote sync.WaitGroup
		n := 0
		wrote.Go(func() {
			for ; ctx.Err() == nil; n++ {
				time.Sleep(300 * time.Millisecond)
				k.Produce("orders", fmt.Sprint(n))
			}
		})
		inv := esmtest.NewInvoker(t)
		esmtest.Start(t, source, inv, quiet())
		time.Sleep(10 * time.Second)
		cancel()
		wrote.Wait()
		time.Sleep(10 * time.Second)
		values := inv.Values()
		for i := range n {
			if !slices.Contains(values, fmt.Sprint(i)) {
				t.Errorf("%d of %d was not handled", i, n)
			}
		}
		if slices.Contains(values, "old") {
			t.Error("what is older was read")
		}
	})
}

// TestLatestWhereNoBrokerKnowsEpochs: not every broker has the request for the ends
// of epochs. Then the time of the records tells, and the partition is not left out.
func TestLatestWhereNoBrokerKnowsEpochs(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 6))
		fill(k, "orders", 6, 10)
		time.Sleep(time.Hour)
		versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(t.Context(), k.Client())
		if err != nil {
			t.Fatal(err)
		}
		versions.ApiKeys = slices.DeleteFunc(versions.ApiKeys, func(v kmsg.ApiVersionsResponseApiKey) bool {
			return v.ApiKey == int16(kmsg.OffsetForLeaderEpoch)
		})
		k.Cluster().ControlKey(int16(kmsg.ApiVersions), func(r kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			answer := *versions
			answer.SetVersion(r.GetVersion())
			return &answer, nil, true
		})
		elect := bereave(t, k, "orders", 3)
		source := unhurried(k)
		source.Start = esm.Latest()
		inv := esmtest.NewInvoker(t)
		m := esmtest.Start(t, source, inv, quiet())
		elect()
		fillPartition(k, "orders", 3, "later", 5)
		time.Sleep(time.Minute)
		if got := valuesOf(inv, 3); len(got) != 5 {
			t.Errorf("handled %q; %+v", got, m.State().Problems)
		}
	})
}

// TestLatestTakesNoRefusedCommitForNone: a commit that is not told at the start is
// no reason to take the group for new: a partition without one begins at its start.
func TestLatestTakesNoRefusedCommitForNone(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		source := quick(k.Source("orders", "billing"))
		k.ProduceTo("orders", 0, "before")
		first := esmtest.Start(t, source, esmtest.NewInvoker(t), quiet())
		time.Sleep(3 * time.Second)
		stop(t, first)
		if at := k.Committed("billing", "orders", 1); at >= 0 {
			t.Fatalf("the other partition is committed at %d", at)
		}
		k.ProduceTo("orders", 1, "a", "b", "c", "d", "e")
		source.Start = esm.Latest()
		// Once: it is the start that asks for all commits of the group.
		k.Cluster().ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
			req := r.(*kmsg.OffsetFetchRequest)
			if len(req.Groups) != 1 || req.Groups[0].Topics != nil {
				t.Errorf("the start asked for %+v", req.Groups)
			}
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Offset, p.ErrorCode = -1, kerr.UnstableOffsetCommit.Code
			topic := kmsg.NewOffsetFetchResponseGroupTopic()
			topic.Topic, topic.Partitions = "orders", append(topic.Partitions, p)
			topic.TopicID = k.Cluster().TopicInfo("orders").TopicID
			group := kmsg.NewOffsetFetchResponseGroup()
			group.Group, group.Topics = "billing", append(group.Topics, topic)
			resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
			resp.Groups = append(resp.Groups, group)
			return resp, nil, true
		})
		inv := esmtest.NewInvoker(t)
		m := esmtest.Start(t, source, inv, quiet())
		waitFor(t, time.Minute, "handled", func() bool { return len(inv.Values()) >= 5 })
		if got := len(inv.Values()); got != 5 {
			t.Errorf("%d records were handled", got)
		}
		stop(t, m)
	})
}
