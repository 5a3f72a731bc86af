package esmprom

// An Option is a setting of [New].
type Option func(*settings)

type settings struct {
	partitions bool
}

// WithPartitions has a few numbers collected of each partition that a Mapping has, with the
// labels topic and partition: up to six samples each. Off, which is the default, a Mapping has
// about a hundred samples, however many partitions. A scrape of 1,000 partitions takes less
// than a millisecond then, and five of them with this on.
func WithPartitions(on bool) Option { return func(s *settings) { s.partitions = on } }
