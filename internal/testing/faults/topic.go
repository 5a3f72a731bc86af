package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A topic is one that the hosts read. Its partitions are numbered through all
// topics, and everywhere here a partition is such a number.
type topic struct {
	name       string
	kind       holes
	first      int32
	partitions int32
	settings   map[string]string
}

// holes says which offsets of a partition may be without a record.
type holes int

const (
	// noHoles: each offset has a record, and each record is to be handled.
	noHoles holes = iota
	// compactionHoles: compaction takes records that have a later one of the
	// same key.
	compactionHoles
	// transactionHoles: markers take offsets, and records of aborted
	// transactions are not to be shown.
	transactionHoles
)

// segmentTime is how long a segment of the compacted topic takes records:
// compaction leaves the last one alone.
const segmentTime = 2 * time.Second

var topics = []topic{
	{name: "orders", kind: noHoles, first: 0, partitions: 24},
	{name: "prices", kind: compactionHoles, first: 24, partitions: 4, settings: map[string]string{
		"cleanup.policy": "compact", "segment.ms": fmt.Sprint(segmentTime.Milliseconds()),
		"min.cleanable.dirty.ratio": "0.01", "min.compaction.lag.ms": "0",
	}},
	{name: "ledger", kind: transactionHoles, first: 28, partitions: 4},
}

// partitions is how many there are of all topics.
const partitions = 32

var orders, prices, ledger = &topics[0], &topics[1], &topics[2]

// topicOf is the topic of a partition.
func topicOf(n int32) *topic {
	for i := range topics {
		if t := &topics[i]; n >= t.first && n < t.first+t.partitions {
			return t
		}
	}
	panic(fmt.Sprintf("there is no partition %d", n))
}

// number is the number of a partition, -1 if there is no such partition.
func number(name string, partition int32) int32 {
	for _, t := range topics {
		if t.name == name && partition >= 0 && partition < t.partitions {
			return t.first + partition
		}
	}
	return -1
}

// numberOf is the number of a record's partition.
func numberOf(r *kgo.Record) int32 { return number(r.Topic, r.Partition) }

// nameOf is how Kafka's users write a partition.
func nameOf(n int32) string {
	t := topicOf(n)
	return fmt.Sprintf("%s/%d", t.name, n-t.first)
}

// topicNames are the names of all topics.
func topicNames() []string {
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}
