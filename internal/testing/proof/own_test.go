package proof_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// forwarder sends records on as they are, which makes the client write into
// them.
func forwarder(t *testing.T, k *esmtest.Kafka) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestForwardingRecordsLosesNone: the ordinary way to forward a record writes
// another topic, partition, offset and time into it.
func TestForwardingRecordsLosesNone(t *testing.T) {
	const records = 200
	for name, invoker := range map[string]func(*kgo.Client) esm.Invoker{
		"and waits": func(out *kgo.Client) esm.Invoker {
			return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
				for _, r := range b.Records {
					r.Topic = "out"
				}
				return out.ProduceSync(ctx, b.Records...).FirstErr()
			})
		},
		"and does not wait": func(out *kgo.Client) esm.Invoker {
			return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
				for _, r := range b.Records {
					r.Topic = "out"
					out.Produce(context.WithoutCancel(ctx), r, nil)
				}
				return nil
			})
		},
		"one by one": func(out *kgo.Client) esm.Invoker {
			return esm.Each(func(ctx context.Context, r *kgo.Record) error {
				r.Topic = "out"
				return out.ProduceSync(ctx, r).FirstErr()
			})
		},
		"and fails once in a while": func(out *kgo.Client) esm.Invoker {
			var n atomic.Int64
			return esm.Each(func(ctx context.Context, r *kgo.Record) error {
				r.Topic = "out"
				if err := out.ProduceSync(ctx, r).FirstErr(); err != nil || n.Add(1)%7 > 0 {
					return err
				}
				return errBilling // it was forwarded, and comes again
			})
		},
		"and names those that failed": func(out *kgo.Client) esm.Invoker {
			var n atomic.Int64
			return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
				var f esm.Failures
				for _, r := range b.Records {
					r.Topic = "out"
					err := out.ProduceSync(ctx, r).FirstErr()
					if n.Add(1)%5 == 0 {
						err = errors.Join(err, errBilling)
					}
					f.Add(r, err)
				}
				return f.Err()
			})
		},
		"and stops at one that failed": func(out *kgo.Client) esm.Invoker {
			var n atomic.Int64
			return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
				var f esm.Failures
				for _, records := range b.ByPartition() {
					for _, r := range records {
						r.Topic = "out"
						if err := out.ProduceSync(ctx, r).FirstErr(); err != nil || n.Add(1)%5 == 0 {
							f.StopAt(r, errors.Join(err, errBilling))
							break
						}
					}
				}
				return f.Err()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 2), esmtest.Topic("out", 7))
				fill(k, "orders", 2, records/2)
				out := forwarder(t, k)
				// What was there before moves the offsets that the client
				// writes into the records.
				k.ProduceRecords(&kgo.Record{Topic: "out", Value: []byte("before")})
				m := esmtest.Start(t, k.Source("orders", "billing"), invoker(out), quiet(), esm.WithBatchSize(10), esm.WithBackoff(esm.Constant(time.Second)))
				waitFor(t, 10*time.Minute, "committed", func() bool {
					return k.Committed("billing", "orders", 0) >= records/2 && k.Committed("billing", "orders", 1) >= records/2
				})
				stop(t, m)
				seen := map[string]bool{}
				for _, v := range consume(t, k, "out") {
					seen[v] = true
				}
				for p := range 2 {
					if got := k.Committed("billing", "orders", int32(p)); got != records/2 {
						t.Errorf("partition %d: committed %d of %d", p, got, records/2)
					}
					for o := range records / 2 {
						if !seen[fmt.Sprintf("%d/%d", p, o)] {
							t.Errorf("%d/%d was not forwarded", p, o)
						}
					}
				}
				if s := m.Stats(); s.RereadEventCount > 0 {
					t.Errorf("%d records were read again, and their content was the same", s.RereadEventCount)
				}
			})
		})
	}
}

// consume reads all values of a topic.
func consume(t *testing.T, k *esmtest.Kafka, topic string) (values []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends := int64(0)
	for _, p := range k.Cluster().PartitionInfos(topic) {
		ends += p.HighWatermark
	}
	for int64(len(values)) < ends {
		for _, r := range cl.PollFetches(t.Context()).Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// TestDestinationThatForwardsTheRecordItself: the same, for what is given up.
func TestDestinationThatForwardsTheRecordItself(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1), esmtest.Topic("dead", 3))
		fill(k, "orders", 1, 40)
		out := forwarder(t, k)
		var n atomic.Int64
		dest := esm.DestinationFunc(func(ctx context.Context, d *esm.Discard) error {
			d.Record.Topic = "dead"
			if err := out.ProduceSync(ctx, d.Record).FirstErr(); err != nil || n.Add(1)%4 > 0 {
				return err
			}
			d.Record.Value = []byte("mine")
			return errBilling // it is delivered again, as it was
		})
		var told list[int64]
		var failed atomic.Int64
		own := func(d *esm.Discard) {
			if r := d.Record; r.Topic != "orders" || r.Partition != 0 || string(r.Value) != fmt.Sprintf("0/%d", r.Offset) {
				t.Errorf("a hook gets %s/%d offset %d, %q", r.Topic, r.Partition, r.Offset, r.Value)
			}
		}
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			var f esm.Failures
			for _, r := range b.Records {
				if r.Offset%2 == 0 {
					f.Add(r, esm.Permanent(errBilling))
				}
			}
			return f.Err()
		}), quiet(), esm.WithDestination(dest), esm.WithBackoff(esm.Constant(time.Second)),
			esm.WithHooks(esm.Hooks{
				Discarded: func(d *esm.Discard) { own(d); told.add(d.Record.Offset) },
				DeliveryFailed: func(d *esm.Discard) {
					if own(d); d.Delivery != 1 || !errors.Is(d.DeliveryErr, errBilling) || d.Next.Before(time.Now()) || d.Next.After(time.Now().Add(time.Second)) {
						t.Errorf("told %+v", d)
					}
					failed.Add(1)
				},
			}))
		waitFor(t, 10*time.Minute, "committed", func() bool { return k.Committed("billing", "orders", 0) >= 40 })
		stop(t, m)
		if got := k.Committed("billing", "orders", 0); got != 40 {
			t.Errorf("committed %d of 40", got)
		}
		if failed.Load() == 0 {
			t.Error("no delivery failed")
		}
		dead := map[string]bool{}
		for _, v := range consume(t, k, "dead") {
			dead[v] = true
		}
		for o := 0; o < 40; o += 2 {
			if !dead[fmt.Sprintf("0/%d", o)] || !slices.Contains(told.all(), int64(o)) {
				t.Errorf("offset %d: told %v, dead letters %v", o, told.all(), dead)
			}
		}
		if len(dead) != 20 {
			t.Errorf("dead letters %v", dead)
		}
	})
}

// fullRecord has everything in it that a record can have.
func fullRecord(i int) *kgo.Record {
	return &kgo.Record{Topic: "orders", Key: fmt.Appendf(nil, "key %d", i), Value: fmt.Appendf(nil, "value %d", i),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}}, Timestamp: time.UnixMilli(946684800000 + int64(i))}
}

// describeRecord is all that a record says, apart from where its memory is.
func describeRecord(r *kgo.Record) string {
	return fmt.Sprintf("%s/%d/%d epoch %d at %d, %q=%q %q, attributes %v, producer %d/%d, context %v", r.Topic, r.Partition, r.Offset, r.LeaderEpoch, r.Timestamp.UnixMilli(),
		r.Key, r.Value, r.Headers, r.Attrs, r.ProducerID, r.ProducerEpoch, r.Context != nil)
}

// TestWhatIsWrittenIntoARecordIsGoneAtTheNextAttempt: user code writes into each
// field, and fails. The next attempt gets what Kafka has.
func TestWhatIsWrittenIntoARecordIsGoneAtTheNextAttempt(t *testing.T) {
	type write struct {
		name   string
		do     func(b *esm.Batch, r *kgo.Record)
		reread bool // only Kafka knows what it was
	}
	var writes []write
	for f := range reflect.TypeFor[kgo.Record]().Fields() {
		writes = append(writes, write{"zero " + f.Name, func(_ *esm.Batch, r *kgo.Record) {
			reflect.ValueOf(r).Elem().FieldByIndex(f.Index).SetZero()
		}, f.Name == "Key" || f.Name == "Value" || f.Name == "Headers"})
	}
	writes = append(writes,
		write{"foreign coordinates", func(_ *esm.Batch, r *kgo.Record) {
			r.Topic, r.Partition, r.Offset, r.LeaderEpoch, r.Timestamp = "out", 7, 1000, 9, time.UnixMilli(5)
		}, false},
		write{"a decoded value", func(_ *esm.Batch, r *kgo.Record) { r.Value = append([]byte("decoded "), r.Value...) }, true},
		write{"a value as long", func(_ *esm.Batch, r *kgo.Record) { r.Value = bytes.ToUpper(r.Value) }, true},
		write{"a key as long", func(_ *esm.Batch, r *kgo.Record) { r.Key = bytes.ToUpper(r.Key) }, true},
		write{"a further header", func(_ *esm.Batch, r *kgo.Record) { r.Headers = append(r.Headers, kgo.RecordHeader{Key: "c"}) }, true},
		write{"another header in place", func(_ *esm.Batch, r *kgo.Record) { r.Headers[0].Value = []byte("9") }, true},
		write{"headers in another order", func(_ *esm.Batch, r *kgo.Record) { slices.Reverse(r.Headers) }, true},
		write{"another record in its place", func(b *esm.Batch, _ *kgo.Record) { b.Records[0] = &kgo.Record{Topic: "mine"} }, false},
		write{"all of it", func(_ *esm.Batch, r *kgo.Record) { *r = kgo.Record{Topic: "mine"} }, true},
		write{"an order of its own", func(b *esm.Batch, _ *kgo.Record) { slices.Reverse(b.Records) }, false},
		write{"no records", func(b *esm.Batch, _ *kgo.Record) { clear(b.Records); b.Records = nil }, false},
		write{"another batch", func(b *esm.Batch, _ *kgo.Record) { *b = esm.Batch{Attempt: 7, ID: "mine"} }, false},
	)
	for _, w := range writes {
		for fails, fail := range map[string]func(b *esm.Batch, records []*kgo.Record) error{
			"the batch": func(*esm.Batch, []*kgo.Record) error { return errBilling },
			"records": func(_ *esm.Batch, records []*kgo.Record) error {
				var f esm.Failures
				f.Add(records[1], errBilling)
				f.Add(records[4], errBilling)
				return f.Err()
			},
		} {
			t.Run(w.name+", "+fails, func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
					var rs []*kgo.Record
					for i := range 8 {
						rs = append(rs, fullRecord(i))
					}
					k.ProduceRecords(rs...)
					var mu sync.Mutex
					want, first := map[string]bool{}, true
					attempts := map[int64]int{}
					m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
						mu.Lock()
						defer mu.Unlock()
						for _, r := range b.Records {
							attempts[r.Offset]++
							if first {
								want[describeRecord(r)] = true
							} else if !want[describeRecord(r)] {
								t.Errorf("attempt %d gets %s", b.Attempt, describeRecord(r))
							}
						}
						records := slices.Clone(b.Records)
						if b.Attempt > 3 {
							return nil
						}
						if !first {
							for _, r := range records {
								w.do(b, r) // what is handed over anew is written into as well
							}
							return errBilling
						}
						first = false
						for _, r := range records {
							w.do(b, r)
						}
						return fail(b, records)
					}), quiet(), esm.WithBackoff(esm.Constant(time.Second)))
					waitFor(t, 10*time.Minute, "committed", func() bool { return k.Committed("billing", "orders", 0) >= 8 })
					stop(t, m)
					mu.Lock()
					defer mu.Unlock()
					for o := range int64(8) {
						n := 4
						if fails == "records" && o != 1 && o != 4 {
							n = 1
						}
						if attempts[o] != n {
							t.Errorf("offset %d: %d attempts, not %d", o, attempts[o], n)
						}
					}
					if len(attempts) != 8 || k.Committed("billing", "orders", 0) != 8 {
						t.Errorf("%v, committed %d", attempts, k.Committed("billing", "orders", 0))
					}
					if s := m.Stats(); (s.RereadEventCount > 0) != w.reread || s.ResetCount > 0 || s.LostEventCount > 0 {
						t.Errorf("%d records were read again, %d resets, %d lost", s.RereadEventCount, s.ResetCount, s.LostEventCount)
					}
				})
			})
		}
	}
}

// TestRecordsThatAreReadAgainKeepTheirAttempts: a function that stores what it
// decoded and always fails has its records given up after as many attempts as
// one that does not.
func TestRecordsThatAreReadAgainKeepTheirAttempts(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		fill(k, "orders", 2, 300)
		var mu sync.Mutex
		calls := map[string]int{}
		var discards list[*esm.Discard]
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Records {
				calls[string(r.Value)]++
				r.Value = append([]byte("decoded "), r.Value...)
			}
			if b.Records[0].Partition == 0 {
				return errBilling
			}
			return nil
		}), quiet(), esm.WithMaxRetries(2), esm.WithDestination(esm.Drop), esm.WithBackoff(esm.Constant(time.Second)), esm.WithBatchSize(50),
			esm.WithHooks(esm.Hooks{Discarded: discards.add}))
		waitFor(t, 10*time.Minute, "committed", func() bool {
			return k.Committed("billing", "orders", 0) >= 300 && k.Committed("billing", "orders", 1) >= 300
		})
		stop(t, m)
		mu.Lock()
		defer mu.Unlock()
		for p, n := range []int{3, 1} {
			for o := range 300 {
				if v := fmt.Sprintf("%d/%d", p, o); calls[v] != n {
					t.Errorf("%s was handled %d times, not %d", v, calls[v], n)
				}
			}
		}
		if len(calls) != 600 {
			t.Errorf("%d values, so some were changed", len(calls))
		}
		if n := len(discards.all()); n != 300 {
			t.Errorf("%d discards", n)
		}
	})
}

// TestRecordThatIsGoneWhenItIsReadAgain is told as lost, and nothing waits for
// it.
func TestRecordThatIsGoneWhenItIsReadAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 10)
		var lost list[esm.Gap]
		var handled list[string]
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			if b.Attempt > 1 || string(b.Records[0].Value) == "new" {
				for _, r := range b.Records {
					handled.add(string(r.Value))
				}
				return nil
			}
			for _, r := range b.Records {
				r.Value = nil
			}
			if err := k.Cluster().DeleteRecords("orders", 0, 4); err != nil {
				t.Error(err)
			}
			return errBilling
		}), quiet(), esm.WithBackoff(esm.Constant(5*time.Second)), esm.WithHooks(esm.Hooks{RecordsLost: lost.add}))
		time.Sleep(time.Minute)
		k.Produce("orders", "new")
		waitFor(t, 10*time.Minute, "committed", func() bool { return k.Committed("billing", "orders", 0) >= 11 })
		stop(t, m)
		if got := strings.Join(handled.all(), " "); got != "0/4 0/5 0/6 0/7 0/8 0/9 new" {
			t.Errorf("handled %s", got)
		}
		n := int64(0)
		for _, i := range lost.all() {
			n += i.To - i.From
		}
		if n != 4 {
			t.Errorf("%d told as lost: %v", n, lost.all())
		}
	})
}
