package lambdaapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Topic is a [Store] in a compacted topic of Kafka, for several hosts: each key is a UUID,
// and its last value the mapping.
//
// No change is lost between hosts: all write with one transactional id. A writer first
// takes that over, which ends the transaction of whoever had it, then reads everything,
// decides, and writes. If another one takes over meanwhile, its transaction is aborted and
// it begins anew. So of two changes one sees the other. That a commit was answered well does
// not prove it: a change is acknowledged when its own record was read among what is
// committed, and then every host reads it too. Readers that reject what came too late would
// not do: compaction keeps the last record of a key, which may be the rejected one.
type Topic struct {
	name string
	id   [16]byte // zero of brokers that have none
	opts []kgo.Opt

	reader *kgo.Client
	admin  *kadm.Client
	end    context.CancelFunc
	done   chan struct{}
	bell   bell

	mu     sync.Mutex // guards the rest
	all    map[string]Record
	writes map[string]bool // the last writes that were seen, by their ids
	order  []string
	next   int64 // the offset after the last record that was read
	moved  chan struct{}
	failed error // why nothing could be read last
}

// writeHeader names the write that a record of the topic is of.
const writeHeader = "write"

const (
	// writesKept is how many ids of writes are remembered: a writer looks for its own
	// right after it wrote.
	writesKept = 10_000
	// takenOverPause is how long a writer waits at most before it begins anew.
	takenOverPause = 200 * time.Millisecond
	// soonPause is how long to wait for what will be soon, and soonTries how often.
	soonPause, soonTries = 50 * time.Millisecond, 100
)

// OpenTopic opens a topic, and makes it if it is not there: one partition, compacted, with
// as many replicas as the cluster has by default. opts are those of the Kafka client, with
// kgo.SeedBrokers.
//
// It needs the rights to Read, Write, Describe and DescribeConfigs of the topic, to Write and
// Describe of the transactional id, which is esm- and the topic's name, and to Create the
// topic if it is not there.
func OpenTopic(ctx context.Context, name string, opts ...kgo.Opt) (*Topic, error) {
	t := &Topic{
		name: name, opts: slices.Clip(append(slices.Clone(opts), kgo.DefaultProduceTopic(name))), // many append to it
		all: map[string]Record{}, writes: map[string]bool{}, moved: make(chan struct{}), done: make(chan struct{}),
	}
	var err error
	t.reader, err = kgo.NewClient(append(t.opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // or the end, which is a marker, would never come
		kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("lambdaapi: the topic %s: %w", name, err)
	}
	t.admin = kadm.NewClient(t.reader)
	if err := t.make(ctx); err != nil {
		t.reader.Close()
		return nil, fmt.Errorf("lambdaapi: the topic %s %w", name, err)
	}
	t.reader.AddConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}) // now that it is there
	read, end := context.WithCancel(context.Background())
	t.end = end
	go t.read(read)
	if _, err := t.All(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// make makes the topic, or looks whether the one that is there will do: one that throws old
// records away loses mappings.
func (t *Topic) make(ctx context.Context) error {
	compact := "compact"
	is, err := t.look(ctx)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if _, err := t.admin.CreateTopic(ctx, 1, -1, map[string]*string{"cleanup.policy": &compact}, t.name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("is not there and cannot be made: %w", err)
		}
		for range soonTries { // until every broker knows it
			if is, err = t.look(ctx); !errors.Is(err, kerr.UnknownTopicOrPartition) || !pause(ctx, soonPause) {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("cannot be looked at: %w", err)
	}
	t.id = is.TopicID
	if n := len(is.Partitions); n != 1 {
		return fmt.Errorf("has %d partitions and must have one", n)
	}
	configs, err := t.admin.DescribeTopicConfigs(ctx, t.name)
	if err != nil {
		return fmt.Errorf("cannot be looked at: %w", err)
	}
	one, err := configs.On(t.name, nil)
	if err == nil {
		err = one.Err
	}
	if err != nil {
		return fmt.Errorf("cannot be looked at (it needs the right to DescribeConfigs): %w", err)
	}
	for _, c := range one.Configs {
		if c.Key == "cleanup.policy" && c.MaybeValue() != compact {
			return fmt.Errorf("has cleanup.policy=%s, which throws mappings away: it must be %s", c.MaybeValue(), compact)
		}
	}
	return nil
}

// look is what a broker says of the topic now; what kadm says can be some seconds old.
func (t *Topic) look(ctx context.Context) (is kmsg.MetadataResponseTopic, err error) {
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(t.name)
	req.Topics = append(req.Topics, topic)
	all, err := req.RequestWith(ctx, t.reader)
	switch {
	case err != nil:
		return is, err
	case len(all.Topics) != 1:
		return is, errors.New("the broker says nothing of it")
	}
	return all.Topics[0], kerr.ErrorForCode(all.Topics[0].ErrorCode)
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Close ends the reading.
func (t *Topic) Close() {
	t.end()
	<-t.done
	t.reader.Close()
}

// Changed is rung when something was read.
func (t *Topic) Changed() <-chan struct{} { return t.bell.rung() }

// read follows the topic.
func (t *Topic) read(ctx context.Context) {
	defer close(t.done)
	for ctx.Err() == nil {
		fetches := t.reader.PollFetches(ctx)
		records, err := fetches.Records(), fetches.Err()
		if len(records) == 0 {
			t.mu.Lock()
			t.failed = err
			t.mu.Unlock()
			if err != nil {
				pause(ctx, soonPause)
			}
			continue
		}
		t.mu.Lock()
		t.failed = nil
		for _, r := range records {
			t.next = r.Offset + 1
			if !r.Attrs.IsControl() {
				t.take(r)
			}
		}
		close(t.moved)
		t.moved = make(chan struct{})
		t.mu.Unlock()
		t.bell.ring()
	}
}

// take takes what a record says. One that cannot be read is that mapping's business, and no
// other's.
func (t *Topic) take(r *kgo.Record) {
	uuid := string(r.Key)
	switch {
	case len(r.Value) == 0:
		delete(t.all, uuid)
	case !json.Valid(r.Value): // not of us
		t.all[uuid] = Record{UUID: uuid, raw: quoted(r.Value), unreadable: fmt.Errorf("lambdaapi: the topic %s has no JSON at offset %d, but for the mapping %s", t.name, r.Offset, uuid)}
	default:
		var is Record
		_ = json.Unmarshal(r.Value, &is) // what it does not understand, it says itself
		is.UUID = uuid
		t.all[uuid] = is
	}
	for _, h := range r.Headers {
		if h.Key == writeHeader {
			t.wrote(string(h.Value))
		}
	}
}

// quoted is what is no JSON, as JSON.
func quoted(data []byte) json.RawMessage {
	text, _ := json.Marshal(string(data))
	return text
}

// wrote remembers the id of a write.
func (t *Topic) wrote(id string) {
	t.writes[id] = true
	if t.order = append(t.order, id); len(t.order) > writesKept {
		delete(t.writes, t.order[0])
		t.order = t.order[1:]
	}
}

// All returns all mappings, with what was committed before the call.
func (t *Topic) All(ctx context.Context) (map[string]Record, error) {
	end, err := t.committed(ctx)
	if err != nil {
		return nil, err
	}
	return t.wait(ctx, end)
}

// wait waits until all below an offset was read, and returns what there is then.
func (t *Topic) wait(ctx context.Context, end int64) (map[string]Record, error) {
	for {
		t.mu.Lock()
		next, moved, failed := t.next, t.moved, t.failed
		var all map[string]Record
		if next >= end {
			all = cloned(t.all)
		}
		t.mu.Unlock()
		if all != nil {
			return all, nil
		}
		select {
		case <-moved:
		case <-t.done:
			return nil, fmt.Errorf("lambdaapi: the topic %s was closed", t.name)
		case <-ctx.Done():
			err := context.Cause(ctx)
			if failed != nil {
				err = fmt.Errorf("%w; last: %w", err, failed)
			}
			return nil, fmt.Errorf("lambdaapi: the topic %s was read up to offset %d of %d: %w", t.name, next, end, err)
		}
	}
}

// committed is the end of what is committed. A topic that was made just now is not known to
// every broker yet. One that was made anew is another one: what was read is of the old one,
// and a host that went by it would write it into the new one, or stop all that runs.
func (t *Topic) committed(ctx context.Context) (int64, error) {
	for tries := 0; ; tries++ {
		t.mu.Lock()
		next := t.next // before the end is asked for, which grows
		t.mu.Unlock()
		ends, err := t.admin.ListCommittedOffsets(ctx, t.name)
		if err == nil {
			err = ends.Error()
		}
		if end, ok := ends.Lookup(t.name, 0); ok && err == nil {
			return end.Offset, t.same(ctx, next, end.Offset)
		} else if err == nil {
			err = kerr.UnknownTopicOrPartition
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.LeaderNotAvailable) || tries == soonTries || !pause(ctx, soonPause) {
			return 0, fmt.Errorf("lambdaapi: the end of the topic %s: %w", t.name, err)
		}
	}
}

// same reports it if the topic, which ends there and was read up to next, is not the one that
// was opened.
func (t *Topic) same(ctx context.Context, next, end int64) error {
	is, err := t.look(ctx)
	if err != nil {
		return fmt.Errorf("lambdaapi: the topic %s: %w", t.name, err)
	}
	if id := is.TopicID; id != t.id && id != [16]byte{} && t.id != [16]byte{} || end < next {
		return fmt.Errorf("lambdaapi: the topic %s was made anew since it was opened, or records of it were taken away: nothing is read or written until it is opened again", t.name)
	}
	return nil
}

// Change writes what decide says, and returns when it is committed.
func (t *Topic) Change(ctx context.Context, decide func(all map[string]Record) (Change, error)) error {
	// What is refused anyway ends no write of another host.
	all, err := t.All(ctx)
	if err != nil {
		return err
	}
	if c, err := decide(all); err != nil || c.UUID == "" {
		return err
	}
	id := newUUID()
	for {
		done, err := t.try(ctx, id, decide)
		if done {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("lambdaapi: the topic %s: %w, after %w", t.name, context.Cause(ctx), err)
		}
		pause(ctx, rand.N(takenOverPause))
	}
}

// try tries a change once. It reports whether that is over: it was written, or refused.
func (t *Topic) try(ctx context.Context, id string, decide func(all map[string]Record) (Change, error)) (done bool, err error) {
	// There is one record, which nothing is gained by waiting with.
	cl, err := kgo.NewClient(append(t.opts, kgo.TransactionalID("esm-"+t.name), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.DisableClientMetrics())...)
	if err != nil {
		return true, err
	}
	defer cl.Close()
	if _, _, err := cl.ProducerID(ctx); err != nil { // from now on nobody else writes
		return !retryable(err), err
	}
	all, err := t.All(ctx)
	if err != nil {
		return true, err
	}
	if t.has(id) {
		return true, nil // a commit of before that was not answered
	}
	c, err := decide(all)
	if err != nil || c.UUID == "" {
		return true, err
	}
	r := &kgo.Record{Key: []byte(c.UUID), Headers: []kgo.RecordHeader{{Key: writeHeader, Value: []byte(id)}}}
	if c.Record != nil {
		if r.Value, err = json.Marshal(c.Record); err != nil {
			return true, err
		}
	}
	if err := cl.BeginTransaction(); err != nil {
		return false, err
	}
	if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		_ = cl.EndTransaction(ctx, kgo.TryAbort)
		return !retryable(err), err
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return false, err // nobody knows: look for it
	}
	// The broker answers when it has decided to commit, and has the record read a moment
	// later: until then no host would answer with the change.
	if _, err := t.wait(ctx, r.Offset+1); err != nil {
		return true, fmt.Errorf("%w: the change is written, and it is not known that others see it", err)
	}
	if !t.has(id) {
		// Whoever took over aborted it. A broker with KIP-890 answers a repeated EndTxn with
		// the result of the first; the one in the tests takes a fenced writer's for that.
		return false, errTakenOver
	}
	return true, nil
}

var errTakenOver = errors.New("another host took over while it was written")

// has reports whether a write was read.
func (t *Topic) has(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.writes[id]
}

// retryable reports whether an error of a writer is that another one took over, or one that
// goes away.
func retryable(err error) bool {
	for _, is := range []error{
		kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.ConcurrentTransactions, kerr.InvalidTxnState, kerr.TransactionAbortable, kerr.UnknownServerError,
		kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.InvalidProducerIDMapping, kerr.OperationNotAttempted, kerr.UnknownProducerID,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
