package esm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// once keeps records from a function that it is done with, by their keys. What
// it remembers is what a call settled: a record that failed comes again, and
// must then reach the function.
type once struct {
	next esm.Invoker

	mu   sync.Mutex // invocations run at the same time
	done map[string]bool
}

func (o *once) Invoke(ctx context.Context, b *esm.Batch) error {
	o.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(b.Records), func(r *kgo.Record) bool { return o.done[string(r.Key)] })
	o.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	sent := b.With(fresh)
	err := o.next.Invoke(ctx, sent)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range esm.SettledOf(ctx, sent, err) {
		o.done[string(r.Key)] = true
	}
	return err
}

func ExampleSettledOf() {
	function := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		var f esm.Failures
		for _, r := range b.Records {
			fmt.Printf("attempt %d of %s\n", b.Attempt, r.Key)
			if string(r.Key) == "coffee" && b.Attempt == 1 {
				f.Add(r, errors.New("we are out of coffee"))
			}
		}
		return f.Err()
	})
	o := &once{next: function, done: map[string]bool{}}
	batch := &esm.Batch{Attempt: 1, Records: []*kgo.Record{
		{Topic: "orders", Offset: 0, Key: []byte("tea")},
		{Topic: "orders", Offset: 1, Key: []byte("coffee")},
	}}
	fmt.Println(o.Invoke(context.Background(), batch)) // a Mapping does this
	batch.Attempt = 2
	fmt.Println(o.Invoke(context.Background(), batch))
	// Output:
	// attempt 1 of tea
	// attempt 1 of coffee
	// esm: 1 records of the batch failed: orders/0 offset 1: we are out of coffee
	// attempt 2 of coffee
	// <nil>
}
