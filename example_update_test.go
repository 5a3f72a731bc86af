package esm_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed429fd032/esm"
)

// pollerBounds is what an operator may change while the program runs.
type pollerBounds struct{ Min, Max int }

// follow applies changes until there are no more, or the Mapping has stopped.
func follow(m *esm.Mapping, changes <-chan pollerBounds) {
	for c := range changes {
		// Both at once, so that they are judged together.
		err := m.Update(esm.WithMinPollers(c.Min), esm.WithMaxPollers(c.Max))
		switch {
		case errors.Is(err, esm.ErrStopped):
			return
		case err != nil:
			fmt.Println("nothing was changed:", err)
		default:
			fmt.Printf("%d to %d pollers\n", c.Min, c.Max)
		}
	}
}

// A watcher of a configuration file sends what it reads to a channel. A change
// holds from the next decision on; one that is wrong changes nothing.
func ExampleMapping_Update() {
	m, err := esm.New(
		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error { return nil }),
	)
	if err != nil {
		log.Fatal(err)
	}
	changes := make(chan pollerBounds, 2)
	changes <- pollerBounds{Min: 2, Max: 50}
	changes <- pollerBounds{Min: 20, Max: 10}
	close(changes)
	follow(m, changes)
	// Output:
	// 2 to 50 pollers
	// nothing was changed: esm: WithMaxPollers: 10 must be at least WithMinPollers, which is 20
}
