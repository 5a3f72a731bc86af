package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/lambdaapi"
)

// A session is what somebody does with the AWS CLI, done by AWS's SDK.
type session struct {
	url      string
	brokers  []string
	records  int64
	host     *lambdaapi.Host
	function *billing
	progress io.Writer

	client *lambda.Client
	uuid   *string
}

// A summary is what came of it.
type summary struct {
	Handled, Repeated, OutOfOrder int64
	Good                          bool
	// Of -check.
	WhileDisabled                int64 // handled after the API said Disabled
	PollersAtFirst, PollersLater int
	Deleted                      bool
}

func (s *summary) OK() bool { return s.Good }

// count takes what the function has written down.
func (s *summary) count(b *billing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Handled, s.Repeated, s.OutOfOrder = b.handled, b.repeated, b.wrong
}

// good reports whether all went as it should.
func (s *summary) good(records int64) bool {
	return s.Handled == records && s.Repeated == 0 && s.OutOfOrder == 0 && s.WhileDisabled == 0 && s.PollersAtFirst <= 4 && s.PollersLater >= 10 && s.Deleted
}

func (s *summary) Print(w io.Writer) {
	fmt.Fprintf(w, "%s records handled, %d twice, %d out of order\n", demo.Grouped(s.Handled), s.Repeated, s.OutOfOrder)
	if s.PollersLater > 0 {
		fmt.Fprintf(w, "%d while it was disabled; %d pollers, then %d; deleted: %t\n", s.WhileDisabled, s.PollersAtFirst, s.PollersLater, s.Deleted)
	}
}

// play plays it.
func (s *session) play(ctx context.Context) (demo.Result, error) {
	s.client = lambda.New(lambda.Options{
		BaseEndpoint: &s.url, Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
		}),
	})
	made, err := s.client.CreateEventSourceMapping(ctx, &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("billing"), Topics: []string{topic}, StartingPosition: types.EventSourcePositionTrimHorizon,
		SelfManagedEventSource:  &types.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": s.brokers}},
		ProvisionedPollerConfig: &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(1), MaximumPollers: aws.Int32(4)},
	})
	if err != nil {
		return nil, err
	}
	s.uuid = made.UUID
	fmt.Fprintf(s.progress, "created %s: State is %s\n", *made.UUID, *made.State)
	if err := s.state(ctx, "Enabled"); err != nil {
		return nil, err
	}
	var sum summary
	if err := s.until(ctx, "a fifth of the records handled", func() bool {
		sum.PollersAtFirst = max(sum.PollersAtFirst, pollers(s.host))
		return s.function.count() >= s.records/5
	}); err != nil {
		return nil, err
	}
	if err := s.update(ctx, &lambda.UpdateEventSourceMappingInput{ProvisionedPollerConfig: &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(10), MaximumPollers: aws.Int32(20)}}); err != nil {
		return nil, err
	}
	if err := s.until(ctx, "ten pollers", func() bool {
		sum.PollersLater = pollers(s.host)
		return sum.PollersLater >= 10
	}); err != nil {
		return nil, err
	}
	if err := s.until(ctx, "half of the records handled", func() bool { return s.function.count() >= s.records/2 }); err != nil {
		return nil, err
	}
	if err := s.update(ctx, &lambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(false)}); err != nil {
		return nil, err
	}
	if err := s.state(ctx, "Disabled"); err != nil {
		return nil, err
	}
	was := s.function.count()
	if err := s.until(ctx, "a second disabled", after(time.Second)); err != nil {
		return nil, err
	}
	sum.WhileDisabled = s.function.count() - was
	if err := s.update(ctx, &lambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(true)}); err != nil {
		return nil, err
	}
	if err := s.until(ctx, "all records handled", func() bool { return s.function.count() >= s.records }); err != nil {
		return nil, err
	}
	if _, err := s.client.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: s.uuid}); err != nil {
		return nil, err
	}
	fmt.Fprintln(s.progress, "deleted")
	if err := s.until(ctx, "the mapping gone", func() bool {
		_, err := s.client.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: s.uuid})
		var none *types.ResourceNotFoundException
		sum.Deleted = errors.As(err, &none)
		return sum.Deleted
	}); err != nil {
		return nil, err
	}
	sum.count(s.function)
	sum.Good = sum.good(s.records)
	return &sum, nil
}

func (s *session) update(ctx context.Context, in *lambda.UpdateEventSourceMappingInput) error {
	in.UUID = s.uuid
	is, err := s.client.UpdateEventSourceMapping(ctx, in)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.progress, "updated: State is %s\n", *is.State)
	return nil
}

// state waits until the API says so.
func (s *session) state(ctx context.Context, want string) error {
	return s.until(ctx, "State "+want, func() bool {
		is, err := s.client.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: s.uuid})
		return err == nil && *is.State == want
	})
}

func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// until waits for something, a minute at most.
func (s *session) until(ctx context.Context, what string, is func() bool) error {
	every, over := time.NewTicker(20*time.Millisecond), time.Now().Add(time.Minute)
	defer every.Stop()
	for !is() {
		if time.Now().After(over) {
			return fmt.Errorf("after a minute: not %s; %s records were handled", what, demo.Grouped(s.function.count()))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-every.C:
		}
	}
	fmt.Fprintf(s.progress, "%-32s %9s records handled, %2d pollers\n", what, demo.Grouped(s.function.count()), pollers(s.host))
	return nil
}
