package esmemf

import (
	"bytes"
	"encoding/json"

	"github.com/seed429fd032/esm"
)

// AWS's types of events.
const (
	processingEvent = "ESM_PROCESSING_EVENT"
	pollerEvent     = "POLLER_STATUS_EVENT"
	kafkaEvent      = "KAFKA_STATUS_EVENT"
)

// An event is a line of the system log, as AWS writes it.
type event struct {
	EventType        string      `json:"eventType"`
	Timestamp        int64       `json:"timestamp"` // ms
	ResourceARN      string      `json:"resourceArn,omitempty"`
	EventSourceARN   string      `json:"eventSourceArn,omitempty"`
	EventProcessorID string      `json:"eventProcessorId,omitempty"`
	LogLevel         string      `json:"logLevel"`
	Error            *trouble    `json:"error,omitempty"`
	Connection       *connection `json:"kafkaEventSourceConnection,omitempty"`
	Offsets          *offsets    `json:"kafkaPartitionOffsets,omitempty"`
}

// A trouble is what went wrong.
type trouble struct {
	ErrorMessage string `json:"errorMessage"`
	ErrorCode    string `json:"errorCode"`
	// LeftOut is how many of this kind came since the last line, and have none. It is ours.
	LeftOut int64 `json:"leftOutCount,omitempty"`
}

// A connection is how a process reads.
type connection struct {
	BrokerEndpoints    string   `json:"brokerEndpoints,omitempty"`
	ConsumerID         string   `json:"consumerId"`
	Topics             []string `json:"topics,omitempty"`
	ConsumerGroupID    string   `json:"consumerGroupId,omitempty"`
	SecurityProtocol   string   `json:"securityProtocol,omitempty"`
	SASLMechanism      string   `json:"saslMechanism,omitempty"`
	AssignedCount      int      `json:"assignedPartitionCount"`
	AssignedPartitions []string `json:"assignedPartitions"`
}

// offsets are how far a partition is. AWS has the last offset that was read and the last that
// was handled, and the next one as what is committed.
type offsets struct {
	Partition string `json:"partition"`
	End       *int64 `json:"endOffset,omitempty"`
	Consumed  *int64 `json:"consumedOffset,omitempty"`
	Processed *int64 `json:"processedOffset,omitempty"`
	Committed *int64 `json:"committedOffset,omitempty"`
}

// offsetsOf are those of a partition, without what is unknown.
func offsetsOf(p *esm.PartitionStats) *offsets {
	known := func(offset int64) *int64 {
		if offset < 0 {
			return nil
		}
		return &offset
	}
	return &offsets{partitionName(p.TopicPartition), known(p.End), known(p.Position - 1), known(p.Frontier - 1), known(p.Committed)}
}

// line is an event as a line.
func (e *event) line() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read it
	if err := enc.Encode(e); err != nil {
		panic(err) // numbers and texts
	}
	return b.Bytes()
}

// longestList is how many bytes of a list are written, so that a line stays below the 256 KiB
// of CloudWatch Logs. The number of partitions is there all the same.
const longestList = 64 << 10

// cut is the beginning of a list, as far as it may be written.
func cut(list []string) []string {
	bytes := 0
	for i, s := range list {
		if bytes += len(s) + 3; bytes > longestList {
			return list[:i]
		}
	}
	return list
}
