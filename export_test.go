package esm

import "github.com/twmb/franz-go/pkg/kgo"

// NewReplay is a scaler that is told what another one was told.
func NewReplay(onDemand bool) func(ScaleSample) (int, string) {
	s := &scaler{onDemand: onDemand}
	return s.decide
}

// ClientOf is the Kafka client of a Mapping that runs.
func ClientOf(m *Mapping) *kgo.Client { return m.run.consumer.client }
