package esm

import "github.com/twmb/franz-go/pkg/kgo"

// ClientOf is the Kafka client of a Mapping that runs.
func ClientOf(m *Mapping) *kgo.Client { return m.run.consumer.client }
