package awsconfig

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed429fd032/esm"
)

const withDestination = `{
	"FunctionName": "billing",
	"Topics": ["orders"],
	"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["localhost:9092"]}},
	"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "billing"},
	"ProvisionedPollerConfig": {"MinimumPollers": 1},
	"StartingPosition": "TRIM_HORIZON",
	"DestinationConfig": {"OnFailure": {"Destination": "kafka://failed"}}
}`

// TestTheHostMakesTheDestination, and a Plan without it is no Mapping: records that are
// given up would be nobody's.
func TestTheHostMakesTheDestination(t *testing.T) {
	plan := func() Plan {
		c, err := ParseJSON([]byte(withDestination))
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Plan("")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	function := esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil })
	p := plan()
	if _, err := esm.New(p.Source, function, p.Options...); err == nil || !strings.Contains(err.Error(), "WithDestination") {
		t.Errorf("without Connect: %v", err)
	}
	var asked string
	err := p.Connect(t.Context(), Host{Destination: func(_ context.Context, name string) (esm.Destination, error) {
		asked = name
		return esm.Drop, nil
	}})
	if err != nil || asked != "kafka://failed" {
		t.Errorf("%q was asked for: %v", asked, err)
	}
	if _, err := esm.New(p.Source, function, p.Options...); err != nil {
		t.Error(err)
	}
	for says, host := range map[string]Host{
		"Host.Destination is nil":       {},
		"Host.Destination returned nil": {Destination: func(context.Context, string) (esm.Destination, error) { return nil, nil }},
		"no such topic":                 {Destination: func(context.Context, string) (esm.Destination, error) { return nil, errors.New("no such topic") }},
		"it panicked: oh":               {Destination: func(context.Context, string) (esm.Destination, error) { panic("oh") }},
	} {
		p := plan()
		had := len(p.Options)
		err := p.Connect(t.Context(), host)
		if all := Mistakes(err); len(all) != 1 || !strings.Contains(err.Error(), says) || all[0].Field != "DestinationConfig.OnFailure.Destination" {
			t.Errorf("%s: %v", says, err)
		}
		if len(p.Options) != had {
			t.Errorf("%s: the Plan has changed", says)
		}
	}
}
