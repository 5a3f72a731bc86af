package awsconfig

import (
	"errors"
	"slices"
	"strings"
)

// ParseTerraform finds the mappings of Kafka in what terraform show -json prints, of a
// plan or of a state. What belongs to other sources is skipped. It says everything that is
// wrong at once: see [Mistakes]. What a plan does not know yet is not given there: show a
// state, or a plan whose values are known.
//
// A window of 0 is one that was not given, which is 500 ms: Terraform does not tell them
// apart, and does not send 0 when it makes a mapping.
func ParseTerraform(data []byte) (Import, error) {
	doc, err := readJSON(data)
	if err != nil {
		return Import{}, err
	}
	root := doc.at("planned_values", "root_module")
	if root == nil {
		root = doc.at("values", "root_module")
	}
	if root == nil {
		return Import{}, errors.New("awsconfig: there are neither planned_values nor values: give what terraform show -json prints")
	}
	tf := &terraform{unknown: doc.at("resource_changes").list()}
	var found Import
	tf.module(root, doc.at("configuration", "root_module"), &found, 0)
	return found, join(tf.mistakes)
}

// A terraform is a document of it that is being read.
type terraform struct {
	unknown  []*value // the changes of a plan, which say what is not known
	mistakes []*Mistake
}

const terraformMapping = "aws_lambda_event_source_mapping"

// module reads the resources of a module. written is what its author wrote, or nil: a plan
// has that, and a state has not.
func (tf *terraform) module(m, written *value, found *Import, depth int) {
	if depth > mostNested {
		return
	}
	for _, r := range m.at("resources").list() {
		switch kind, _ := r.at("type").text(); kind {
		case terraformMapping:
			tf.resource(r, written, found)
		case "awscc_lambda_event_source_mapping":
			arn, _ := r.at("values", "event_source_arn").text()
			if strings.Contains(arn, ":kafka:") || !r.at("values", "self_managed_event_source").null() {
				path, _ := r.at("address").text()
				tf.mistakes = append(tf.mistakes, &Mistake{Path: path, Bound: "is of the provider awscc, which is not read here: give ParseAnswer what aws lambda get-event-source-mapping prints"})
			}
		}
	}
	at, _ := m.at("address").text()
	for _, child := range m.at("child_modules").list() {
		name, _ := child.at("address").text()
		name = strings.TrimPrefix(strings.TrimPrefix(name, at+"."), "module.")
		name, _, _ = strings.Cut(name, "[") // of count or for_each
		tf.module(child, written.at("module_calls", name, "module"), found, depth+1)
	}
}

// expressions are what the author of a resource wrote, or nil.
func expressions(r, module *value) *value {
	name, _ := r.at("name").text()
	for _, w := range module.at("resources").list() {
		kind, _ := w.at("type").text()
		if is, _ := w.at("name").text(); is == name && kind == terraformMapping {
			return w.at("expressions")
		}
	}
	return nil
}

func (tf *terraform) resource(r, module *value, found *Import) {
	if mode, ok := r.at("mode").text(); ok && mode != "managed" {
		return
	}
	name, _ := r.at("address").text()
	values := r.at("values")
	if values.object() == nil {
		tf.mistakes = append(tf.mistakes, &Mistake{Path: r.path, Line: r.line, Bound: "has no values"})
		return
	}
	unknown := tf.after(name)
	if other := terraformSource(values, unknown); other != "" {
		found.Skipped = append(found.Skipped, Skipped{name, other})
		return
	}
	before := len(tf.mistakes)
	tf.later(values, unknown, expressions(r, module))
	conceal(values, r.at("sensitive_values"))
	v := tf.asAPI(values)
	if len(tf.mistakes) > before {
		return
	}
	c, err := configOf(v, true)
	if err != nil {
		tf.mistakes = append(tf.mistakes, Mistakes(err)...)
		return
	}
	found.Found = append(found.Found, Found{name, c})
}

// terraformSource says what a mapping reads that is not Kafka, or "". In a plan that makes
// the source too, its ARN is not known.
func terraformSource(values, unknown *value) string {
	switch service := serviceOf(values.at("event_source_arn")); {
	case service == "kafka":
		return ""
	case service != "":
		return service
	case !values.at("topics").blank(), !values.at("self_managed_event_source").blank():
		return ""
	}
	for _, name := range []string{"queues", "scaling_config", "document_db_event_source_config"} {
		if !values.at(name).blank() {
			return sources[terraformNames[name].name]
		}
	}
	if is := unknown.at("event_source_arn"); is != nil && is.is == true && unknown.at("topics") == nil {
		return "what the plan makes, and no topic"
	}
	return ""
}

// conceal hides what Terraform marks as sensitive.
func conceal(v, sensitive *value) {
	if v == nil || sensitive == nil {
		return
	}
	if sensitive.is == true {
		v.hide()
	}
	if o := sensitive.object(); o != nil {
		for _, name := range o.names {
			conceal(v.at(name), o.of[name])
		}
	}
	for i, one := range sensitive.list() {
		if i < len(v.list()) {
			conceal(v.list()[i], one)
		}
	}
}

// after is what of a resource is known only when the plan has been applied, or nil.
func (tf *terraform) after(name string) *value {
	for _, change := range tf.unknown {
		if a, _ := change.at("address").text(); a == name {
			return change.at("change", "after_unknown")
		}
	}
	return nil
}

// filledIn are attributes that nobody has to write: AWS fills them in, and a plan of a
// mapping that is made does not know them.
var filledIn = map[string]bool{
	"amazon_managed_kafka_event_source_config": true, "maximum_record_age_in_seconds": true, "maximum_retry_attempts": true,
	"parallelization_factor": true, "self_managed_kafka_event_source_config": true,
}

// later says what of a resource is known only when the plan has been applied: its values
// are null, and look as if they were not given. What nobody wrote was not.
func (tf *terraform) later(values, after, written *value) {
	unknown := after.object()
	if unknown == nil {
		return
	}
	for _, attribute := range unknown.names {
		is := unknown.of[attribute]
		if filledIn[attribute] && written.at(attribute) == nil && is.is == true {
			continue
		}
		if block := written.at(attribute).list(); filledIn[attribute] && len(block) == 1 && block[0].at("consumer_group_id") == nil {
			for _, e := range is.list() {
				if o := e.object(); o != nil {
					o.take("consumer_group_id")
				}
			}
		}
		if _, read := terraformNames[attribute]; read && holdsTrue(is) {
			tf.mistakes = append(tf.mistakes, &Mistake{Path: member(values.path, attribute), Line: values.line, Bound: "is known only when the plan has been applied: show the state then"})
		}
	}
}

// holdsTrue reports whether true is anywhere in a value.
func holdsTrue(v *value) bool {
	if v.is == true || slices.ContainsFunc(v.list(), holdsTrue) {
		return true
	}
	if o := v.object(); o != nil {
		return slices.ContainsFunc(o.names, func(name string) bool { return holdsTrue(o.of[name]) })
	}
	return false
}

// A block is what a name of Terraform is in the API: another name, and of a block the
// names in it. Terraform has a block as a list of one.
type block struct {
	name string
	of   map[string]block
	many bool // a list of any number
}

// accessBlock is a credential.
var accessBlock = map[string]block{"type": {name: "Type"}, "uri": {name: "URI"}}

// destinationBlock is where records go.
var destinationBlock = map[string]block{"destination_arn": {name: "Destination"}}

// kafkaBlock is about the consumer group.
var kafkaBlock = map[string]block{
	"consumer_group_id": {name: "ConsumerGroupId"},
	"consumption_mode":  {name: "ConsumptionMode"},
	"schema_registry_config": {name: "SchemaRegistryConfig", of: map[string]block{
		"schema_registry_uri":      {name: "SchemaRegistryURI"},
		"event_record_format":      {name: "EventRecordFormat"},
		"access_config":            {name: "AccessConfigs", many: true, of: accessBlock},
		"schema_validation_config": {name: "SchemaValidationConfigs", many: true, of: map[string]block{"attribute": {name: "Attribute"}}},
	}},
}

// terraformNames are the arguments of the resource.
var terraformNames = map[string]block{
	"function_name":                            {name: "FunctionName"},
	"event_source_arn":                         {name: "EventSourceArn"},
	"topics":                                   {name: "Topics"},
	"starting_position":                        {name: "StartingPosition"},
	"starting_position_timestamp":              {name: "StartingPositionTimestamp"},
	"enabled":                                  {name: "Enabled"},
	"batch_size":                               {name: "BatchSize"},
	"maximum_batching_window_in_seconds":       {name: "MaximumBatchingWindowInSeconds"},
	"maximum_retry_attempts":                   {name: "MaximumRetryAttempts"},
	"maximum_record_age_in_seconds":            {name: "MaximumRecordAgeInSeconds"},
	"bisect_batch_on_function_error":           {name: "BisectBatchOnFunctionError"},
	"function_response_types":                  {name: "FunctionResponseTypes"},
	"kms_key_arn":                              {name: "KMSKeyArn"},
	"tags":                                     {name: "Tags"},
	"parallelization_factor":                   {name: "ParallelizationFactor"},
	"tumbling_window_in_seconds":               {name: "TumblingWindowInSeconds"},
	"queues":                                   {name: "Queues"},
	"scaling_config":                           {name: "ScalingConfig", of: map[string]block{"maximum_concurrency": {name: "MaximumConcurrency"}}},
	"document_db_event_source_config":          {name: "DocumentDBEventSourceConfig", of: map[string]block{}},
	"amazon_managed_kafka_event_source_config": {name: "AmazonManagedKafkaEventSourceConfig", of: kafkaBlock},
	"self_managed_kafka_event_source_config":   {name: "SelfManagedKafkaEventSourceConfig", of: kafkaBlock},
	"self_managed_event_source":                {name: "SelfManagedEventSource", of: map[string]block{"endpoints": {name: "Endpoints"}}},
	"source_access_configuration":              {name: "SourceAccessConfigurations", many: true, of: accessBlock},
	"filter_criteria": {name: "FilterCriteria", of: map[string]block{
		"filter": {name: "Filters", many: true, of: map[string]block{"pattern": {name: "Pattern"}}},
	}},
	"provisioned_poller_config": {name: "ProvisionedPollerConfig", of: map[string]block{
		"minimum_pollers": {name: "MinimumPollers"}, "maximum_pollers": {name: "MaximumPollers"}, "poller_group_name": {name: "PollerGroupName"},
	}},
	"destination_config": {name: "DestinationConfig", of: map[string]block{
		"on_failure": {name: "OnFailure", of: destinationBlock}, "on_success": {name: "OnSuccess", of: destinationBlock},
	}},
	"metrics_config": {name: "MetricsConfig", of: map[string]block{"metrics": {name: "Metrics"}}},
	"logging_config": {name: "LoggingConfig", of: map[string]block{"system_log_level": {name: "SystemLogLevel"}}},
}

// terraformSays are attributes that AWS, or Terraform itself, fills in.
var terraformSays = map[string]bool{
	"arn": true, "function_arn": true, "id": true, "last_modified": true, "last_processing_result": true, "region": true,
	"state": true, "state_transition_reason": true, "tags_all": true, "timeouts": true, "uuid": true,
}

// asAPI makes the input of the API of the values of a resource.
func (tf *terraform) asAPI(values *value) *value {
	out := newObject()
	for _, name := range values.object().names {
		v := values.object().of[name]
		b, known := terraformNames[name]
		switch {
		case known:
			if m := tf.block(v, b); m != nil {
				out.set(b.name, m)
			}
		case !terraformSays[name] && !v.blank() && v.is != false:
			tf.mistakes = append(tf.mistakes, &Mistake{Path: v.path, Line: v.line, Value: shownValue(v), Bound: "is not known"})
		}
	}
	unset(out)
	servers := (&value{is: out}).at("SelfManagedEventSource", "Endpoints", bootstrapServers)
	if s, ok := servers.text(); ok { // several are one text in Terraform
		list := []*value{}
		for _, one := range strings.Split(s, ",") {
			list = append(list, &value{path: servers.path, line: servers.line, is: strings.TrimSpace(one), hidden: servers.hidden})
		}
		servers.is = list
	}
	return &value{path: values.path, line: values.line, is: out}
}

// unset takes away the zeros that a state has for what was not given. Terraform itself
// never sends 0 for a window, and for an age it is none. For retries it is one where there
// may be any: with provisioned pollers.
func unset(out *object) {
	names := []string{"MaximumBatchingWindowInSeconds", "MaximumRecordAgeInSeconds"}
	if out.of["ProvisionedPollerConfig"].blank() {
		names = append(names, "MaximumRetryAttempts")
	}
	for _, name := range names {
		if out.of[name].blank() {
			out.take(name)
		}
	}
}

// block makes a member of the API of one of Terraform. It returns nil for what was not
// given, which Terraform has as null, as "" or as an empty list.
func (tf *terraform) block(v *value, b block) *value {
	list, isList := v.is.([]*value)
	switch {
	case v.null(), v.is == "", isList && len(list) == 0:
		return nil
	case b.of == nil:
		return v
	case b.many:
		out := []*value{}
		for _, e := range list {
			out = append(out, tf.members(e, b))
		}
		return &value{path: v.path, line: v.line, is: out}
	case isList && len(list) == 1:
		return tf.members(list[0], b)
	case isList:
		tf.mistakes = append(tf.mistakes, &Mistake{Path: v.path, Line: v.line, Value: shownValue(v), Bound: "must be there once"})
		return nil
	}
	return tf.members(v, b)
}

func (tf *terraform) members(v *value, b block) *value {
	o := v.object()
	if o == nil {
		return v // which will be said to be no object
	}
	out := newObject()
	for _, name := range o.names {
		inner, known := b.of[name]
		switch {
		case known:
			if m := tf.block(o.of[name], inner); m != nil {
				out.set(inner.name, m)
			}
		case !o.of[name].blank():
			out.set(name, o.of[name]) // which will be said not to be known
		}
	}
	return &value{path: v.path, line: v.line, is: out}
}
