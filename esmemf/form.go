package esmemf

import (
	"encoding/json"
	"time"
)

// A metric is the definition of one.
type metric struct {
	Name string
	Unit string
}

// A directive has CloudWatch make metrics of members of a line.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []metric
}

// A form is a line that is being filled in. Each metric has a name of its own: the members of
// all directives are side by side.
type form struct {
	members           map[string]any
	mapping, function directive
}

func newForm(namespace string) *form {
	of := func(dimension string) directive {
		return directive{Namespace: namespace, Dimensions: [][]string{{dimension}}}
	}
	return &form{map[string]any{}, of("EventSourceMappingUUID"), of("FunctionName")}
}

func (f *form) put(d *directive, name, unit string, v int64) {
	d.Metrics = append(d.Metrics, metric{name, unit})
	f.members[name] = v
}

// line is the form as a line, nil if nothing is in it.
func (f *form) line(at time.Time, uuid, function string) []byte {
	var directives []directive
	if len(f.mapping.Metrics) > 0 {
		directives = append(directives, f.mapping)
		f.members["EventSourceMappingUUID"] = dimension(uuid)
	}
	if len(f.function.Metrics) > 0 {
		directives = append(directives, f.function)
		f.members["FunctionName"] = dimension(function)
	}
	if directives == nil {
		return nil
	}
	f.members["_aws"] = map[string]any{"Timestamp": at.UnixMilli(), "CloudWatchMetrics": directives}
	text, err := json.Marshal(f.members)
	if err != nil {
		panic(err) // numbers and texts
	}
	return append(text, '\n')
}
