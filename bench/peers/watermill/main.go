// Command watermill reads a topic with watermill-kafka: one message after the
// other of each partition, each acknowledged by itself.
package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/seed429fd032/esm/bench/job"
)

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill-kafka/v3", "github.com/IBM/sarama")
		c := kafka.DefaultSaramaSubscriberConfig()
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		// As for sarama by itself.
		c.Version = sarama.MaxVersion
		c.ChannelBufferSize = 2048
		c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
		j.About.Settings = []string{
			"it has no batches: one record a call, acknowledged by itself, one at a time of each partition",
			"sarama below it as by itself: MaxVersion, ChannelBufferSize 2048, sticky",
		}
		sub, err := kafka.NewSubscriber(kafka.SubscriberConfig{
			Brokers:               strings.Split(j.Brokers, ","),
			Unmarshaler:           kafka.DefaultMarshaler{},
			OverwriteSaramaConfig: c,
			ConsumerGroup:         j.Group,
			NackResendSleep:       j.Retry,
		}, watermill.NopLogger{})
		if err != nil {
			return err
		}
		if j.Poison >= 0 {
			return route(ctx, j, sub)
		}
		j.About.Settings = append(j.About.Settings, "the Subscriber's channel, with a goroutine for each message that comes out of it: less than a Router does")
		return subscribe(ctx, j, sub)
	})
}

func handle(j *job.Job, m *message.Message) error {
	partition, ok := kafka.MessagePartitionFromCtx(m.Context())
	offset, ok2 := kafka.MessagePartitionOffsetFromCtx(m.Context())
	if !ok || !ok2 {
		return fmt.Errorf("message %s has no offset", m.UUID)
	}
	return job.Call(j, []*message.Message{m}, func(m *message.Message) (int32, int64, []byte) { return partition, offset, m.Payload })
}

func subscribe(ctx context.Context, j *job.Job, sub *kafka.Subscriber) error {
	messages, err := sub.Subscribe(context.WithoutCancel(ctx), j.Topic)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = sub.Close() }) // which closes the channel
	var running sync.WaitGroup
	for m := range messages {
		running.Go(func() {
			if handle(j, m) == nil {
				m.Ack()
			} else {
				m.Nack()
			}
		})
	}
	running.Wait()
	return nil
}

// poisoned takes what the PoisonQueue middleware gives up.
type poisoned struct{ j *job.Job }

func (p poisoned) Publish(_ string, messages ...*message.Message) error {
	for range messages {
		p.j.GiveUp()
	}
	return nil
}

func (poisoned) Close() error { return nil }

// route handles failures as its documentation shows it: a Router with the
// middlewares Retry and PoisonQueue.
func route(ctx context.Context, j *job.Job, sub *kafka.Subscriber) error {
	j.About.Settings = append(j.About.Settings, "a Router with Retry (3, 1s) and PoisonQueue, as documented, whose publisher counts")
	r, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	queue, err := middleware.PoisonQueue(poisoned{j}, "poison")
	if err != nil {
		return err
	}
	r.AddMiddleware(queue, middleware.Retry{MaxRetries: j.Retries, InitialInterval: j.Retry, MaxInterval: j.Retry}.Middleware)
	r.AddConsumerHandler("function", j.Topic, sub, func(m *message.Message) error { return handle(j, m) })
	return r.Run(ctx)
}
