package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A producer writes records, and keeps where each partition ends.
type producer struct {
	client *kgo.Client
	rate   int
	done   chan struct{}

	mu       sync.Mutex
	end      map[int32]int64
	produced int64
	failed   error
}

func newProducer(cl *kgo.Client, rate int) *producer {
	return &producer{client: cl, rate: rate, done: make(chan struct{}), end: map[int32]int64{}}
}

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
			if p.client.BufferedProduceRecords() > int64(5*p.rate) {
				continue // the brokers are away: more can wait
			}
			for owed += float64(p.rate) * every.Seconds(); owed >= 1; owed-- {
				n++
				value := binary.BigEndian.AppendUint64(make([]byte, 0, 200), uint64(n))
				p.client.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: int32(n % partitions), Value: value[:200]}, p.acked)
			}
		}
	}
	flush, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	if err := p.client.Flush(flush); err != nil {
		return fmt.Errorf("the producer does not get rid of its records: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *producer) acked(r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = errors.Join(p.failed, fmt.Errorf("produce: %w", err))
		return
	}
	p.produced++
	p.end[r.Partition] = max(p.end[r.Partition], r.Offset+1)
}

func (p *producer) wait() { <-p.done }

// ends are the ends of the partitions, as far as is known.
func (p *producer) ends() map[int32]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.end)
}

func (p *producer) total() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.produced
}

// A watcher asks what is committed, as anybody can, and whether that moves.
type watcher struct {
	admin *kadm.Client
	ends  func() map[int32]int64
	judge *judge

	mu      sync.Mutex
	last    map[int32]int64
	moved   map[int32]time.Time // when it moved, or had nothing to do
	longest time.Duration
}

// patience is how long a partition with records may go without a commit: two
// faults one after the other, each with a session that has to end, and a
// rebalance that waits for it.
const patience = 75 * time.Second

// run looks once a second.
func (w *watcher) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.look(ctx); err != nil {
			return err
		}
	}
}

func (w *watcher) look(ctx context.Context) error {
	ends := w.ends()
	ask, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	offsets, err := w.admin.FetchOffsets(ask, group)
	if err != nil {
		return nil // the brokers are being broken
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, end := range ends {
		at := int64(0)
		if o, ok := offsets.Lookup(topic, n); ok {
			if o.Err != nil {
				continue
			}
			at = max(0, o.At)
		}
		// It may be less than it was, for a second: see commitLog.
		if last, known := w.last[n]; !known || at > last || at >= end {
			w.moved[n] = now
		}
		w.last[n] = max(w.last[n], at)
		still := now.Sub(w.moved[n])
		w.longest = max(w.longest, still)
		if still > patience {
			return w.judge.brokenPart(n, "nothing was committed for %s; it stands at %d of %d", still.Round(time.Second), at, end)
		}
	}
	return nil
}

// wait waits until everything is committed.
func (w *watcher) wait(ctx context.Context, most time.Duration) error {
	ends := w.ends()
	for deadline := time.Now().Add(most); ; {
		w.mu.Lock()
		behind, one := 0, int32(0)
		for n, end := range ends {
			if w.last[n] < end {
				behind, one = behind+1, n
			}
		}
		w.mu.Unlock()
		if behind == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return w.judge.brokenPart(one, "it and %d others were not done %s after the last fault", behind-1, most)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}
