package proof_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// The tests in this file are about offsets that no record has.

// end is the end of the first partition of a topic, for those who read what is
// committed.
func (k *anyKafka) end(topic string) int64 {
	k.t.Helper()
	ends, err := k.admin.ListCommittedOffsets(k.t.Context(), topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		k.t.Fatal(err)
	}
	o, _ := ends.Lookup(topic, 0)
	return o.Offset
}

// records reads the first partition of a topic from an offset on, without a
// Mapping, up to a record whose value is last.
func (k *anyKafka) records(topic string, from int64, last string) (all []*kgo.Record) {
	k.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(from)}}))
	if err != nil {
		k.t.Fatal(err)
	}
	defer cl.Close()
	ctx, done := context.WithTimeout(k.t.Context(), time.Minute)
	defer done()
	for {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			k.t.Fatal(err)
		}
		all = append(all, fetches.Records()...)
		if n := len(all); n > 0 && string(all[n-1].Value) == last {
			return all
		}
	}
}

func values(records []*kgo.Record) (all []string) {
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}

// contains reports whether a list has all of another one, in order.
func contains(list, other []string) bool {
	for _, v := range list {
		if len(other) > 0 && other[0] == v {
			other = other[1:]
		}
	}
	return len(other) == 0
}

// TestCompactedTopicsAreReadToTheirEnd: compaction takes what is all around the
// committed offset, and that is no loss. Neither is what it leaves of
// transactions, of which an aborted one is the last thing in the log.
func TestCompactedTopicsAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]kgo.Opt{"plain": nil, "transactional": {kgo.TransactionalID("compacted")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := theRealKafka(t)
			// A segment is cleaned when a later record has begun the next one.
			const segment = 50 * time.Millisecond
			topic := k.topic(1, "cleanup.policy", "compact", "segment.ms", fmt.Sprint(segment.Milliseconds()),
				"min.cleanable.dirty.ratio", "0.01", "min.compaction.lag.ms", "0", "delete.retention.ms", "0")
			cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.brokers...), kgo.DefaultProduceTopic(topic))...)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			round := func(n int, end kgo.TransactionEndTry) (last string) {
				pause(2 * segment)
				var records []*kgo.Record
				for i := range 100 {
					last = fmt.Sprintf("%d/%d", n, i)
					records = append(records, &kgo.Record{Key: fmt.Append(nil, i%10), Value: []byte(last)})
				}
				if opts != nil {
					if err := cl.BeginTransaction(); err != nil {
						t.Fatal(err)
					}
				}
				if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if opts != nil {
					if err := cl.EndTransaction(t.Context(), end); err != nil {
						t.Fatal(err)
					}
				}
				return last
			}
			source := k.source(topic, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			round(0, kgo.TryCommit)
			round(1, kgo.TryAbort)
			round(2, kgo.TryCommit)
			first := read(t, source)
			committed := k.end(topic)
			first.caughtUp(committed)
			stop(t, first.m)
			k.wantCommitted(topic, topic, 1, committed)
			round(3, kgo.TryAbort)
			round(4, kgo.TryCommit)
			last := round(5, kgo.TryCommit)
			if opts != nil {
				round(6, kgo.TryAbort)
			}
			before := k.records(topic, 0, last)
			for deadline := time.Now().Add(time.Minute); slices.ContainsFunc(before, func(r *kgo.Record) bool { return r.Offset > committed-50 && r.Offset < committed+50 }); {
				if time.Now().After(deadline) {
					t.Fatalf("a minute without compaction: %d records", len(before))
				}
				pause(100 * time.Millisecond)
				before = k.records(topic, 0, last)
			}
			var losses list[esm.Gap]
			other := source
			other.Group = topic + "-other"
			for _, s := range []esm.Source{source, other} {
				r := read(t, s, esm.WithHooks(esm.Hooks{RecordsLost: losses.add}))
				r.caughtUp(k.end(topic))
				stop(t, r.m)
				k.wantCommitted(s.Group, topic, 1, k.end(topic))
				// Compaction may have gone on meanwhile.
				got, after := r.values.all(), k.records(topic, 0, last)
				if !contains(values(before), got) || !contains(got, values(after)) {
					t.Errorf("%s handled %q, there were %q and are %q", s.Group, got, values(before), values(after))
				}
			}
			if l := losses.all(); len(l) != 0 {
				t.Errorf("compaction is taken for a loss: %+v", l)
			}
		})
	}
}

// TestOpenTransactionHoldsBackWhatIsBehindIt: of those who read what is
// committed. For them that is not yet in the log, so it is no lag either.
func TestOpenTransactionHoldsBackWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		t.Parallel()
		topic := k.topic(1)
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		begin := func(value string) {
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		end := func(how kgo.TransactionEndTry) {
			if err := cl.EndTransaction(t.Context(), how); err != nil {
				t.Fatal(err)
			}
		}
		k.write(topic, 0, "a")
		r := read(t, k.source(topic, kgo.FetchIsolationLevel(kgo.ReadCommitted())))
		all := read(t, esm.Source{Brokers: k.brokers, Topics: []string{topic}, Group: topic + "-all"})
		begin("b")
		k.write(topic, 0, "c")
		all.want("a b c")
		all.caughtUp(3)
		r.caughtUp(1) // the last stable offset
		r.want("a")
		end(kgo.TryCommit)
		r.want("a b c")
		r.caughtUp(4)
		begin("d")
		k.write(topic, 0, "e")
		all.want("a b c d e")
		r.caughtUp(4)
		r.want("a b c")
		end(kgo.TryAbort)
		r.want("a b c e")
		r.caughtUp(7)
		all.caughtUp(7)
		stop(t, r.m)
		k.wantCommitted(topic, topic, 1, 7)
	})
}
