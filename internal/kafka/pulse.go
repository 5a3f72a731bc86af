package kafka

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka's numbers of the requests by which a member joins: of a classic group, and
// of one of KIP-848.
const (
	joinGroupKey      = 11
	groupHeartbeatKey = 68
)

// heartbeats counts the answers of the coordinator of a KIP-848 group. It is 0 in a
// classic one, which is also what the client falls back to where a broker does not
// know KIP-848.
type heartbeats struct{ answered atomic.Int64 }

var _ kgo.HookBrokerRead = (*heartbeats)(nil)

// OnBrokerRead looks at what a response answers.
func (h *heartbeats) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	switch {
	case err != nil:
	case key == groupHeartbeatKey:
		h.answered.Add(1)
	case key == joinGroupKey:
		h.answered.Store(0)
	}
}

// pulse asks the coordinator of a KIP-848 group as often as a member of a classic
// group does, until ctx ends. By itself the client asks when the broker says, which
// is every five seconds, and no broker can be told less than that without changing its
// own configuration. A member learns only in such an answer that partitions are
// its own now, and they stand still for as long. An answer that says nothing new
// costs the coordinator next to nothing.
//
// It asks once an answer: while there is none, the client has its own pace. And it
// never asks in a classic group, where the same call begins a rebalance.
func (c *Consumer) pulse(ctx context.Context) {
	every, _ := c.client.OptValue(kgo.HeartbeatInterval).(time.Duration)
	if byBroker, _ := c.client.OptValue(kgo.ServerSideBalancer).(bool); !byBroker || every <= 0 {
		return
	}
	seen := int64(0)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if n := c.heartbeats.answered.Load(); n != 0 && n != seen {
			seen = n
			c.client.ForceRebalance()
		}
	}
}
