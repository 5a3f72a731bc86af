package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Process is that of a broker, counted from 0.
func (k *Cluster) Process(i int) *os.Process { return k.brokers[i].cmd.Process }

// Controller is the broker, counted from 0, that leads the others now.
func (k *Cluster) Controller(ctx context.Context, cl *kgo.Client) (int, error) {
	// The metadata name any broker as the controller; the quorum knows.
	req := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return 0, err
			}
			if p.LeaderID >= 1 && int(p.LeaderID) <= len(k.brokers) {
				return int(p.LeaderID) - 1, nil
			}
		}
	}
	return 0, errors.New("the quorum has no leader")
}

// InSync waits until each partition of a topic has all its replicas in sync:
// until then, another broker that goes away may make it unavailable.
func InSync(ctx context.Context, adm *kadm.Client, topics ...string) error {
	for {
		behind, err := notInSync(ctx, adm, topics)
		if behind == "" && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("replicas are not in sync: %s: %w", behind, errors.Join(err, context.Cause(ctx)))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func notInSync(ctx context.Context, adm *kadm.Client, topics []string) (string, error) {
	ask, done := context.WithTimeout(ctx, 2*time.Second)
	defer done()
	// Not from the client's cache, which is a minute old at worst.
	details, err := adm.ListTopicsWithInternal(ask, topics...)
	if err != nil {
		return "", err
	}
	for _, t := range details {
		if t.Err != nil {
			return t.Topic, t.Err
		}
		for _, p := range t.Partitions {
			if len(p.ISR) < len(p.Replicas) || p.Leader < 0 {
				return fmt.Sprintf("%s/%d: %v of %v", t.Topic, p.Partition, p.ISR, p.Replicas), nil
			}
		}
	}
	return "", nil
}
