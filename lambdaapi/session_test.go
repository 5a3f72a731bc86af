package lambdaapi

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/seed429fd032/esm"
)

var keys = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wedding", SessionToken: "session"}

func staticKeys(is aws.Credentials) aws.CredentialsProviderFunc {
	return func(context.Context) (aws.Credentials, error) { return is, nil }
}

// newEndpoint serves a Host, whose requests have to be signed, and returns a client of it.
func newEndpoint(t *testing.T, with aws.Credentials) (*Host, *lambda.Client) {
	t.Helper()
	h, err := NewHost(Config{
		Store: &Memory{}, Logger: quiet,
		Functions: func(_ context.Context, name FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
			if name.Name != "billing" {
				return nil, nil, ErrNoFunction
			}
			return esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), nil, nil
		},
		Keys: func(_ context.Context, id string) (aws.Credentials, error) {
			if id != keys.AccessKeyID {
				return aws.Credentials{}, errors.New("no such key")
			}
			return keys, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return h, lambda.New(lambda.Options{BaseEndpoint: &s.URL, Region: "eu-central-1", Credentials: staticKeys(with), RetryMaxAttempts: 1})
}

func input() *lambda.CreateEventSourceMappingInput {
	return &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("billing"), Topics: []string{"orders"}, StartingPosition: types.EventSourcePositionTrimHorizon,
		SelfManagedEventSource:  &types.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"localhost:9092"}}},
		ProvisionedPollerConfig: &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(1), MaximumPollers: aws.Int32(20)},
		Tags:                    map[string]string{"team": "orders"},
	}
}

func TestSession(t *testing.T) {
	_, c := newEndpoint(t, keys)
	ctx := t.Context()
	made, err := c.CreateEventSourceMapping(ctx, input())
	if err != nil {
		t.Fatal(err)
	}
	if *made.State != "Creating" || *made.BatchSize != 100 || *made.FunctionArn != "arn:aws:lambda:us-east-1:000000000000:function:billing" || made.LastModified == nil {
		t.Errorf("%+v", made)
	}
	got, err := c.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: made.UUID})
	if err != nil || *got.State != "Creating" || *got.ProvisionedPollerConfig.MaximumPollers != 20 {
		t.Errorf("%+v: %v", got, err)
	}
	_, err = c.CreateEventSourceMapping(ctx, input())
	var there *types.ResourceConflictException
	if !errors.As(err, &there) || !strings.HasSuffix(*there.Message, *made.UUID) {
		t.Errorf("a second one: %v", err)
	}
	changed, err := c.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{
		UUID: made.UUID, BatchSize: aws.Int32(500), ProvisionedPollerConfig: &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(10)},
	})
	if err != nil || *changed.State != "Updating" || *changed.BatchSize != 500 || *changed.ProvisionedPollerConfig.MinimumPollers != 10 || *changed.ProvisionedPollerConfig.MaximumPollers != 20 {
		t.Errorf("%+v: %v", changed, err)
	}
	_, err = c.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: made.UUID, BatchSize: aws.Int32(20_000)})
	var wrong *types.InvalidParameterValueException
	if !errors.As(err, &wrong) || !strings.Contains(*wrong.Message, "10,000") {
		t.Errorf("a batch of 20,000: %v", err)
	}
	arn := made.EventSourceMappingArn
	if _, err := c.TagResource(ctx, &lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"stage": "test"}}); err != nil {
		t.Error(err)
	}
	if _, err := c.UntagResource(ctx, &lambda.UntagResourceInput{Resource: arn, TagKeys: []string{"team", "none"}}); err != nil {
		t.Error(err)
	}
	tags, err := c.ListTags(ctx, &lambda.ListTagsInput{Resource: arn})
	if err != nil || len(tags.Tags) != 1 || tags.Tags["stage"] != "test" {
		t.Errorf("%v: %v", tags, err)
	}
	list, err := c.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: aws.String("billing")})
	if err != nil || len(list.EventSourceMappings) != 1 || list.NextMarker != nil || *list.EventSourceMappings[0].BatchSize != 500 {
		t.Errorf("%+v: %v", list, err)
	}
	gone, err := c.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: made.UUID})
	if err != nil || *gone.State != "Deleting" {
		t.Errorf("%+v: %v", gone, err)
	}
	_, err = c.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: aws.String(newUUID())})
	var none *types.ResourceNotFoundException
	if !errors.As(err, &none) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestWrongKeysAreRefused(t *testing.T) {
	for name, with := range map[string]aws.Credentials{
		"another secret":  {AccessKeyID: keys.AccessKeyID, SecretAccessKey: "funeral", SessionToken: "session"},
		"another key":     {AccessKeyID: "AKIDOTHER", SecretAccessKey: "wedding", SessionToken: "session"},
		"another session": {AccessKeyID: keys.AccessKeyID, SecretAccessKey: "wedding", SessionToken: "other"},
		"no session":      {AccessKeyID: keys.AccessKeyID, SecretAccessKey: "wedding"},
	} {
		_, c := newEndpoint(t, with)
		_, err := c.ListEventSourceMappings(t.Context(), &lambda.ListEventSourceMappingsInput{})
		if err == nil || !strings.Contains(err.Error(), "InvalidSignatureException") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
