package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A bookkeeper writes the topic with transactions, aborts some of them, and
// tells what became of each.
type bookkeeper struct {
	seeds []string
	seed  uint64
	rate  int // records a second, about
	tell  func(line)
	done  chan struct{}
	next  map[int32]int64

	mu       sync.Mutex
	end      map[int32]int64 // after the last record, which a marker follows
	produced int64
}

// What becomes of a transaction.
const (
	committed = "committed"
	aborted   = "aborted"
	undecided = "undecided" // nobody says
)

func newBookkeeper(seeds []string, seed uint64, rate int, tell func(line)) *bookkeeper {
	return &bookkeeper{seeds: seeds, seed: seed, rate: rate, tell: tell, done: make(chan struct{}), next: map[int32]int64{}, end: map[int32]int64{}}
}

// run writes one transaction after the other until ctx ends. It ends the last.
func (b *bookkeeper) run(ctx context.Context) error {
	defer close(b.done)
	rng := rand.New(rand.NewPCG(b.seed, 2))
	for ctx.Err() == nil {
		if err := b.write(ctx, rng); err != nil {
			return fmt.Errorf("transactions: %w", err)
		}
	}
	return nil
}

// write writes transactions with one client, until ctx ends, or until nobody
// can say what became of one. The next client then ends that.
func (b *bookkeeper) write(ctx context.Context, rng *rand.Rand) error {
	cl, err := kgo.NewClient(clientOpts(b.seeds, kgo.TransactionalID("bookkeeper"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionTimeout(time.Minute), kgo.ProducerBatchCompression(kgo.SnappyCompression()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for ctx.Err() == nil {
		outcome, err := b.transaction(cl, rng)
		if err != nil {
			return err
		}
		if outcome == undecided {
			return nil
		}
	}
	return nil
}

// transactionTime is how long the brokers have to end one.
const transactionTime = 50 * time.Second

func (b *bookkeeper) transaction(cl *kgo.Client, rng *rand.Rand) (outcome string, err error) {
	ctx, done := context.WithTimeout(context.Background(), transactionTime)
	defer done()
	if err := cl.BeginTransaction(); err != nil {
		return "", err
	}
	var records []*kgo.Record
	var seqs []int64
	some := rng.IntN(int(ledger.partitions)) // of three partitions
	for range 1 + rng.IntN(2*max(1, b.rate/10)) {
		n := ledger.first + int32(some+rng.IntN(3))%ledger.partitions
		records = append(records, recordOf(b.seed, n, b.next[n]))
		seqs = append(seqs, b.next[n])
		b.next[n]++
	}
	taken := map[*kgo.Record]bool{}
	results := cl.ProduceSync(ctx, records...)
	for _, r := range results {
		taken[r.Record] = r.Err == nil
	}
	pause := 100 * time.Millisecond
	if rng.IntN(30) == 0 {
		pause = between(rng, time.Second, 3*time.Second)
	}
	time.Sleep(pause)
	outcome, try := committed, kgo.TryCommit
	failed := results.FirstErr() != nil
	if rng.IntN(3) == 0 || failed {
		outcome, try = aborted, kgo.TryAbort
	}
	if failed {
		err = cl.AbortBufferedRecords(ctx)
	}
	if err := errors.Join(err, cl.EndTransaction(ctx, try)); err != nil {
		outcome = undecided
	}
	l := line{At: time.Now().UnixNano(), Host: "parent", Kind: lineTransaction, Outcome: outcome}
	for i, r := range records {
		at := int64(-1) // it may be there, and nobody said where
		if taken[r] {
			at = r.Offset
		}
		l.add(numberOf(r), at, seqs[i])
	}
	b.tell(l)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range records {
		if n := numberOf(r); taken[r] {
			b.end[n] = max(b.end[n], r.Offset+1)
			b.produced++
		}
	}
	return outcome, nil
}

func (b *bookkeeper) wait() { <-b.done }

// endsOf adds the ends of the partitions, as far as is known.
func (b *bookkeeper) endsOf(ends map[int32]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, end := range b.end {
		ends[n] = end
	}
}

func (b *bookkeeper) total() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.produced
}
