package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A producer writes the records of the topics without transactions, and keeps
// where each partition ends. It has a client for each way to compress, and each
// partition is written by one of them.
type producer struct {
	seed    uint64
	rate    int
	behind  func(ends map[int32]int64) int64 // how much before them is not handled
	clients []*kgo.Client
	done    chan struct{}

	mu       sync.Mutex
	next     map[int32]int64 // how many were made
	end      map[int32]int64
	produced int64
	failed   error
}

// codecs are the ways to compress; 1 KiB of a record is about half a KiB then.
func codecs() []kgo.CompressionCodec {
	return []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
}

// clientOpts are what the parent's own clients have, which reach the brokers
// past the proxies.
func clientOpts(seeds []string, more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(250 * time.Millisecond), kgo.MetadataMaxAge(10 * time.Second)}, more...)
}

func newProducer(seeds []string, seed uint64, rate int, behind func(map[int32]int64) int64) (*producer, error) {
	p := &producer{seed: seed, rate: rate, behind: behind, done: make(chan struct{}), next: map[int32]int64{}, end: map[int32]int64{}}
	for _, codec := range codecs() {
		cl, err := kgo.NewClient(clientOpts(seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))...)
		if err != nil {
			p.close()
			return nil, err
		}
		p.clients = append(p.clients, cl)
	}
	return p, nil
}

func (p *producer) close() {
	for _, cl := range p.clients {
		cl.Close()
	}
}

// share is how many of a hundred records go into the compacted topic.
const share = 5

// mostBehind is for how many seconds records wait for the hosts at most. All
// bounds on time count on that: on a machine that is busy with something else,
// what waits would grow as long as the run lasts.
const mostBehind = 10

// run produces until ctx ends, and then waits for what is on its way.
func (p *producer) run(ctx context.Context) error {
	defer close(p.done)
	const every = 20 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	n, owed := 0, 0.0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			if p.buffered() > int64(5*p.rate) || p.waiting() > int64(mostBehind*p.rate) {
				continue // the brokers are away, or the hosts: more can wait
			}
			for owed += float64(p.rate) * every.Seconds(); owed >= 1; owed-- {
				n++
				t := orders
				if n%100 < share {
					t = prices
				}
				p.produce(t.first + int32(n)%t.partitions)
			}
		}
	}
	return p.flush()
}

func (p *producer) buffered() (n int64) {
	for _, cl := range p.clients {
		n += cl.BufferedProduceRecords()
	}
	return n
}

// waiting is how many records wait for the hosts.
func (p *producer) waiting() int64 {
	ends := map[int32]int64{}
	p.endsOf(ends)
	return p.behind(ends)
}

// produce writes the next record of a partition.
func (p *producer) produce(n int32) {
	p.mu.Lock()
	seq := p.next[n]
	p.next[n]++
	p.mu.Unlock()
	cl := p.clients[int(n)%len(p.clients)]
	cl.Produce(context.Background(), recordOf(p.seed, n, seq), func(r *kgo.Record, err error) { p.acked(n, seq, r, err) })
}

func (p *producer) acked(n int32, seq int64, r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && r.Offset != seq {
		err = fmt.Errorf("record %d has offset %d, and all that is judged here needs them to be the same", seq, r.Offset)
	}
	if err != nil {
		p.failed = errors.Join(p.failed, fmt.Errorf("produce into %s: %w", nameOf(n), err))
		return
	}
	p.produced++
	p.end[n] = max(p.end[n], seq+1)
}

func (p *producer) flush() error {
	flush, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	for _, cl := range p.clients {
		if err := cl.Flush(flush); err != nil {
			return fmt.Errorf("the producer does not get rid of its records: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// prefill fills the compacted topic for so long that compaction has something
// to take before anybody reads it.
func (p *producer) prefill(ctx context.Context) error {
	for range 4 {
		for range 100 {
			for i := range prices.partitions {
				p.produce(prices.first + i)
			}
		}
		if err := p.flush(); err != nil {
			return err
		}
		if !sleep(ctx, segmentTime) {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (p *producer) wait() { <-p.done }

// endsOf adds the ends of the partitions, as far as is known.
func (p *producer) endsOf(ends map[int32]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, end := range p.end {
		ends[n] = end
	}
}

func (p *producer) total() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.produced
}
