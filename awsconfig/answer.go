package awsconfig

import (
	"strings"
	"time"
)

// ParseAnswer reads what AWS says of a mapping that it runs: what
//
//	aws lambda get-event-source-mapping --uuid UUID
//
// prints. The Config is that of the same mapping: with the ARN of its function, with its
// consumer group, so that who takes it over goes on where it was, and with Enabled false if it
// is disabled there. Tags are not in the answer.
func ParseAnswer(data []byte) (c Config, uuid string, err error) {
	v, err := readJSON(data)
	if err != nil {
		return Config{}, "", err
	}
	o := v.object()
	if o == nil {
		c, err = configOf(v, false) // it says what it must be
		return c, "", err
	}
	for _, name := range []string{"EventSourceMappingArn", "LastModified", "LastProcessingResult", "StateTransitionReason", "FilterCriteriaError"} {
		o.take(name)
	}
	uuid, _ = o.take("UUID").text()
	if f := o.take("FunctionArn"); f != nil && o.of["FunctionName"] == nil {
		o.set("FunctionName", f)
	}
	if state := o.take("State"); state != nil && o.of["Enabled"] == nil {
		if s, _ := state.text(); strings.HasPrefix(s, "Disabl") {
			o.set("Enabled", &value{path: state.path, line: state.line, is: false})
		}
	}
	if at := o.of["StartingPositionTimestamp"]; at != nil {
		s, is := at.text() // version 2 of the CLI prints it so
		if t, err := time.Parse(time.RFC3339, s); is && err == nil {
			o.set("StartingPositionTimestamp", &value{path: at.path, line: at.line, is: secondsOf(t)})
		}
	}
	c, err = configOf(v, false)
	return c, uuid, err
}
