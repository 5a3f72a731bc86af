package esm_test

import (
	"context"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// line says in one line how a Mapping is doing.
func line(s esm.Stats) string {
	// A lag that nobody knows is not a lag of zero. A gauge leaves it out.
	lag := "unknown"
	if sum, known := s.OffsetLag.Sum(); known {
		lag = fmt.Sprint(sum)
	}
	return fmt.Sprintf("%s: %d records done, lag %s, %d pollers", s.Phase, s.SettledEventCount, lag, s.ProvisionedPollers)
}

func ExampleMapping_Stats() {
	brokers, stopKafka := startKafka(1, "a", "b", "c")
	defer stopKafka()
	ctx := context.Background()

	handled := make(chan struct{}, 3)
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		esm.Each(func(context.Context, *kgo.Record) error {
			handled <- struct{}{}
			return nil
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(line(m.Stats()))

	if err := m.Start(ctx); err != nil {
		log.Fatal(err)
	}
	for range 3 {
		<-handled
	}
	if err := m.Pause(ctx); err != nil { // returns when no invocation runs
		log.Fatal(err)
	}
	fmt.Println(line(m.Stats()))

	if err := m.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(line(m.Stats()))
	// Output:
	// new: 0 records done, lag unknown, 0 pollers
	// paused: 3 records done, lag 0, 1 pollers
	// stopped: 3 records done, lag unknown, 0 pollers
}
