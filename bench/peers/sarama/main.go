// Command sarama reads a topic with a consumer group of IBM/sarama: a goroutine
// for each partition, which it has by itself, and batches put together by hand.
package main

import (
	"context"
	"strings"

	"github.com/IBM/sarama"

	"github.com/seed429fd032/esm/bench/job"
)

type handler struct{ j *job.Job }

func (handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h handler) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	job.Gather(s.Context(), claim.Messages(), h.j.Batch, h.j.Window, func(batch []*sarama.ConsumerMessage) bool {
		if !h.j.Try(s.Context(), func() error {
			return job.Call(h.j, batch, func(m *sarama.ConsumerMessage) (int32, int64, []byte) { return m.Partition, m.Offset, m.Value })
		}) {
			return false
		}
		s.MarkMessage(batch[len(batch)-1], "")
		return s.Context().Err() == nil
	})
	return nil
}

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/IBM/sarama")
		c := sarama.NewConfig()
		// What it knows of the protocol; its default is that of Kafka 2.1.
		c.Version = sarama.MaxVersion
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		// More than one fetch of a partition holds: its feeder then seldom
		// waits, and while it waits nothing is fetched from that broker.
		c.ChannelBufferSize = 2048
		// Fewer partitions move at a rebalance than with the default.
		c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
		j.About.Settings = []string{
			"Version = MaxVersion",
			"ChannelBufferSize 2048: more than one fetch of a partition (1 MiB, the default), because a full channel holds up the broker's fetches",
			"sticky balance strategy; offsets marked after success and committed every second (the default)",
			"on failure the same batch again, for ever: nothing is lost, and the partition waits",
		}
		group, err := sarama.NewConsumerGroup(strings.Split(j.Brokers, ","), j.Group, c)
		if err != nil {
			return err
		}
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{j.Topic}, handler{j}); err != nil && ctx.Err() == nil {
				_ = group.Close()
				return err
			}
		}
		return group.Close()
	})
}
