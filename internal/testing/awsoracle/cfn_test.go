package awsoracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/seed429fd032/esm/awsconfig"
)

// A schema is one of CloudFormation's resource types, or a part of it.
type schema struct {
	Ref                  string `json:"$ref"`
	Type                 any
	Properties           map[string]*schema
	Definitions          map[string]*schema
	Items                *schema
	Enum                 []any
	Minimum, Maximum     *int
	MinLength, MaxLength *int
	MinItems, MaxItems   *int
	Pattern              string
	ReadOnlyProperties   []string
}

// of is the schema that one refers to.
func (s *schema) of(all *schema) *schema {
	if name, is := strings.CutPrefix(s.Ref, "#/definitions/"); is {
		return all.Definitions[name].of(all)
	}
	return s
}

// A lintError is one that cfn-lint found.
type lintError struct {
	Rule, Text string
	Path       []string
}

// linted has cfn-lint judge a template. An empty one has no errors.
func linted(t *testing.T, template []byte) (all *schema, errors []lintError) {
	t.Helper()
	var said struct {
		Schema *schema
		Errors []lintError
	}
	ask(t, "cfn.py", template, &said)
	return said.Schema, said.Errors
}

// A variant is a value of a property, of which one thing was changed.
type variant struct {
	field   string // what was changed, with [] for the elements of lists
	changed any    // what it was changed to; nil is taken away
	value   any    // of the property
	strange bool   // whether nobody knows a value that fits
}

// variants are those of a value that fits a schema: bounds, enumerations, letters, members
// that are not known and values of other types.
func variants(all, s *schema, field string, value any) (found []variant) {
	s = s.of(all)
	add := func(changed any) { found = append(found, variant{field: field, changed: changed, value: changed}) }
	within := func(of []variant, put func(v any) any) {
		for _, v := range of {
			v.value = put(v.value)
			found = append(found, v)
		}
	}
	add(value)
	switch s.Type {
	case "integer":
		for _, n := range []*int{s.Minimum, s.Maximum} {
			if n != nil {
				add(*n - 1)
				add(*n)
				add(*n + 1)
				add(fmt.Sprint(*n))
			}
		}
		add(fmt.Sprint(*s.Maximum + 1))
		add("many")
		add([]any{1})
	case "boolean":
		for _, v := range []any{true, false, "true", "false", "FALSE", "1", "maybe", 2, []any{}} {
			add(v)
		}
	case "number":
		for _, v := range []any{1700000000.5, "1700000000", "soon", []any{}} {
			add(v)
		}
	case "string":
		text, _ := value.(string)
		for _, one := range s.Enum {
			if one != "Queue" && one != "VIRTUAL_HOST" || strings.HasSuffix(field, "Mode") {
				add(one)
			}
			add(one.(string) + "S")
		}
		if len(s.Enum) > 0 {
			add(strings.ToLower(text))
			break
		}
		for _, n := range []*int{s.MinLength, s.MaxLength} {
			for d := -1; n != nil && d <= 1; d++ {
				if size := *n + d; size > len(text) {
					add(text + strings.Repeat("a", size-len(text)))
				} else if size >= 0 {
					add(text[:size])
				}
			}
		}
		add(text[:len(text)/2] + "_" + text[len(text)/2:])
		for _, r := range " ?é" {
			add(string(r) + text)
			add(text[:len(text)/2] + string(r) + text[len(text)/2:])
			add(text + string(r))
		}
		add([]any{text})
	case "array":
		list := value.([]any)
		for i, v := range list[:1] {
			within(variants(all, s.Items, field+"[]", v), func(v any) any {
				with := slices.Clone(list)
				with[i] = v
				return with
			})
		}
		for _, n := range []*int{s.MinItems, s.MaxItems} {
			for d := -1; n != nil && d <= 1; d++ {
				if size := *n + d; size >= 0 {
					add(elements(field, list, size))
				}
			}
		}
		if len(list) == 1 {
			add([]any{list[0], list[0]})
		}
		add("text")
	case "object":
		o := value.(object)
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			v, there := o[name]
			if !there {
				v = unheld[name]
			}
			put := func(v any) any {
				with := maps.Clone(o)
				with[name] = v
				if v == nil {
					delete(with, name)
				}
				return with
			}
			if v == nil {
				found = append(found, variant{field: field + "." + name, changed: "a", value: put("a"), strange: true})
				continue
			}
			within(variants(all, s.Properties[name], field+"."+name, v), put)
			found = append(found, variant{field: field + "." + name, value: put(nil)})
		}
		with := maps.Clone(o)
		with["Unheard"] = "a"
		found = append(found, variant{field: field + ".Unheard", changed: "a", value: with})
		add("text")
	default:
		panic(fmt.Sprintf("%s is of type %v", field, s.Type))
	}
	return found
}

// elements are so many of a list, which differ.
func elements(field string, list []any, n int) []any {
	all := slices.Clone(list)
	for i := 0; len(all) < n; i++ {
		switch field {
		case "MetricsConfig.Metrics":
			all = append(all, []any{"ErrorCount", "KafkaMetrics", "EventCount"}[i])
		case "SourceAccessConfigurations":
			all = append(all, object{"Type": "VPC_SUBNET", "URI": fmt.Sprintf("subnet:subnet-%d", i)})
		case "FilterCriteria.Filters":
			all = append(all, object{"Pattern": fmt.Sprintf(`{"a": [%d]}`, i)})
		case "SelfManagedEventSource.Endpoints.KafkaBootstrapServers":
			all = append(all, fmt.Sprintf("kafka%d.test:9092", i))
		default:
			all = append(all, fmt.Sprintf("other%d", i))
		}
	}
	return all[:n]
}

// unheld are values of properties that awsconfig does not take: those of other sources, and
// what is not built.
var unheld = object{
	"FilterCriteria":              object{"Filters": []any{object{"Pattern": `{"a": [1]}`}}},
	"SchemaRegistryConfig":        object{"SchemaRegistryURI": "https://registry.test", "EventRecordFormat": "JSON", "AccessConfigs": []any{object{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:123456789012:secret:a"}}, "SchemaValidationConfigs": []any{object{"Attribute": "KEY"}}},
	"Queues":                      []any{"orders"},
	"ScalingConfig":               object{"MaximumConcurrency": 10},
	"ParallelizationFactor":       2,
	"TumblingWindowInSeconds":     10,
	"DocumentDBEventSourceConfig": object{"DatabaseName": "a", "CollectionName": "b", "FullDocument": "Default"},
}

// ofCloudFormation are the properties of a resource of a Kafka of one kind.
func ofCloudFormation(t *testing.T, msk bool) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(selfManaged), &o); err != nil {
		t.Fatal(err)
	}
	o["KmsKeyArn"] = o["KMSKeyArn"]
	delete(o, "KMSKeyArn")
	o["Tags"] = []any{object{"Key": "team", "Value": "billing"}}
	o["SelfManagedEventSource"] = object{"Endpoints": object{"KafkaBootstrapServers": []any{"kafka.test:9092"}}}
	o["SourceAccessConfigurations"] = []any{object{"Type": "BASIC_AUTH", "URI": "login"}, object{"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-1"}, object{"Type": "VPC_SUBNET", "URI": "subnet:subnet-a"}}
	if msk {
		for _, name := range []string{"SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig", "SourceAccessConfigurations"} {
			delete(o, name)
		}
		o["EventSourceArn"] = cluster
		o["AmazonManagedKafkaEventSourceConfig"] = object{"ConsumerGroupId": "billing"}
	}
	return o
}

// ofMSK are properties that need another resource than the rest.
var ofMSK = []string{"EventSourceArn", "AmazonManagedKafkaEventSourceConfig"}

// alone reports whether others depend on what is changed: it is all that is changed of a
// resource.
func (v variant) alone(property string) bool {
	return slices.Contains(ofMSK, property) || slices.Contains([]string{"StartingPosition", "StartingPositionTimestamp"}, property) ||
		v.field == property && slices.Contains([]string{"SelfManagedEventSource", "ProvisionedPollerConfig"}, property)
}

// needed are the properties that a mapping needs, and those that depend on each other.
var needed = append([]string{"FunctionName", "Topics", "SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig", "StartingPosition", "StartingPositionTimestamp", "ProvisionedPollerConfig"}, ofMSK...)

// A cell is a resource of a template, of which a property is a variant.
type cell struct {
	resource, property string
	variant
}

// longer is one of texts of more characters.
func longer(n int) func(any) bool { return isText(func(s string) bool { return len(s) > n }) }

// twice reports whether a value is a list of two that are the same.
func twice(v any) bool {
	list, ok := v.([]any)
	return ok && len(list) == 2 && fmt.Sprint(list[0]) == fmt.Sprint(list[1])
}

// onPurposeCFN is where awsconfig judges otherwise than cfn-lint.
var onPurposeCFN = []difference{
	{"*", false, isText(func(s string) bool { return strings.ContainsAny(s, " ?é") }), "the patterns of the schema have to match a part of the text only; TestModel tries those of the API"},

	{"FunctionName", false, longer(64), "a name by itself has 64 characters at most, as the description of the schema says"},
	{"EventSourceArn", true, longer(1024), "the API has 10,000 for it"},
	{"EventSourceArn", false, func(v any) bool { return v == nil }, "a mapping needs a Kafka"},
	{"DestinationConfig.OnFailure.Destination", false, longer(350), "the API has 350 for it"},
	{"KmsKeyArn", true, longer(2048), "the API has 10,000 for it"},
	{"SelfManagedEventSource", false, func(v any) bool { return v == nil }, "a mapping needs a Kafka"},
	{"SelfManagedEventSource.Endpoints.KafkaBootstrapServers", false, longer(len("kafka.test:9092")), "the pattern of the schema has no end"},
	{"SelfManagedEventSource.Endpoints.KafkaBootstrapServers[]", true, isText(func(s string) bool { return s == "kafka.t_est:9092" }), "hosts of Docker have underscores"},
	{"SelfManagedEventSource.Endpoints.KafkaBootstrapServers", true, twice, "the API takes a server twice"},
	{"SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS", true, nil, "the name that the API has is taken in templates too"},
	{"KMSKeyArn", true, nil, "the name that the API has is taken in templates too"},
	{"MetricsConfig.Metrics", true, twice, "the API takes a metric twice"},
	{"Topics", false, func(v any) bool { return v == nil }, "the service requires it of Kafka"},
	{"MaximumRecordAgeInSeconds", false, func(v any) bool { return v == 0 }, "the service refuses 0 to 59"},
	{"ProvisionedPollerConfig.MaximumPollers", false, func(v any) bool { return v == 9999 || v == 10_000 || v == "10000" }, "the bound of Kafka is 2,000, as the description of the schema says"},
	{"StartingPosition", false, func(v any) bool { return v == nil }, "the resource has a StartingPositionTimestamp, which needs it"},
	{"StartingPosition of MSK", true, nil, "when it is absent, AWS takes TRIM_HORIZON of MSK too: recorded"},
	{"StartingPositionTimestamp", false, func(v any) bool { return v == nil }, "AT_TIMESTAMP needs it"},
	{"SourceAccessConfigurations[].Type", false, isText(func(s string) bool { return s != "" }), "the other types need something beside them"},
	{"SourceAccessConfigurations[]", false, func(v any) bool { return v == nil }, "a credential has a type, and that of the resource has a URI"},
	{"SourceAccessConfigurations", false, func(v any) bool { list, ok := v.([]any); return ok && (len(list) == 2 || len(list) > 23) }, "a group needs a subnet, and there may be 23 since October 2026, which the schema has 29 for"},
	{"SourceAccessConfigurations", true, blank, "what is empty is the same as nothing"},
	{"AmazonManagedKafkaEventSourceConfig.ConsumerGroupId", true, blank, "what is empty is the same as nothing"},
	{"SelfManagedKafkaEventSourceConfig.ConsumerGroupId", true, blank, "what is empty is the same as nothing"},
	{"FilterCriteria", true, blank, "what is empty is the same as nothing"},

	{"FilterCriteria", false, nil, "filters are not built"},
	{"AmazonManagedKafkaEventSourceConfig.SchemaRegistryConfig", false, nil, "schema registries are not built"},
	{"SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig", false, nil, "schema registries are not built"},
	{"SelfManagedKafkaEventSourceConfig.ConsumptionMode", false, isText(func(s string) bool { return s == "Queue" }), "share groups are not built"},
	{"ParallelizationFactor", false, nil, ofOthers},
	{"ParallelizationFactor", true, blank, ofOthers},
	{"TumblingWindowInSeconds", false, nil, ofOthers},
	{"Queues", false, nil, ofOthers},
	{"Queues", true, blank, ofOthers},
	{"ScalingConfig", false, nil, ofOthers},
	{"DocumentDBEventSourceConfig", false, nil, ofOthers},
}

// TestCloudFormation has awsconfig and cfn-lint judge the same resources, whose properties
// are made of the schema: what one of them refuses, the other has to refuse.
func TestCloudFormation(t *testing.T) {
	t.Parallel()
	all, _ := linted(t, nil)
	resources := object{}
	var cells []cell
	for _, property := range slices.Sorted(maps.Keys(all.Properties)) {
		base := ofCloudFormation(t, slices.Contains(ofMSK, property))
		value := base[property]
		if value == nil {
			value = unheld[property]
		}
		tried := []variant{{field: property, changed: "a", value: "a", strange: !slices.Contains(all.ReadOnlyProperties, "/properties/"+property)}}
		if value != nil {
			tried = append(variants(all, all.Properties[property], property, value), variant{field: property})
		}
		together := 0
		for i, v := range tried {
			if strings.HasPrefix(v.field, "AmazonManagedKafkaEventSourceConfig.SchemaRegistryConfig.") {
				continue // as that of the other kind
			}
			if v.strange {
				t.Errorf("the schema has a property %s, of which this test knows no value: awsconfig may lack it", v.field)
			}
			name := fmt.Sprintf("%s%d", property, i)
			if !v.alone(property) {
				name = fmt.Sprintf("Together%d", together)
				together++
			}
			properties, _ := resources[name].(object)
			if properties == nil {
				properties = maps.Clone(base)
				if v.alone(property) {
					// cfn-lint takes its time for each property.
					maps.DeleteFunc(properties, func(name string, _ any) bool { return !slices.Contains(needed, name) })
				}
				resources[name] = properties
			}
			properties[property] = v.value
			if v.value == nil {
				delete(properties, property)
			}
			cells = append(cells, cell{name, property, v})
		}
	}
	special := func(field, property string, msk bool, change func(o object)) {
		o := ofCloudFormation(t, msk)
		change(o)
		name := fmt.Sprintf("Special%d", len(cells))
		resources[name] = o
		cells = append(cells, cell{name, property, variant{field: field}})
	}
	special("StartingPosition of MSK", "StartingPosition", true, func(o object) { delete(o, "StartingPosition"); delete(o, "StartingPositionTimestamp") })
	special("KMSKeyArn", "KMSKeyArn", false, func(o object) { o["KMSKeyArn"] = o["KmsKeyArn"]; delete(o, "KmsKeyArn") })
	special("SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS", "SelfManagedEventSource", false, func(o object) {
		o["SelfManagedEventSource"] = object{"Endpoints": object{"KAFKA_BOOTSTRAP_SERVERS": []any{"kafka.test:9092"}}}
	})
	ours := map[string][]*awsconfig.Mistake{}
	for name, properties := range resources {
		r := object{"Type": "AWS::Lambda::EventSourceMapping", "Properties": properties}
		resources[name] = r
		_, err := awsconfig.ParseTemplate(marshal(t, object{"Resources": object{name: r}}), awsconfig.Values{})
		ours[name] = awsconfig.Mistakes(err)
		if err != nil && len(ours[name]) == 0 {
			t.Fatal(err)
		}
	}
	_, errors := linted(t, marshal(t, object{"Resources": resources}))
	theirs := map[string][]lintError{}
	for _, e := range errors {
		if len(e.Path) < 3 || resources[e.Path[1]] == nil {
			t.Fatalf("cfn-lint refuses the template: %v", e)
		}
		theirs[e.Path[1]] = append(theirs[e.Path[1]], e)
	}
	expected := differences{rows: onPurposeCFN}
	refused := 0
	for _, c := range cells {
		// Of what is alone all that is wrong with the resource is about it.
		single := c.alone(c.property)
		var we, they []string
		for _, m := range ours[c.resource] {
			path := strings.TrimPrefix(m.Path, "Resources."+c.resource+".Properties")
			if single || strings.HasPrefix(path+".", "."+c.property+".") || strings.HasPrefix(path, "."+c.property+"[") {
				we = append(we, m.Error())
			}
		}
		for _, e := range theirs[c.resource] {
			required := len(e.Path) == 3 && strings.Contains(e.Text, "'"+c.property+"'")
			if single || required || len(e.Path) > 3 && e.Path[3] == c.property {
				they = append(they, e.Rule+" "+e.Text)
			}
		}
		if len(they) > 0 {
			refused++
		}
		if (len(we) == 0) != (len(they) == 0) && !expected.has(c.field, len(we) == 0, c.changed) {
			t.Errorf("%s is %.200s: cfn-lint says %.300q, and awsconfig %.300q", c.field, marshal(t, c.changed), they, we)
		}
	}
	expected.idle(t)
	if refused < 200 || len(cells)-refused < 200 {
		t.Errorf("cfn-lint refuses %d of %d values", refused, len(cells))
	}
	t.Logf("%d resources, %d values, %d refused", len(resources), len(cells), refused)
}
