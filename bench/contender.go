package main

import (
	"fmt"
	"slices"
	"strings"
)

// A contender is a peer with one of its settings.
type contender struct {
	name string
	peer string // its folder in peers
	mode string
	runs string // the letters of the runs that it takes part in
	// is what it is, for the tables.
	is string
}

const (
	ordered   = "in order, batches"
	unordered = "no order, batches"
	single    = "in order, one record a call"
)

// contenders are all, in the order in which they run.
var contenders = []contender{
	{name: "bare", peer: "bare", runs: "BGH", is: "in order, what was polled"},
	{name: "esm-100", peer: "esm", mode: "100", runs: "A", is: ordered},
	{name: "esm-10", peer: "esm", mode: "10", runs: "A", is: ordered},
	{name: "esm-1", peer: "esm", mode: "1", runs: "A", is: ordered},
	{name: "esm-ondemand", peer: "esm", mode: "ondemand", runs: "A", is: ordered},
	{name: "esm", peer: "esm", runs: "BCDEFGHJKM", is: ordered},
	{name: "esm-848", peer: "esm", mode: "848", runs: "E", is: ordered + ", KIP-848"},
	{name: "esm-encode", peer: "esm", mode: "encode", runs: "B", is: "in order, batches, and the event of AWS Lambda"},
	{name: "esm-watched", peer: "watched", runs: "B", is: "in order, batches, with metrics, traces and viewers of the page"},
	{name: "goroutines", peer: "goroutines", runs: "ABCDEFK", is: ordered},
	{name: "sarama", peer: "sarama", runs: "ABCDEFK", is: ordered},
	{name: "confluent", peer: "confluent", runs: "ABCDEFK", is: ordered},
	{name: "watermill", peer: "watermill", runs: "ABCDEF", is: single},
	{name: "benthos", peer: "benthos", runs: "ABCDEF", is: ordered},
	{name: "benthos-unordered", peer: "benthos", mode: "unordered", runs: "ABCDEF", is: unordered},
	{name: "parallel-unordered", peer: "parallel", mode: "unordered", runs: "ABCDEF", is: unordered},
	{name: "parallel-partition", peer: "parallel", mode: "partition", runs: "ABCDEF", is: single},
	{name: "esm-idle", peer: "esm", mode: "idle", runs: "I", is: ordered},
}

// bare is the contender that others are compared with.
var bare = contenders[0]

const (
	// usualRuns are the letters of the runs that one broker is enough for, in their
	// order; I is idle.
	usualRuns = "ABCDEFGHJMI"
	// allRuns are all. K needs several brokers, and is done alone.
	allRuns = usualRuns + "K"
)

// chosen returns the letters of the runs and the contenders that are asked
// for, by names that are separated by commas; the usual ones and all if there is none.
func chosen(only, who string) (runs string, cs []contender, err error) {
	for name := range strings.SplitSeq(only, ",") {
		switch {
		case name == "":
		case name == "idle":
			runs += "I"
		case len(name) == 1 && strings.Contains(allRuns, name):
			runs += name
		default:
			return "", nil, fmt.Errorf("there is no run %q: they are A to H, J, K, M and idle", name)
		}
	}
	if runs == "" {
		runs = usualRuns
	}
	for name := range strings.SplitSeq(who, ",") {
		if name == "" {
			continue
		}
		i := slices.IndexFunc(contenders, func(c contender) bool { return c.name == name })
		if i < 0 {
			return "", nil, fmt.Errorf("there is no contender %q", name)
		}
		cs = append(cs, contenders[i])
	}
	if cs == nil {
		cs = contenders
	}
	return runs, cs, nil
}
