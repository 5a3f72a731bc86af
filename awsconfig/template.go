package awsconfig

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seed429fd032/esm/internal/guard"
)

// A Found is a mapping that a template or a plan has.
type Found struct {
	// Name is what the document calls it: the logical ID of a resource, which for an event
	// of SAM is that of the function and that of the event, or the address of Terraform.
	Name   string
	Config Config
}

// A Skipped is a mapping that is not of Kafka.
type Skipped struct {
	Name string
	// Source is what it reads, as far as the document says that.
	Source string
}

// An Import is what was found in a document.
type Import struct {
	Found   []Found
	Skipped []Skipped
}

// Values are what a template does not say itself.
type Values struct {
	// Parameters are values of the template's parameters. One that is not here has its
	// default. Of one that is in the Parameter Store of SSM it is the value, and not its
	// name there.
	Parameters map[string]string
	// Resolve answers the intrinsic functions that are left: Ref and Fn::GetAtt of
	// resources other than functions, of AWS::Region and other pseudo parameters, of
	// parameters in the Parameter Store of SSM that have no value in Parameters,
	// Fn::ImportValue. It returns a string, a number, a boolean, a []string or a
	// map[string]any, or an error. If it is nil, these are errors.
	Resolve func(Intrinsic) (any, error)
}

// An Intrinsic is a call of an intrinsic function in a template.
type Intrinsic struct {
	// Path is where it stands.
	Path string
	// Function is its full name: Ref, Fn::GetAtt.
	Function string
	// Argument is what it gets, with the functions in it worked out: a string, a
	// json.Number, a bool, an []any or a map[string]any. Of Ref it is the name, of Fn::GetAtt the name and the attribute.
	Argument any
}

// ErrUnresolved is what Resolve returns for what it does not know.
var ErrUnresolved = errors.New("it is not known")

const (
	typeMapping  = "AWS::Lambda::EventSourceMapping"
	typeFunction = "AWS::Lambda::Function"
	typeAlias    = "AWS::Lambda::Alias"
	typeSAM      = "AWS::Serverless::Function"
)

// ParseTemplate finds the mappings of Kafka in a template of CloudFormation or of SAM, in
// JSON or YAML. Templates of Serverless and of the CDK are CloudFormation's. What belongs
// to other sources is skipped. It says everything that is wrong at once: see [Mistakes].
//
// It works out Ref of parameters, of functions and of their aliases, Fn::GetAtt of the ARN
// of functions, Fn::Sub, Fn::Join, Fn::Select, Fn::Split, Fn::FindInMap, Fn::If and
// conditions. A function that has no name in the template has its logical ID for one.
func ParseTemplate(data []byte, values Values) (Import, error) {
	doc, err := readDocument(data)
	if err != nil {
		return Import{}, err
	}
	resources := doc.at("Resources").object()
	if resources == nil {
		return Import{}, errors.New("awsconfig: the template has no Resources")
	}
	t := &template{doc: doc, resources: resources, values: values, conditions: map[string]*condition{}, naming: map[*value]bool{}}
	var found Import
	for _, name := range resources.names {
		r := resources.of[name]
		switch kind, _ := r.at("Type").text(); {
		case kind == typeSAM:
			t.events(name, r, &found)
		case kind == typeMapping:
			t.mapping(name, r, &found)
		case strings.HasPrefix(name, "Fn::") && (r.mentions(typeMapping) || r.mentions(typeSAM)):
			t.failed(r, fmt.Errorf("%s makes resources: write them out", name))
		}
	}
	return found, join(t.mistakes)
}

// A template is one that is being read.
type template struct {
	doc        *value
	resources  *object
	values     Values
	conditions map[string]*condition
	naming     map[*value]bool // names that are being worked out
	made       int             // what functions made: see spend
	mistakes   []*Mistake
}

// mentions reports whether a text is anywhere in a value.
func (v *value) mentions(s string) bool {
	if is, ok := v.text(); ok {
		return is == s
	}
	if o := v.object(); o != nil {
		return slices.ContainsFunc(o.names, func(name string) bool { return o.of[name].mentions(s) })
	}
	return slices.ContainsFunc(v.list(), func(e *value) bool { return e.mentions(s) })
}

// exists reports whether a resource does: its condition may say that it does not. matters
// is whether it has to be known: nobody has to say what the template does not, if it is
// about what is skipped.
func (t *template) exists(r *value, matters bool) bool {
	c := r.at("Condition")
	name, ok := c.text()
	if !ok {
		return true
	}
	before := len(t.mistakes)
	is, err := t.condition(name)
	switch {
	case !matters:
		t.mistakes = t.mistakes[:before]
	case err != nil:
		t.failed(c, err)
	}
	return err != nil || is
}

// failed adds an error about a value.
func (t *template) failed(v *value, err error) {
	t.mistakes = append(t.mistakes, &Mistake{Path: v.path, Line: v.line, Value: shownValue(v), Bound: "cannot be resolved: " + err.Error()})
}

// mapping reads a resource that is a mapping.
func (t *template) mapping(name string, r *value, found *Import) {
	properties := r.at("Properties")
	other := t.otherSource(properties)
	if !t.exists(r, other == "") {
		return
	}
	if other != "" {
		found.Skipped = append(found.Skipped, Skipped{name, other})
		return
	}
	v, ok := t.properties(r)
	if !ok {
		return
	}
	if other := t.otherSource(v); other != "" {
		found.Skipped = append(found.Skipped, Skipped{name, other})
		return
	}
	if t.oddTags(v.at("Tags")) {
		found = &Import{} // what else is wrong is said too, and nothing is found
	}
	t.keep(name, asAPI(v), found)
}

// oddTags says what is wrong with a list of tags that the map of them would not show.
func (t *template) oddTags(list *value) bool {
	before := len(t.mistakes)
	seen := map[string]bool{}
	for _, tag := range list.list() {
		o := tag.object()
		if o == nil {
			continue // it has no name, which is said
		}
		for _, name := range o.names {
			if m := o.of[name]; name != "Key" && name != "Value" {
				t.mistakes = append(t.mistakes, &Mistake{Path: m.path, Line: m.line, Field: "Tags", Bound: "is not known: a tag has a Key and a Value"})
			}
		}
		key := tag.at("Key")
		s, _ := asText(cmp.Or(key, noValue))
		if s != "" && seen[s] {
			t.mistakes = append(t.mistakes, &Mistake{Path: key.path, Line: key.line, Field: "Tags", Value: shownValue(key), Bound: "is the name of another tag too"})
		}
		seen[s] = true
	}
	return len(t.mistakes) > before
}

// properties works out the Properties of a resource, or of an event.
func (t *template) properties(r *value) (v *value, ok bool) {
	if v = r.at("Properties"); v != nil {
		if v, ok = t.resolved(v); !ok {
			return nil, false
		}
	}
	if v.object() == nil {
		t.mistakes = append(t.mistakes, &Mistake{Path: r.path, Line: r.line, Bound: "has no Properties"})
		return nil, false
	}
	return v, true
}

// keep reads a mapping that is in the words of the API.
func (t *template) keep(name string, v *value, found *Import) {
	c, err := configOf(v, true)
	if err != nil {
		t.mistakes = append(t.mistakes, Mistakes(err)...)
		return
	}
	found.Found = append(found.Found, Found{name, c})
}

// otherSource says what a mapping reads that is not Kafka, or "".
//
// What has a topic is of Kafka, whatever the rest of it says: there it is a mistake.
func (t *template) otherSource(properties *value) string {
	o := properties.object()
	if o == nil {
		return ""
	}
	source := o.of["EventSourceArn"]
	if service := serviceOf(source); service != "" {
		if service == "kafka" {
			return ""
		}
		return service
	}
	if !o.of["Topics"].blank() || !o.of["SelfManagedEventSource"].blank() {
		return ""
	}
	for _, name := range o.names {
		if of := sources[name]; of != "" && !o.of[name].blank() && name != "ParallelizationFactor" && name != "TumblingWindowInSeconds" {
			return of
		}
	}
	// A reference to a resource that is none of MSK.
	for _, call := range []string{"Ref", "Fn::GetAtt"} {
		argument := source.at(call)
		name, ok := argument.text()
		if list := argument.list(); len(list) > 0 {
			name, ok = list[0].text()
		}
		if !ok {
			continue
		}
		kind, _ := t.resources.of[name].at("Type").text()
		if kind != "" && !strings.HasPrefix(kind, "AWS::MSK::") {
			return kind
		}
	}
	return ""
}

// inText is a name in the text of Fn::Sub.
var inText = regexp.MustCompile(`\$\{[^}]*\}`)

// serviceOf is the service that an ARN is of, or "". It may be the text of Fn::Sub, in
// which the account is not known yet.
func serviceOf(arn *value) string {
	s, ok := arn.text()
	if !ok {
		if arn = arn.at("Fn::Sub"); arn.list() != nil && len(arn.list()) > 0 {
			arn = arn.list()[0]
		}
		s, _ = arn.text()
	}
	parts := strings.SplitN(inText.ReplaceAllString(s, "*"), ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || strings.Contains(parts[2], "*") {
		return ""
	}
	return parts[2]
}

// asAPI gives the properties of a resource the names that the API has for them.
func asAPI(v *value) *value {
	o := v.object()
	rename(o, "KmsKeyArn", "KMSKeyArn")
	if endpoints := v.at("SelfManagedEventSource", "Endpoints").object(); endpoints != nil {
		rename(endpoints, "KafkaBootstrapServers", bootstrapServers)
	}
	if tags, ok := o.of["Tags"]; ok && tags.list() != nil {
		all := newObject()
		for _, tag := range tags.list() {
			key, _ := asText(cmp.Or(tag.at("Key"), noValue))
			v := tag.at("Value")
			if key == "" { // which will be said to be no name
				v = &value{path: tag.path, line: tag.line, is: ""}
			}
			all.set(key, v)
		}
		o.set("Tags", &value{path: tags.path, line: tags.line, is: all})
	}
	return v
}

// rename renames a member, unless there is one with the new name too: then the old one
// stays, and is not known.
func rename(o *object, from, to string) {
	if _, there := o.of[to]; there || o.of[from] == nil {
		return
	}
	o.set(to, o.take(from))
}

// events reads the events of Kafka that a function of SAM has.
func (t *template) events(name string, r *value, found *Import) {
	all := r.at("Properties", "Events")
	events := all.object()
	if events == nil {
		return
	}
	ours := all.mentions("MSK") || all.mentions("SelfManagedKafka")
	if !t.exists(r, ours) {
		return
	}
	for _, id := range events.names {
		e := events.of[id]
		kind, _ := e.at("Type").text()
		if ours && (strings.HasPrefix(id, "Fn::") || e.object() != nil && callOf(e.object()) != "") {
			t.failed(e, errors.New("a function makes events: write them out"))
			continue
		}
		switch kind {
		case "MSK", "SelfManagedKafka":
		case "SQS", "Kinesis", "DynamoDB", "MQ", "DocumentDB":
			found.Skipped = append(found.Skipped, Skipped{name + id, kind})
			continue
		default:
			continue // not of a mapping
		}
		if o := e.at("Properties").object(); o != nil {
			o.take("SecretsManagerKmsKeyId") // what the role of the function may do, for SAM alone
		}
		v, ok := t.properties(e)
		if !ok || t.unknownToSAM(v) {
			continue
		}
		function, ok := t.samFunction(name, r)
		if !ok {
			continue
		}
		t.keep(name+id, samAsAPI(v, kind, function), found)
	}
}

// unknownToSAM says which properties of an event the API has and SAM does not: SAM makes
// them of others.
func (t *template) unknownToSAM(v *value) (said bool) {
	for _, name := range []string{"FunctionName", "EventSourceArn", "SelfManagedEventSource", "AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig", "Tags"} {
		if m := v.at(name); m != nil {
			t.mistakes = append(t.mistakes, &Mistake{Path: m.path, Line: m.line, Field: name, Bound: "is not known in an event of SAM"})
			said = true
		}
	}
	return said
}

// samFunction is the function of an event: its name, and the alias that is published.
func (t *template) samFunction(name string, r *value) (function string, ok bool) {
	function, err := t.functionName(name)
	if err != nil {
		t.failed(r.at("Properties", "FunctionName"), err)
		return "", false
	}
	alias := r.at("Properties", "AutoPublishAlias")
	if alias == nil {
		alias = t.doc.at("Globals", "Function", "AutoPublishAlias")
	}
	if alias.null() {
		return function, true
	}
	v, ok := t.resolved(alias)
	if !ok {
		return "", false
	}
	if v == noValue {
		return function, true
	}
	s, ok := v.text()
	if !ok {
		t.failed(alias, errors.New("it is no text"))
		return "", false
	}
	return function + ":" + s, true
}

// samAsAPI makes the input of the API of the properties of an event of SAM.
func samAsAPI(v *value, kind, function string) *value {
	o := v.object()
	under := func(parent string, names ...string) {
		to := v.at(parent)
		for i := 0; i < len(names); i += 2 {
			if o.of[names[i]] == nil {
				continue
			}
			m := o.take(names[i])
			if to.object() == nil {
				to = &value{path: v.path, line: m.line, is: newObject()}
				o.set(parent, to)
			}
			to.object().set(names[i+1], m)
		}
	}
	config := "SelfManagedKafkaEventSourceConfig"
	if kind == "MSK" {
		config = "AmazonManagedKafkaEventSourceConfig"
		rename(o, "Stream", "EventSourceArn")
	}
	under(config, "ConsumerGroupId", "ConsumerGroupId", "SchemaRegistryConfig", "SchemaRegistryConfig")
	if servers := o.take("KafkaBootstrapServers"); servers != nil {
		endpoints := newObject()
		endpoints.set(bootstrapServers, servers)
		source := newObject()
		source.set("Endpoints", &value{path: v.path, line: servers.line, is: endpoints})
		o.set("SelfManagedEventSource", &value{path: v.path, line: servers.line, is: source})
	}
	if to := v.at("DestinationConfig", "OnFailure").object(); to != nil {
		to.take("Type") // what the destination is, for SAM alone
	}
	o.set("FunctionName", &value{path: v.path, line: v.line, is: function})
	return asAPI(v)
}

// shownValue is a value for a Mistake.
func shownValue(v *value) string { return guard.Cut(v.String(), mostShown) }
