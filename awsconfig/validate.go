package awsconfig

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Validate judges a Config by AWS's rules for Kafka, and says everything that is wrong at
// once: see [Mistakes]. What AWS takes and this library cannot do is wrong too: to run
// without it would hand the function other records than AWS does. now is for the
// timestamp, which must not be in the future.
func (c *Config) Validate(now time.Time) error {
	return join(c.judge(now, func(string) *value { return nil }))
}

// A judge collects what is wrong with a Config.
type judge struct {
	c    *Config
	at   func(field string) *value // what a field was read from, or nil
	said []*Mistake
}

// judge says what is wrong with a Config whose fields were read from at.
func (c *Config) judge(now time.Time, at func(field string) *value) []*Mistake {
	j := &judge{c: c, at: at}
	j.function()
	j.source()
	j.group()
	j.access()
	j.position(now)
	j.batches()
	j.pollers()
	j.failures()
	j.unbuilt()
	j.others()
	j.modes()
	return j.said
}

// wrong says that a field is. shown is its value, nil if it is absent.
func (j *judge) wrong(field string, shown any, bound string) *Mistake {
	m := &Mistake{Path: field, Field: field, Bound: bound}
	if v := j.at(field); v != nil {
		m.Path, m.Line = v.path, v.line
		switch n, is := v.is.(json.Number); {
		case v.hides():
			shown = nil
		case is && shown != nil:
			shown = n // as it was written
		}
	} else {
		for parent := field; parent != ""; {
			parent = parent[:max(strings.LastIndexByte(parent, '.'), 0)]
			if v := j.at(parent); v != nil { // it is missing there
				m.Path, m.Line = member(v.path, strings.TrimPrefix(field[len(parent):], ".")), v.line
				break
			}
		}
	}
	if shown != nil {
		m.Value = valueShown(shown)
	}
	j.said = append(j.said, m)
	return m
}

// within says that a number that was given is not from least to most.
func (j *judge) within(field string, n *int, least, most int) {
	if n != nil && (*n < least || *n > most) {
		j.wrong(field, *n, fmt.Sprintf("must be %s to %s", grouped(least), grouped(most)))
	}
}

// length says that a text is too short or too long, in characters.
func (j *judge) length(field, s string, least, most int) bool {
	if n := utf8.RuneCountInString(s); n < least || n > most {
		j.wrong(field, s, fmt.Sprintf("must be %s to %s characters, and is %s", grouped(least), grouped(most), grouped(n)))
		return false
	}
	return true
}

// one says that a text is none of some.
func (j *judge) one(field, s string, of ...string) bool {
	if slices.Contains(of, s) {
		return true
	}
	j.wrong(field, s, "must be "+either(of))
	return false
}

// either lists words as a sentence does.
func either(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// grouped writes a number with a comma before each three digits.
func grouped(n int) string {
	s := strconv.Itoa(max(n, -n))
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if n < 0 {
		return "-" + s
	}
	return s
}

// labelOfHost is what the name of a host has between its dots.
const labelOfHost = `[a-zA-Z0-9]([a-zA-Z0-9\-_]*[a-zA-Z0-9])?`

// The patterns are those of AWS's API model.
var (
	functionPattern = regexp.MustCompile(`^(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}(-gov|-iso[a-z]?)?-[a-z]+-\d:)?(\d{12}:)?(function:)?([a-zA-Z0-9\-_.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9\-_]+))?$`)
	topicPattern    = regexp.MustCompile(`^[^.]([a-zA-Z0-9\-_.]+)$`)
	// destinationPattern is that of the topic of a destination, which may have one letter.
	destinationPattern = regexp.MustCompile(`^[a-zA-Z0-9\-_][a-zA-Z0-9\-_.]*$`)
	// uriPattern is that of groups, and of the URIs of credentials.
	uriPattern = regexp.MustCompile(`^[ a-zA-Z0-9\-/*:_+=.@]*$`)
	// serverPattern has the hosts of Docker too, which have underscores, and addresses of IPv6.
	serverPattern  = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|` + labelOfHost + `(\.` + labelOfHost + `)*):[0-9]{1,5}$`)
	pollersPattern = regexp.MustCompile(`^[a-zA-Z0-9\-_]*$`)
	arnPattern     = regexp.MustCompile(`^arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-]+):((?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d)?:(\d{12})?:(.+)$`)
	keyPattern     = regexp.MustCompile(`^arn:(aws[a-zA-Z-]*):kms:[a-z0-9-]+:\d{12}:key/.+$`)
	tagPattern     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// mostARN is how long an ARN may be.
const mostARN = 10_000

func (j *judge) function() {
	name := j.c.FunctionName
	if name == "" {
		j.wrong("FunctionName", nil, "is required")
		return
	}
	if !j.length("FunctionName", name, 1, 256) {
		return
	}
	parts := functionPattern.FindStringSubmatch(name)
	switch {
	case parts == nil:
		j.wrong("FunctionName", name, "must be the name of a function, its ARN or the end of that from the account on, with or without an alias or a version")
	case parts[1]+parts[3]+parts[6]+parts[7] == "" && len(parts[8]) > 64:
		j.wrong("FunctionName", name, "must be a name of 64 characters at most, or an ARN")
	}
}

func (j *judge) source() {
	c := j.c
	switch n := len(c.Topics); {
	case n == 0:
		j.wrong("Topics", nil, "is required: the one topic to read")
	case n > 1:
		j.wrong("Topics", c.Topics, "must be one topic; make a mapping of each")
	}
	for i, t := range c.Topics {
		if field := element("Topics", i); j.length(field, t, 1, 249) && !topicPattern.MatchString(t) {
			j.wrong(field, t, "must be the name of a topic, of 2 or more of the letters a to z and A to Z, digits, and -_. but not with a dot at its beginning")
		}
	}
	switch {
	case c.EventSourceArn == "" && c.SelfManagedEventSource == nil:
		j.wrong("SelfManagedEventSource", nil, "is required, or EventSourceArn if the Kafka is MSK's")
	case c.EventSourceArn != "" && c.SelfManagedEventSource != nil:
		j.wrong("SelfManagedEventSource", "...", "must not be there beside EventSourceArn: a mapping reads one Kafka")
	}
	if arn := c.EventSourceArn; arn != "" {
		parts := arnPattern.FindStringSubmatch(arn)
		switch {
		case !j.length("EventSourceArn", arn, 0, mostARN):
		case parts == nil:
			j.wrong("EventSourceArn", arn, "must be an ARN: arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/ID")
		case parts[2] != "kafka":
			j.wrong("EventSourceArn", arn, "must be of an MSK cluster: this library reads Kafka, and not "+parts[2])
		case !strings.HasPrefix(parts[5], "cluster/") && !strings.HasPrefix(parts[5], "vpc-connection/"):
			j.wrong("EventSourceArn", arn, "must be of a cluster, or of a VPC connection to one")
		}
	}
	if s := c.SelfManagedEventSource; s != nil {
		j.endpoints(s.Endpoints)
	}
}

func (j *judge) endpoints(of map[string][]string) {
	const field = "SelfManagedEventSource.Endpoints"
	for _, name := range sortedNames(of) {
		if name != bootstrapServers {
			j.wrong(member(field, name), name, "is not known: write "+bootstrapServers)
		}
	}
	servers, field2 := of[bootstrapServers], member(field, bootstrapServers)
	if n := len(servers); n < 1 || n > 10 {
		var shown any
		if n > 0 {
			shown = servers
		}
		j.wrong(field2, shown, "must have 1 to 10 servers, as host:port")
	}
	for i, s := range servers {
		if at := element(field2, i); j.length(at, s, 1, 300) && (!serverPattern.MatchString(s) || !isPort(s[strings.LastIndexByte(s, ':')+1:])) {
			j.wrong(at, s, "must be host:port, without a scheme")
		}
	}
}

// isPort reports whether a number of up to five digits is one of a port.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (j *judge) group() {
	c := j.c
	for _, k := range []struct {
		field string
		is    *KafkaEventSourceConfig
		other string // what must not be there
		given bool
	}{
		{"AmazonManagedKafkaEventSourceConfig", c.AmazonManagedKafkaEventSourceConfig, "EventSourceArn", c.EventSourceArn != ""},
		{"SelfManagedKafkaEventSourceConfig", c.SelfManagedKafkaEventSourceConfig, "SelfManagedEventSource", c.SelfManagedEventSource != nil},
	} {
		if k.is == nil {
			continue
		}
		if !k.given {
			j.wrong(k.field, "...", "belongs to "+k.other+", which is not there")
		}
		if id := k.is.ConsumerGroupId; id != "" {
			if field := member(k.field, "ConsumerGroupId"); j.length(field, id, 1, 200) && !uriPattern.MatchString(id) {
				j.wrong(field, id, "must have letters of a to z and A to Z, digits, spaces and -/*:_+=.@ only")
			}
		}
		mode, field := k.is.ConsumptionMode, member(k.field, "ConsumptionMode")
		if mode == "" || !j.one(field, mode, "Stream", "Queue") {
			continue
		}
		if k.other == "EventSourceArn" {
			j.wrong(field, mode, "is no parameter of MSK")
		} else if mode == "Queue" {
			j.wrong(field, mode, "is not built yet: this library reads a topic in order (Stream), and has no share groups").Unbuilt = true
		}
	}
}

func (j *judge) position(now time.Time) {
	c := j.c
	if c.StartingPosition == "" {
		if c.StartingPositionTimestamp != nil {
			j.wrong("StartingPosition", nil, "must be AT_TIMESTAMP if there is a StartingPositionTimestamp")
		}
		return
	}
	if !j.one("StartingPosition", c.StartingPosition, "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP") {
		return
	}
	switch at := c.StartingPositionTimestamp; {
	case c.StartingPosition == "AT_TIMESTAMP" && at == nil:
		j.wrong("StartingPositionTimestamp", nil, "is required with AT_TIMESTAMP")
	case at != nil && at.After(now):
		j.wrong("StartingPositionTimestamp", at.Format(time.RFC3339Nano), "must not be in the future")
	}
}

func (j *judge) batches() {
	j.within("BatchSize", j.c.BatchSize, 1, 10_000)
	j.within("MaximumBatchingWindowInSeconds", j.c.MaximumBatchingWindowInSeconds, 0, 300)
}

// What AWS has for bounds of pollers that were not given.
const (
	defaultMinimum = 1
	defaultMaximum = 200
)

// bounds are those of the pollers, with their defaults.
func (p *ProvisionedPollerConfig) bounds() (least, most int) {
	least, most = defaultMinimum, defaultMaximum
	if p.MinimumPollers != nil {
		least = *p.MinimumPollers
	}
	if p.MaximumPollers != nil {
		most = *p.MaximumPollers
	}
	return least, most
}

func (j *judge) pollers() {
	p := j.c.ProvisionedPollerConfig
	if p == nil {
		return
	}
	const field = "ProvisionedPollerConfig"
	j.within(member(field, "MinimumPollers"), p.MinimumPollers, 1, 200)
	j.within(member(field, "MaximumPollers"), p.MaximumPollers, 1, 2000)
	if least, most := p.bounds(); least > most && least <= 200 && most >= 1 {
		j.wrong(member(field, "MaximumPollers"), most, fmt.Sprintf("must be at least MinimumPollers, which is %d", least))
	}
	if name := p.PollerGroupName; name != "" {
		if at := member(field, "PollerGroupName"); j.length(at, name, 0, 128) && !pollersPattern.MatchString(name) {
			j.wrong(at, name, "must have letters of a to z and A to Z, digits and -_ only")
		}
	}
}

func (j *judge) failures() {
	c := j.c
	j.within("MaximumRetryAttempts", c.MaximumRetryAttempts, -1, 10_000)
	if age := c.MaximumRecordAgeInSeconds; age != nil && *age != -1 && (*age < 60 || *age > 604_800) {
		j.wrong("MaximumRecordAgeInSeconds", *age, "must be -1, or 60 to 604,800")
	}
	if n := len(c.FunctionResponseTypes); n > 1 {
		j.wrong("FunctionResponseTypes", c.FunctionResponseTypes, "must have one type at most")
	}
	for i, t := range c.FunctionResponseTypes {
		j.one(element("FunctionResponseTypes", i), t, "ReportBatchItemFailures")
	}
	d := c.DestinationConfig
	if d == nil {
		return
	}
	if d.OnSuccess != nil && d.OnSuccess.Destination != "" {
		j.wrong("DestinationConfig.OnSuccess", d.OnSuccess.Destination, "is no parameter of event source mappings")
	}
	const field = "DestinationConfig.OnFailure.Destination"
	to := c.onFailure()
	if to == "" || !j.length(field, to, 0, 350) {
		return
	}
	if topic, is := strings.CutPrefix(to, "kafka://"); is {
		if len(topic) > 249 || !destinationPattern.MatchString(topic) {
			j.wrong(field, to, "must be kafka:// and the name of a topic, of 1 to 249 letters of a to z and A to Z, digits and -_. but not with a dot at its beginning")
		}
		return
	}
	if parts := arnPattern.FindStringSubmatch(to); parts == nil || !slices.Contains([]string{"sqs", "sns", "s3"}, parts[2]) {
		j.wrong(field, to, "must be the ARN of a queue of SQS, a topic of SNS or a bucket of S3, or kafka:// and the name of a topic")
	}
}

// unbuilt refuses what AWS does with records and this library does not, yet.
func (j *judge) unbuilt() {
	c := j.c
	if f := c.FilterCriteria; f != nil && len(f.Filters) > 0 {
		for i, one := range f.Filters {
			j.length(element("FilterCriteria.Filters", i)+".Pattern", one.Pattern, 0, 4096)
		}
		j.wrong("FilterCriteria", "...", "is not built yet: without the filter the function would get records that are not for it").Unbuilt = true
	}
	for _, k := range []struct {
		field string
		is    *KafkaEventSourceConfig
	}{
		{"AmazonManagedKafkaEventSourceConfig", c.AmazonManagedKafkaEventSourceConfig},
		{"SelfManagedKafkaEventSourceConfig", c.SelfManagedKafkaEventSourceConfig},
	} {
		if k.is != nil && k.is.SchemaRegistryConfig != nil {
			j.wrong(member(k.field, "SchemaRegistryConfig"), "...", "is not built yet: the function would get records that are not decoded").Unbuilt = true
		}
	}
}

// others judges what does nothing here, so that AWS would take what is kept.
func (j *judge) others() {
	c := j.c
	if j.length("KMSKeyArn", c.KMSKeyArn, 0, mostARN) && c.KMSKeyArn != "" && !keyPattern.MatchString(c.KMSKeyArn) {
		j.wrong("KMSKeyArn", c.KMSKeyArn, "must be the ARN of a key: arn:aws:kms:REGION:ACCOUNT:key/ID")
	}
	if m := c.MetricsConfig; m != nil {
		if len(m.Metrics) > 3 {
			j.wrong("MetricsConfig.Metrics", m.Metrics, "must have three at most")
		}
		for i, name := range m.Metrics {
			j.one(element("MetricsConfig.Metrics", i), name, "EventCount", "ErrorCount", "KafkaMetrics")
		}
	}
	if l := c.LoggingConfig; l != nil && l.SystemLogLevel != "" {
		j.one("LoggingConfig.SystemLogLevel", l.SystemLogLevel, "DEBUG", "INFO", "WARN")
	}
	j.said = append(j.said, judgeTags(c.Tags, j.at)...)
}

// mostTags is how many tags AWS lets a mapping have.
const mostTags = 50

// judgeTags says what is wrong with tags.
func judgeTags(tags map[string]string, at func(string) *value) []*Mistake {
	j := &judge{at: at}
	if len(tags) > mostTags {
		j.wrong("Tags", len(tags), fmt.Sprintf("must be %d at most", mostTags))
	}
	for _, name := range sortedNames(tags) {
		field := member("Tags", name)
		switch n := utf8.RuneCountInString(name); {
		case n < 1 || n > 128 || !tagPattern.MatchString(name):
			j.wrong(field, name, "must be a name of 1 to 128 letters, digits, spaces and _.:/=+-@")
		case strings.HasPrefix(strings.ToLower(name), "aws:"):
			j.wrong(field, name, "must not begin with aws:, which is AWS's")
		}
		if v := tags[name]; utf8.RuneCountInString(v) > 256 || !tagPattern.MatchString(v) {
			j.wrong(field, v, "must be a value of 0 to 256 letters, digits, spaces and _.:/=+-@")
		}
	}
	return j.said
}

// modes refuses what AWS has for provisioned pollers only.
func (j *judge) modes() {
	c := j.c
	if c.provisioned() {
		return
	}
	for _, p := range []struct {
		field string
		given bool
	}{
		{"MaximumRetryAttempts", c.MaximumRetryAttempts != nil && *c.MaximumRetryAttempts != -1},
		{"MaximumRecordAgeInSeconds", c.MaximumRecordAgeInSeconds != nil && *c.MaximumRecordAgeInSeconds != -1},
		{"BisectBatchOnFunctionError", c.BisectBatchOnFunctionError != nil && *c.BisectBatchOnFunctionError},
		{"FunctionResponseTypes", len(c.FunctionResponseTypes) > 0},
		{"DestinationConfig.OnFailure.Destination", strings.HasPrefix(c.onFailure(), "kafka://")},
		{"LoggingConfig", c.LoggingConfig != nil && *c.LoggingConfig != LoggingConfig{}},
		{"MetricsConfig", c.MetricsConfig != nil && len(c.MetricsConfig.Metrics) > 0},
	} {
		if p.given {
			j.wrong(p.field, nil, "needs provisioned pollers: give ProvisionedPollerConfig a MinimumPollers")
		}
	}
}
