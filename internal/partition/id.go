// Package partition names partitions, for all that is below the root.
package partition

// An ID names one partition of one topic.
type ID struct {
	Topic     string
	Partition int32
}
