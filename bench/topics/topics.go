// Package topics makes topics of any number of partitions.
package topics

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// atOnce is how many partitions are asked for in one request: a controller refuses more
// than about 10,000.
const atOnce = 5000

// Create makes a topic.
func Create(ctx context.Context, adm *kadm.Client, name string, partitions, replicas int) error {
	made := min(partitions, atOnce)
	if _, err := adm.CreateTopic(ctx, int32(made), int16(replicas), nil, name); err != nil {
		return fmt.Errorf("topic %s: %w", name, err)
	}
	for made < partitions {
		made = min(partitions, made+atOnce)
		resp, err := adm.UpdatePartitions(ctx, made, name)
		if err == nil {
			err = resp.Error()
		}
		if err != nil {
			return fmt.Errorf("topic %s, %d partitions: %w", name, made, err)
		}
	}
	return known(ctx, adm, name, partitions)
}

// known waits until brokers know of all partitions.
func known(ctx context.Context, adm *kadm.Client, name string, partitions int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		topics, err := adm.ListTopics(ctx, name)
		if err != nil {
			return fmt.Errorf("topic %s: %w", name, err)
		}
		if len(topics[name].Partitions) == partitions {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
