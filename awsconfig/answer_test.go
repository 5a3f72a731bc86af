package awsconfig

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAnAnswerIsAConfig again, with what says nothing of it left out.
func TestAnAnswerIsAConfig(t *testing.T) {
	const answer = `{
	"UUID": "14e0db71-5d35-4eb5-b481-8945cf9d10c2", "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": "2026-10-01T12:00:00.250000+02:00",
	"BatchSize": 100, "MaximumBatchingWindowInSeconds": 3, "FunctionArn": "arn:aws:lambda:eu-central-1:123456789012:function:billing:PROD",
	"LastModified": "2026-10-02T12:00:00+00:00", "LastProcessingResult": "OK", "State": "Disabled", "StateTransitionReason": "USER_INITIATED", "Topics": ["orders"],
	"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:9092", "b:9092"]}}, "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "bills"},
	"DestinationConfig": {"OnFailure": {}}, "MaximumRecordAgeInSeconds": -1, "BisectBatchOnFunctionError": false, "MaximumRetryAttempts": -1, "FunctionResponseTypes": [],
	"EventSourceMappingArn": "arn:aws:lambda:eu-central-1:123456789012:event-source-mapping:14e0db71-5d35-4eb5-b481-8945cf9d10c2"}`
	c, uuid, err := ParseAnswer([]byte(answer))
	if err != nil || uuid != "14e0db71-5d35-4eb5-b481-8945cf9d10c2" {
		t.Fatalf("%q, %v", uuid, err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"FunctionName":"arn:aws:lambda:eu-central-1:123456789012:function:billing:PROD"`, `"ConsumerGroupId":"bills"`, `"Enabled":false`, `"StartingPositionTimestamp":1790848800.25`, `"MaximumBatchingWindowInSeconds":3`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if again, err := ParseJSON(text); err != nil || again.FunctionName != c.FunctionName {
		t.Errorf("it is not read again: %v", err)
	}
	enabled := strings.ReplaceAll(answer, `"Disabled"`, `"Enabled"`)
	if c, _, err := ParseAnswer([]byte(enabled)); err != nil || c.Enabled != nil {
		t.Errorf("%v, %v", c.Enabled, err)
	}
}

// TestAnAnswerThatIsNone is refused as any Config, by name.
func TestAnAnswerThatIsNone(t *testing.T) {
	for text, says := range map[string]string{
		``:                        "ends too early",
		`[]`:                      "must be an object",
		`{}`:                      "FunctionName",
		`{"UUID": 7, "State": 7}`: "FunctionName",
		`{"FunctionArn": "billing", "Queues": ["a"], "Topics": ["orders"]}`:                  "Queues",
		`{"EventSourceMappings": []}`:                                                        "EventSourceMappings",
		`{"FunctionArn": "billing", "Topics": ["orders"], "StartingPositionTimestamp": "x"}`: "StartingPositionTimestamp",
	} {
		if _, _, err := ParseAnswer([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzParseAnswer: nothing ends the process, and what is read is valid.
func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"UUID": "a", "FunctionArn": "billing", "State": "Disabled", "Topics": ["orders"], "StartingPositionTimestamp": "2026-10-01T12:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := ParseAnswer(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseJSON(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}
