package proof_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestWhatACallSettlesDoesNotComeAgain: a function fails in every way that there
// is, and SettledOf says what each call settles, which is each record once.
func TestWhatACallSettlesDoesNotComeAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions, each = 4, 100
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		fill(k, "orders", partitions, each)
		rng := rand.New(rand.NewPCG(16, 16))
		plain := errors.New("no")
		whole := []error{nil, plain, esm.Throttled(time.Second, plain), esm.Permanent(plain), esm.TooLarge(plain)}
		type place struct {
			esm.TopicPartition
			offset int64
		}
		var mu sync.Mutex // deliveries run at the same time
		done, gone := map[place]int{}, map[place]int{}
		at := func(r *kgo.Record) place {
			return place{esm.TopicPartition{Topic: r.Topic, Partition: r.Partition}, r.Offset}
		}
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) (err error) {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Records {
				if n := done[at(r)]; n > 0 {
					t.Errorf("%v was settled and comes again", at(r))
				}
			}
			if rng.IntN(3) == 0 {
				err = whole[rng.IntN(len(whole))]
			} else {
				var f esm.Failures
				for _, r := range b.Records {
					switch say := whole[rng.IntN(len(whole))]; rng.IntN(10) {
					case 0:
						f.Add(r, say)
					case 1:
						f.StopAt(r, say)
					}
				}
				err = f.Err()
			}
			for _, r := range esm.SettledOf(ctx, b, err) {
				done[at(r)]++
			}
			return err
		}), quiet(), esm.WithMaxConcurrency(1), esm.WithBatchSize(10), esm.WithBackoff(esm.Constant(time.Second)), esm.WithBisect(true),
			esm.WithDestination(esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error {
				mu.Lock()
				defer mu.Unlock()
				gone[at(d.Record)]++
				return nil
			})))
		waitFor(t, time.Hour, "all is settled", func() bool { return m.Stats().CommittedEventCount == partitions*each })
		stop(t, m)
		if len(done)+len(gone) != partitions*each || len(done) < partitions*each/2 || len(gone) == 0 {
			t.Errorf("%d settled by calls and %d given up, of %d", len(done), len(gone), partitions*each)
		}
		for p, n := range done {
			if n != 1 || gone[p] != 0 {
				t.Errorf("%v was settled %d times, and given up %d times", p, n, gone[p])
			}
		}
		for p := range int32(partitions) {
			if got := k.Committed("billing", "orders", p); got != each {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
	})
}
