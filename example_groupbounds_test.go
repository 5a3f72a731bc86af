package esm_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// However many processes of the group there are, the function gets 50 calls at once.
func ExampleWithGroupBounds() {
	m, err := esm.New(
		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.Each(func(ctx context.Context, r *kgo.Record) error { return nil }),
		esm.WithGroupBounds(true), esm.WithMinPollers(10), esm.WithMaxPollers(100), esm.WithMaxConcurrency(50),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	// Once it runs, what this process has of that is in Stats.
	s := m.Stats()
	fmt.Println(s.MinPollers, s.MaxPollers, s.MaxConcurrency)
	// Output: 0 0 0
}
