package main

import (
	"encoding/json"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/migrate/function"
)

type settings struct {
	records, bad int
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	f.Number(&s.records, "records", 20_000, 1, 1_000_000, "how many records there are")
	f.IntVar(&s.bad, "bad", 3, "how many of them are no orders")
	f.Check(func() error {
		if s.bad < 0 || s.bad > s.records {
			return fmt.Errorf("-bad is %d, and must be 0 to -records", s.bad)
		}
		return nil
	})
	f.JSON()
}

// record makes a record, the i-th of all.
func (s *settings) record(i int) *kgo.Record {
	value := []byte("no order")
	if !s.isBad(i) {
		value, _ = json.Marshal(function.Order{Number: i, Cents: cents(i)}) // of two numbers: it cannot fail
	}
	return &kgo.Record{Partition: int32(i % partitions), Value: value}
}

// isBad reports whether a record is no order: they are spread over all.
func (s *settings) isBad(i int) bool {
	return s.bad > 0 && i*s.bad/s.records != (i-1)*s.bad/s.records || s.bad > 0 && i == 0
}

// cents is what is in an order.
func cents(i int) int { return i % 1000 }
