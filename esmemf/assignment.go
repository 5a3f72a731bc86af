package esmemf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed429fd032/esm"
)

// An assignment is which partitions a process has.
type assignment map[esm.TopicPartition]struct{}

// names are its partitions in order.
func (a assignment) names() []string {
	sorted := make([]esm.TopicPartition, 0, len(a))
	for tp := range a {
		sorted = append(sorted, tp)
	}
	slices.SortFunc(sorted, comparePartitions)
	names := make([]string, len(sorted))
	for i, tp := range sorted {
		names[i] = partitionName(tp)
	}
	return names
}

func comparePartitions(a, b esm.TopicPartition) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

// partitionName is a partition as AWS writes it.
func partitionName(tp esm.TopicPartition) string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }
