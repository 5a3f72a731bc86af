package main

import (
	"context"
	"sync"
	"time"

	"github.com/seed429fd032/esm"
)

// billing is the function: it takes 20 ms, and writes down what it got.
type billing struct {
	mu       sync.Mutex
	next     map[int32]int64 // the offset after the last record of each partition
	handled  int64
	repeated int64
	wrong    int64 // records that did not come after the one before
}

func newBilling() *billing { return &billing{next: map[int32]int64{}} }

func (b *billing) Invoke(ctx context.Context, batch *esm.Batch) error {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range batch.Records {
		switch next := b.next[r.Partition]; {
		case r.Offset < next:
			b.repeated++
		case r.Offset > next:
			b.wrong++
		}
		b.next[r.Partition] = max(b.next[r.Partition], r.Offset+1)
		b.handled++
	}
	return nil
}

func (b *billing) count() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.handled
}
