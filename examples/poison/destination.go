package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// The headers that a record has more in the topic for poison.
const (
	headerReason    = "reason"
	headerAttempts  = "attempts"
	headerError     = "error"
	headerTopic     = "source-topic"
	headerPartition = "source-partition"
	headerOffset    = "source-offset"
)

// deliverTo is a Destination that writes records to the topic of a client, with
// the key and value that they had and headers that say what became of them. It
// returns when Kafka has the record: only then the Mapping goes on behind it.
// After an error the Mapping delivers the record again.
func deliverTo(client *kgo.Client) esm.DestinationFunc {
	return func(ctx context.Context, d *esm.Discard) error {
		// A new record: d.Record is read-only.
		r := &kgo.Record{Key: d.Record.Key, Value: d.Record.Value, Headers: slices.Clone(d.Record.Headers)}
		add := func(key string, value any) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: fmt.Append(nil, value)})
		}
		add(headerReason, d.Reason)
		add(headerAttempts, d.Attempts)
		add(headerTopic, d.Record.Topic)
		add(headerPartition, d.Record.Partition)
		add(headerOffset, d.Record.Offset)
		if d.Err != nil { // a record too old to be tried has none
			add(headerError, d.Err)
		}
		return client.ProduceSync(ctx, r).FirstErr()
	}
}
