package kafkadest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Check looks whether records can be delivered: whether the cluster can be
// reached, the topic is there, and may be written to, as far as the cluster says
// (since Kafka 2.3). It waits for a cluster that cannot be reached until ctx
// ends. It sends nothing. With
//
//	esm.WithStartCheck(dest.Check)
//
// a Mapping does not start if it could not give up a record.
func (d *Destination) Check(ctx context.Context) error {
	for {
		err := d.check(ctx)
		var refused *kerr.Error
		switch {
		case err == nil, errors.Is(err, ErrClosed):
			return err
		case errors.As(err, &refused) && !refused.Retriable, errors.Is(err, kerr.UnknownTopicOrPartition):
			return err
		}
		again := time.NewTimer(checkAgain)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return fmt.Errorf("kafkadest: topic %q: %w; the last answer was: %w", d.config.Topic, context.Cause(ctx), err)
		}
	}
}

// checkAgain is how long Check waits before it asks again.
const checkAgain = 500 * time.Millisecond

func (d *Destination) check(ctx context.Context) error {
	cl, err := d.client(usual)
	if err != nil {
		return err
	}
	topic := d.config.Topic
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("kafkadest: topic %q: %w", topic, err)
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("kafkadest: topic %q: %w", topic, err)
		}
		// What a cluster does not say is the least number.
		if ops := t.AuthorizedOperations; ops >= 0 && ops&(1<<kmsg.ACLOperationWrite) == 0 && ops&(1<<kmsg.ACLOperationDescribe) != 0 {
			return fmt.Errorf("kafkadest: topic %q: the right to write is missing: %w", topic, kerr.TopicAuthorizationFailed)
		}
	}
	return nil
}
