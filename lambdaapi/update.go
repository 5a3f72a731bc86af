package lambdaapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/seed429fd032/esm/awsconfig"
	"github.com/seed429fd032/esm/internal/guard"
)

// fixed are the parameters that a mapping keeps for its life.
var fixed = map[string]bool{
	"EventSourceArn": true, "SelfManagedEventSource": true, "Topics": true, "StartingPosition": true, "StartingPositionTimestamp": true,
}

// updated is the Config of a mapping with what an update gives. What is absent or null
// stays. An empty object or list clears what it names; of ProvisionedPollerConfig, a member
// that is absent stays, and {} means on demand.
func updated(r *Record, body []byte) (c awsconfig.Config, err error) {
	given, err := object(body)
	if err != nil {
		return c, err
	}
	whole, err := json.Marshal(r.Config)
	if err != nil {
		return c, err
	}
	is, err := object(whole)
	if err != nil {
		return c, err
	}
	for name, raw := range given {
		switch {
		case string(raw) == "null" || name == "UUID":
		case name == "Tags":
			return c, invalid("Tags cannot be changed so: TagResource and UntagResource change them")
		case fixed[name]:
			return c, invalid("%s cannot be changed: make another mapping", name)
		case name == "ProvisionedPollerConfig":
			is[name], err = merged(is[name], raw)
		case name == "AmazonManagedKafkaEventSourceConfig" || name == "SelfManagedKafkaEventSourceConfig":
			is[name], err = r.kept(is[name], raw)
		default:
			is[name] = raw
		}
		if err != nil {
			return c, invalid("%s%s", name, err)
		}
	}
	if whole, err = json.Marshal(is); err != nil {
		return c, err
	}
	if err := c.UnmarshalJSON(whole); err == nil && onlyDisables(r, &Record{Config: c}) {
		return c, nil // what was stored may break rules that came later
	}
	if c, err = awsconfig.ParseJSON(whole); err != nil {
		return c, said(err)
	}
	return c, nil
}

// onlyDisables reports whether a mapping is to run no more and is the same otherwise. Nothing
// of it is judged then: what runs can always be stopped, whatever was taken from the host
// since it was made.
func onlyDisables(was, is *Record) bool {
	return !is.enabled() && reflect.DeepEqual(without(&was.Config, "Enabled"), without(&is.Config, "Enabled"))
}

// asksMore reports whether a change asks more of the host than it does already: to run the
// mapping, or to have another function, secret or destination when it will run.
func asksMore(was, is *Record) bool {
	return is.enabled() || !reflect.DeepEqual(without(&was.Config, ownFields...), without(&is.Config, ownFields...))
}

// ownFields are the parameters of which package awsconfig says all that can be wrong: no host
// has to be asked about them.
var ownFields = []string{
	"Enabled", "BatchSize", "MaximumBatchingWindowInSeconds", "ProvisionedPollerConfig", "MaximumRetryAttempts", "MaximumRecordAgeInSeconds",
	"BisectBatchOnFunctionError", "Tags", "KMSKeyArn", "MetricsConfig", "LoggingConfig",
}

// errNoObject says that JSON is something else.
var errNoObject = errors.New(" must be an object of JSON")

// object reads an object of JSON, with each member once. One without anything is an empty
// one.
func object(data []byte) (map[string]json.RawMessage, error) {
	of := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(data)) == 0 {
		return of, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if begin, err := d.Token(); !json.Valid(data) || err != nil || begin != json.Delim('{') {
		return nil, malformed("the body%s", errNoObject)
	}
	for d.More() {
		name, _ := d.Token() // it is valid
		var v json.RawMessage
		_ = d.Decode(&v)
		s, _ := name.(string)
		if _, twice := of[s]; twice {
			return nil, malformed("%s is there twice", guard.Cut(s, 100))
		}
		of[s] = v
	}
	return of, nil
}

// member reads an object that is in another one.
func member(data []byte) (map[string]json.RawMessage, error) {
	of, err := object(data)
	if err != nil {
		return nil, errors.New(" must be an object of JSON, with each member once")
	}
	return of, nil
}

// merged is the bounds of pollers with those that are given.
func merged(is, given json.RawMessage) (json.RawMessage, error) {
	more, err := member(given)
	if err != nil {
		return nil, err
	}
	if len(more) == 0 {
		return json.RawMessage("{}"), nil
	}
	all, err := member(is)
	if err != nil {
		return nil, err
	}
	for name, raw := range more {
		if string(raw) != "null" {
			all[name] = raw
		}
	}
	return json.Marshal(all)
}

// kept is what is said of a consumer group with what is given, which must not name another
// group or another mode. Clients send the group that they were answered, too.
func (r *Record) kept(is, given json.RawMessage) (json.RawMessage, error) {
	more, err := member(given)
	if err != nil {
		return nil, err
	}
	all, err := member(is)
	if err != nil {
		return nil, err
	}
	mode := "Stream"
	if k := r.Config.SelfManagedKafkaEventSourceConfig; k != nil && k.ConsumptionMode != "" {
		mode = k.ConsumptionMode
	}
	for name, raw := range more {
		stays, ok := map[string]string{"ConsumerGroupId": r.group(), "ConsumptionMode": mode}[name]
		var text string
		switch {
		case string(raw) == "null":
		case !ok:
			all[name] = raw
		case json.Unmarshal(raw, &text) != nil || text != stays:
			return nil, fmt.Errorf(".%s cannot be changed, it is %s: make another mapping", name, stays)
		}
	}
	return json.Marshal(all)
}

// provisioned reports whether the pollers have bounds.
func provisioned(c *awsconfig.Config) bool {
	return c.ProvisionedPollerConfig != nil && *c.ProvisionedPollerConfig != awsconfig.ProvisionedPollerConfig{}
}

// live reports whether a Mapping that runs can go on with another Config: only what
// [esm.Mapping.Update] takes differs, and what no Mapping sees.
func live(was, is *awsconfig.Config) bool {
	if provisioned(was) != provisioned(is) {
		return false
	}
	a, b := *was, *is
	for _, c := range []*awsconfig.Config{&a, &b} { // a set, to Terraform
		c.SourceAccessConfigurations = slices.SortedFunc(slices.Values(c.SourceAccessConfigurations), func(x, y awsconfig.SourceAccessConfiguration) int {
			return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.URI, y.URI))
		})
	}
	return reflect.DeepEqual(without(&a, liveFields...), without(&b, liveFields...))
}

// liveFields are the parameters that can change while a Mapping runs. The name of the
// function is one since its ARN is compared.
var liveFields = []string{
	"FunctionName", "BatchSize", "MaximumBatchingWindowInSeconds", "ProvisionedPollerConfig", "MaximumRetryAttempts", "MaximumRecordAgeInSeconds",
	"BisectBatchOnFunctionError", "DestinationConfig", "Enabled", "Tags", "KMSKeyArn", "MetricsConfig", "LoggingConfig",
}

// said is an error of awsconfig as one problem.
func said(err error) error { return invalid("%s", texts(err)) }

// texts has each mistake of an error of awsconfig.
func texts(err error) string {
	all := awsconfig.Mistakes(err)
	if len(all) == 0 {
		return strings.TrimPrefix(guard.Text(err), "awsconfig: ")
	}
	texts := make([]string, len(all))
	for i, m := range all {
		one := *m
		one.Line = 0 // of a body, which nobody has in lines
		texts[i] = strings.TrimPrefix(one.Error(), "awsconfig: ")
	}
	return strings.Join(texts, "; ")
}
