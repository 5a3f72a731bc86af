package esm_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// runAll runs Mappings until ctx ends. Where one ends before, by its own doing
// or because it cannot start, it ends the others too: a process that does half
// of its work looks healthy and is not.
func runAll(ctx context.Context, mappings ...*esm.Mapping) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(mappings))
	var all sync.WaitGroup
	for i, m := range mappings {
		all.Go(func() {
			defer cancel()
			errs[i] = m.Run(ctx)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Two Mappings in one process. They have a group each, so each gets all
// records of the topic.
func Example_twoMappings() {
	brokers, stopKafka := startKafka(1, "a", "b")
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	var handled sync.WaitGroup
	handled.Add(4) // two records, twice
	go func() {
		handled.Wait()
		cancel() // that is all of this example
	}()
	mapping := func(group, does string) *esm.Mapping {
		m, err := esm.New(
			esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: group},
			esm.Each(func(_ context.Context, r *kgo.Record) error {
				fmt.Println(does, string(r.Value))
				handled.Done()
				return nil
			}),
		)
		if err != nil {
			log.Fatal(err)
		}
		return m
	}
	if err := runAll(ctx, mapping("billing", "bill"), mapping("shipping", "ship")); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// bill a
	// bill b
	// ship a
	// ship b
}
