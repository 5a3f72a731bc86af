package awsclients

import (
	"errors"
	"maps"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/seed429fd032/esm/lambdaapi"
)

// A provider makes the calls of Terraform's aws_lambda_event_source_mapping, and fails where
// that would: it gives up at a state that it does not expect.
type provider struct {
	*testing.T
	c *lambda.Client
}

// awaits reads a mapping until it has one of some states. Only some others may come before.
func (p *provider) awaits(uuid *string, want, before []string) {
	p.Helper()
	over := time.Now().Add(30 * time.Second)
	for {
		is, err := p.c.GetEventSourceMapping(p.Context(), &lambda.GetEventSourceMappingInput{UUID: uuid})
		var none *types.ResourceNotFoundException
		switch {
		case errors.As(err, &none) && len(want) == 0:
			return
		case err != nil:
			p.Fatalf("it waits for %v: %v", want, err)
		case slices.Contains(want, *is.State):
			return
		case !slices.Contains(before, *is.State):
			p.Fatalf("unexpected state %q, wanted target %q: %s", *is.State, want, aws.ToString(is.StateTransitionReason))
		case time.Now().After(over):
			p.Fatalf("after 30 seconds it is %s, and not %v", *is.State, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *provider) create(in *lambda.CreateEventSourceMappingInput) (uuid *string) {
	p.Helper()
	made, err := p.c.CreateEventSourceMapping(p.Context(), in)
	if err != nil {
		p.Fatal(err)
	}
	p.awaits(made.UUID, []string{"Enabled", "Disabled"}, []string{"Creating", "Disabling", "Enabling"})
	return made.UUID
}

// read is how Terraform refreshes its state. enabled is what it makes of State.
func (p *provider) read(uuid *string) (is *lambda.GetEventSourceMappingOutput, tags map[string]string, enabled bool) {
	p.Helper()
	is, err := p.c.GetEventSourceMapping(p.Context(), &lambda.GetEventSourceMappingInput{UUID: uuid})
	if err != nil {
		p.Fatal(err)
	}
	switch *is.State {
	case "Enabled", "Enabling":
		enabled = true
	case "Disabled", "Disabling":
	default:
		p.Errorf("nobody knows whether it is enabled: it is %s", *is.State)
	}
	listed, err := p.c.ListTags(p.Context(), &lambda.ListTagsInput{Resource: is.EventSourceMappingArn})
	if err != nil {
		p.Fatal(err)
	}
	return is, listed.Tags, enabled
}

func (p *provider) update(in *lambda.UpdateEventSourceMappingInput) {
	p.Helper()
	if _, err := p.c.UpdateEventSourceMapping(p.Context(), in); err != nil {
		p.Fatal(err)
	}
	p.awaits(in.UUID, []string{"Enabled", "Disabled"}, []string{"Disabling", "Enabling", "Updating"})
}

func (p *provider) destroy(uuid *string) {
	p.Helper()
	if _, err := p.c.DeleteEventSourceMapping(p.Context(), &lambda.DeleteEventSourceMappingInput{UUID: uuid}); err != nil {
		p.Fatal(err)
	}
	p.awaits(uuid, nil, []string{"Deleting"})
}

// TestTerraform plays apply, changes and destroy of several resources at once, as Terraform
// does them, signed and not.
func TestTerraform(t *testing.T) {
	for name, a := range map[string]access{"signed": {keys: session}, "unsigned": {unsigned: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e *endpoint
			if a.unsigned {
				e = startEndpoint(t)
			} else {
				e = startEndpoint(t, lasting, session)
			}
			a.url = e.url
			produced := map[string]int64{}
			for _, topic := range topics {
				produced[topic] = e.produce(topic, 50)
			}
			t.Run("resources", func(t *testing.T) {
				for _, topic := range topics {
					t.Run(topic, func(t *testing.T) {
						t.Parallel()
						(&provider{t, newSDK(a)}).lifecycle(e, topic, produced[topic])
					})
				}
			})
			for _, topic := range topics {
				e.book.check(t, e.kafka, "of "+topic, topic, produced[topic])
			}
		})
	}
}

func (p *provider) lifecycle(e *endpoint, topic string, produced int64) {
	in := &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("billing"), Topics: []string{topic}, StartingPosition: types.EventSourcePositionTrimHorizon,
		Enabled: aws.Bool(true), BatchSize: aws.Int32(20),
		SelfManagedEventSource:            &types.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": e.kafka.Brokers()}},
		SelfManagedKafkaEventSourceConfig: &types.SelfManagedKafkaEventSourceConfig{ConsumerGroupId: aws.String("of " + topic)},
		ProvisionedPollerConfig:           &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(1), MaximumPollers: aws.Int32(4)},
		Tags:                              map[string]string{"topic": topic},
	}
	uuid := p.create(in)
	// What Terraform reads must be what was written, or each plan has a change.
	is, tags, enabled := p.read(uuid)
	if !enabled || !maps.Equal(tags, in.Tags) || *is.BatchSize != 20 || !slices.Equal(is.Topics, in.Topics) || is.MaximumRetryAttempts != nil || is.DestinationConfig != nil {
		p.Errorf("enabled %v, tags %v, %+v", enabled, tags, is)
	}
	arn := is.EventSourceMappingArn
	if _, err := p.c.TagResource(p.Context(), &lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"stage": "test"}}); err != nil {
		p.Error(err)
	}
	if _, err := p.c.UntagResource(p.Context(), &lambda.UntagResourceInput{Resource: arn, TagKeys: []string{"topic"}}); err != nil {
		p.Error(err)
	}
	change := func(in lambda.UpdateEventSourceMappingInput) {
		p.Helper()
		in.UUID = uuid
		p.update(&in)
	}
	change(lambda.UpdateEventSourceMappingInput{BatchSize: aws.Int32(5)})
	change(lambda.UpdateEventSourceMappingInput{FunctionName: aws.String("billing:PROD")}) // takes another Mapping
	change(lambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(false)})
	if _, _, enabled := p.read(uuid); enabled {
		p.Error("it was disabled, and is not")
	}
	change(lambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(true), FilterCriteria: &types.FilterCriteria{}, ProvisionedPollerConfig: &types.ProvisionedPollerConfig{}})
	is, tags, enabled = p.read(uuid)
	if !enabled || !maps.Equal(tags, map[string]string{"stage": "test"}) || *is.BatchSize != 5 || is.ProvisionedPollerConfig != nil || *is.FunctionArn != "arn:aws:lambda:"+region+":"+account+":function:billing:PROD" {
		p.Errorf("enabled %v, tags %v, %+v", enabled, tags, is)
	}

	e.book.handles(p.T, topic, produced)
	p.destroy(uuid)
	if m := e.host.Mapping(*uuid); m != nil {
		p.Error("it was destroyed, and runs")
	}
}

// TestTerraformReadsAfterARestart: a host that has its mappings from before, and has not
// started them yet, says of each whether it is enabled.
func TestTerraformReadsAfterARestart(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, session)
	p := &provider{t, newSDK(access{url: e.url, keys: session})}
	of := map[bool]*string{}
	for _, enabled := range []bool{true, false} {
		of[enabled] = p.create(&lambda.CreateEventSourceMappingInput{
			FunctionName: aws.String("billing"), Topics: []string{map[bool]string{true: "orders", false: "stock"}[enabled]}, Enabled: aws.Bool(enabled),
			SelfManagedEventSource: &types.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": e.kafka.Brokers()}},
		})
	}
	again, err := lambdaapi.NewHost(e.config)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(again)
	t.Cleanup(s.Close)
	p.c = newSDK(access{url: s.URL, keys: session})
	for want, uuid := range of {
		if _, _, is := p.read(uuid); is != want {
			t.Errorf("enabled is %v, and not %v", is, want)
		}
	}
}
