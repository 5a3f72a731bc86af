package main

import (
	"errors"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

type settings struct {
	demo.Source
	records, partitions int
	work                time.Duration
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	s.Source.Flags(f, false)
	f.Check(func() error {
		if len(s.Brokers) > 0 && (f.Given("records") || f.Given("partitions")) {
			return errors.New("-records and -partitions are for the Kafka in this process: with -brokers, what is there is read")
		}
		if s.Group == "" {
			s.Group = esm.EphemeralGroup()
		}
		return nil
	})
	f.Number(&s.records, "records", 200_000, 0, 10_000_000, "how many records the Kafka in this process gets")
	f.Number(&s.partitions, "partitions", 20, 1, 1000, "how many partitions it has")
	f.Time(&s.work, "work", 20*time.Millisecond, 0, time.Minute, "how long the function takes for a batch")
	f.JSON()
}
