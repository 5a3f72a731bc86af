// Package partition names partitions, for all that is below the root.
package partition

import (
	"cmp"
	"fmt"
)

// An ID names one partition of one topic.
type ID struct {
	Topic     string
	Partition int32
}

// Compare orders partitions by topic and number.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Topic, other.Topic), cmp.Compare(id.Partition, other.Partition))
}

// Describe names a few partitions.
func Describe[T ~struct {
	Topic     string
	Partition int32
}](tps []T) string {
	if len(tps) == 0 {
		return "no partition"
	}
	first := ID(tps[0])
	s := fmt.Sprintf("%s/%d", first.Topic, first.Partition)
	if len(tps) > 1 {
		s += fmt.Sprintf(" and %d more", len(tps)-1)
	}
	return s
}
