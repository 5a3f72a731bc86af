// Package partition names partitions, for all that is below the root.
package partition

import "fmt"

// An ID names one partition of one topic.
type ID struct {
	Topic     string
	Partition int32
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
