package awsconfig

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed429fd032/esm"
)

// planned makes a Plan of the smallest mapping with other members.
func planned(t *testing.T, members ...string) Plan {
	t.Helper()
	c, err := ParseJSON(with(t, members...))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan("7a8ad3a4-2d1e-4c7a-9f3b-0f7f3a1d2c3b")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mapping makes a Mapping of a Plan, as a host does. It does not start.
func mapping(t *testing.T, p Plan, more ...esm.Option) *esm.Mapping {
	t.Helper()
	if len(p.Source.Brokers) == 0 {
		p.Source.Brokers = []string{"kafka.test:9092"}
	}
	if p.Needs.Destination != "" {
		more = append(more, esm.WithDestination(esm.Drop))
	}
	m, err := esm.New(p.Source, esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), slices.Concat(p.Options, more)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func notes(p Plan) (fields []string) {
	for _, n := range p.Notes {
		fields = append(fields, n.Field)
	}
	return fields
}

func TestThePlanOfTheSmallest(t *testing.T) {
	p := planned(t)
	mapping(t, p)
	if s := p.Source; fmt.Sprintf("%s %s %s %s%s", s.Brokers, s.Topics, s.Group, s.Start, s.ARN) != "[kafka.test:9092] [orders] 7a8ad3a4-2d1e-4c7a-9f3b-0f7f3a1d2c3b TRIM_HORIZON" {
		t.Errorf("the source is %+v", s)
	}
	if n := p.Needs; !p.Enabled || n.Function != "billing" || n.ReportBatchItemFailures || n.Cluster != "" || n.Access != nil || n.Destination != "" {
		t.Errorf("the needs are %+v, enabled: %v", n, p.Enabled)
	}
	if got := notes(p); !slices.Equal(got, []string{"StartingPosition", "ProvisionedPollerConfig", "SourceAccessConfigurations"}) {
		t.Errorf("the notes are about %s", got)
	}
}

func TestThePlanOfAll(t *testing.T) {
	c, err := ParseJSON(full(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan("7a8ad3a4-2d1e-4c7a-9f3b-0f7f3a1d2c3b")
	if err != nil {
		t.Fatal(err)
	}
	mapping(t, p)
	if s := p.Source; s.Group != "billing group" || s.Start.String() != "AT_TIMESTAMP 2026-11-25T10:00:00.25Z" {
		t.Errorf("the group is %q and the start %s", s.Group, s.Start)
	}
	if n := p.Needs; p.Enabled || !n.ReportBatchItemFailures || len(n.Access) != 5 || n.Destination != "kafka://orders.failed" {
		t.Errorf("the needs are %+v, enabled: %v", n, p.Enabled)
	}
	if got := notes(p); !slices.Equal(got, []string{"ProvisionedPollerConfig.PollerGroupName", "BisectBatchOnFunctionError", "SourceAccessConfigurations", "KMSKeyArn", "LoggingConfig", "MetricsConfig"}) {
		t.Errorf("the notes are about %s", got)
	}
	// Nothing of it is the Config's own: a host may change it.
	p.Source.Topics[0], p.Source.Brokers[0], p.Needs.Access[0].URI = "x", "x", "x"
	again, err := c.Plan("")
	if err != nil || again.Source.Topics[0] != "orders" || again.Source.Brokers[0] != "kafka.test:9092" || again.Needs.Access[0].URI == "x" {
		t.Errorf("the second plan is %+v, %v", again, err)
	}
}

func TestThePlanOfMSK(t *testing.T) {
	p := planned(t, "SelfManagedEventSource", "", "EventSourceArn", msk, "StartingPosition", `"LATEST"`)
	mapping(t, p)
	if arn := strings.Trim(msk, `"`); p.Needs.Cluster != arn || p.Source.ARN != arn || p.Source.Brokers != nil || p.Source.Start.String() != "LATEST" {
		t.Errorf("it needs %+v for %+v", p.Needs, p.Source)
	}
}

// TestWhatAWSDoesWithWhatIsGivenUp: a Mapping refuses to guess, and AWS drops.
func TestWhatAWSDoesWithWhatIsGivenUp(t *testing.T) {
	const provisioned = `{"MinimumPollers": 1}`
	const destination = `{"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:failed"}}`
	for _, tt := range []struct {
		members []string
		note    string
	}{
		{[]string{"MaximumRetryAttempts", "0"}, "DestinationConfig"},
		{[]string{"MaximumRecordAgeInSeconds", "60"}, "DestinationConfig"},
		{[]string{"MaximumRetryAttempts", "-1", "MaximumRecordAgeInSeconds", "-1"}, ""},
		{[]string{"DestinationConfig", destination}, "MaximumRetryAttempts"},
		{[]string{"DestinationConfig", destination, "MaximumRetryAttempts", "-1"}, "MaximumRetryAttempts"},
		{[]string{"DestinationConfig", destination, "MaximumRetryAttempts", "3"}, ""},
	} {
		p := planned(t, append(tt.members, "ProvisionedPollerConfig", provisioned)...)
		mapping(t, p)
		got := slices.DeleteFunc(notes(p), func(f string) bool { return f == "StartingPosition" || f == "SourceAccessConfigurations" })
		if strings.Join(got, " ") != tt.note {
			t.Errorf("%s: the notes are about %s, want %q", tt.members, got, tt.note)
		}
	}
}

// TestAPlanOfWhatIsWrong is none, and says what.
func TestAPlanOfWhatIsWrong(t *testing.T) {
	c := Config{FunctionName: "billing", BatchSize: new(int)}
	_, err := c.Plan("")
	var fields []string
	for _, m := range Mistakes(err) {
		fields = append(fields, m.Field)
	}
	if !slices.Equal(fields, []string{"Topics", "SelfManagedEventSource", "BatchSize", "ConsumerGroupId"}) {
		t.Errorf("it says %v", err)
	}
}
