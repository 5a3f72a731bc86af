package awsconfig

import (
	"strings"
	"time"

	"github.com/seed429fd032/esm"
)

// A Plan is what makes a Mapping of a Config: what this library can say, and what the host
// has to find first.
type Plan struct {
	// Source lacks what Needs has until [Plan.Connect]: the brokers of an MSK cluster, and the options of the
	// client that log in.
	Source esm.Source
	// Options are those of the Mapping. They lack the destination that Needs names. They say
	// defaults too, so that an Update with them clears what was set before.
	Options []esm.Option
	Needs   Needs
	// Enabled is whether the Mapping is to run.
	Enabled bool
	// Notes say what AWS does otherwise, and what of the Config does nothing here.
	Notes []Note
}

// Needs are what a Config names and does not have.
type Needs struct {
	// Function is the function, as FunctionName says it.
	Function string
	// ReportBatchItemFailures is whether the function says which records failed: the
	// option of that name of awslambda, lambdalocal or esmhttp.
	ReportBatchItemFailures bool
	// Cluster is the ARN of the MSK cluster whose brokers are needed, or "".
	Cluster string
	// Access are the credentials.
	Access []SourceAccessConfiguration
	// Destination is where records go that are given up, or "".
	Destination string
}

// A Note is something to tell whoever wrote a Config. It is no mistake.
type Note struct {
	// Field is the parameter, in the words of AWS's API.
	Field string
	Text  string
}

func (n Note) String() string { return n.Field + ": " + n.Text }

// Plan makes a Plan of a Config. uuid is the mapping's, which is the group where the
// Config has none. It returns what [Config.Validate] does.
//
// What AWS does and has no parameter for is in it too: [esm.WithAWSLimits], bounds of all
// hosts together ([esm.WithGroupBounds]), on-demand scaling where there are no bounds, and
// 10 retries where there are to be any number and a destination.
func (c *Config) Plan(uuid string) (Plan, error) {
	said := c.judge(time.Now(), func(string) *value { return nil })
	group := uuid
	if k := c.kafka(); k != nil && k.ConsumerGroupId != "" {
		group = k.ConsumerGroupId
	}
	if group == "" {
		said = append(said, &Mistake{Path: "ConsumerGroupId", Field: "ConsumerGroupId", Bound: "is required, or the UUID of the mapping, which AWS takes"})
	}
	if err := join(said); err != nil {
		return Plan{}, err
	}
	p := Plan{
		Source:  esm.Source{Topics: append([]string(nil), c.Topics...), Group: group, ARN: c.EventSourceArn},
		Options: []esm.Option{esm.WithAWSLimits()},
		Enabled: c.Enabled == nil || *c.Enabled,
		Needs: Needs{
			Function: c.FunctionName, ReportBatchItemFailures: len(c.FunctionResponseTypes) > 0, Cluster: c.EventSourceArn,
			Access: append([]SourceAccessConfiguration(nil), c.SourceAccessConfigurations...), Destination: c.onFailure(),
		},
	}
	if c.SelfManagedEventSource != nil {
		p.Source.Brokers = append([]string(nil), c.SelfManagedEventSource.Endpoints[bootstrapServers]...)
	}
	p.start(c)
	p.batches(c)
	p.pollers(c)
	p.failures(c)
	p.idle(c)
	return p, nil
}

func (p *Plan) add(o esm.Option) { p.Options = append(p.Options, o) }

func (p *Plan) note(field, text string) { p.Notes = append(p.Notes, Note{field, text}) }

func (p *Plan) start(c *Config) {
	switch c.StartingPosition {
	case "LATEST":
		p.Source.Start = esm.Latest()
		p.note("StartingPosition", "LATEST loses no record here that is produced after the start; AWS may lose some")
	case "AT_TIMESTAMP":
		p.Source.Start = esm.AtTimestamp(*c.StartingPositionTimestamp)
	case "":
		p.note("StartingPosition", "it is absent: TRIM_HORIZON, as AWS takes it")
	}
}

func (p *Plan) batches(c *Config) {
	size := 100 // AWS's default
	if n := c.BatchSize; n != nil {
		size = *n
	}
	p.add(esm.WithBatchSize(size))
	if n := c.MaximumBatchingWindowInSeconds; n != nil {
		p.add(esm.WithBatchWindow(time.Duration(*n) * time.Second))
	}
}

func (p *Plan) pollers(c *Config) {
	if !c.provisioned() {
		p.add(esm.WithOnDemand(true))
		p.note("ProvisionedPollerConfig", "it is absent: the mapping is scaled once a minute, as AWS does on demand; give it a MinimumPollers to scale at once")
		return
	}
	least, most := c.ProvisionedPollerConfig.bounds()
	p.add(esm.WithMinPollers(least))
	p.add(esm.WithMaxPollers(most))
	p.add(esm.WithGroupBounds(true))
	if c.ProvisionedPollerConfig.PollerGroupName != "" {
		p.note("ProvisionedPollerConfig.PollerGroupName", "it does nothing here: it is about AWS's bill")
	}
}

func (p *Plan) failures(c *Config) {
	retries, age := esm.Unlimited, esm.Unlimited
	if n := c.MaximumRetryAttempts; n != nil {
		retries = *n
	}
	if n := c.MaximumRecordAgeInSeconds; n != nil {
		age = *n
	}
	switch to := c.onFailure(); {
	case to != "" && retries == esm.Unlimited && c.provisioned():
		retries = 10
		p.note("MaximumRetryAttempts", "it is -1 and there is a destination: 10, as AWS takes it")
	case to == "" && (retries != esm.Unlimited || age != esm.Unlimited):
		p.add(esm.WithDestination(esm.Drop))
		p.note("DestinationConfig", "it is absent: records that are given up are thrown away and logged, as AWS throws them away")
	case to == "":
		p.add(esm.WithDestination(nil))
	}
	p.add(esm.WithMaxRetries(retries))
	if age == esm.Unlimited {
		p.add(esm.WithMaxRecordAge(esm.Unlimited))
	} else {
		p.add(esm.WithMaxRecordAge(time.Duration(age) * time.Second))
	}
	bisect := c.BisectBatchOnFunctionError != nil && *c.BisectBatchOnFunctionError
	p.add(esm.WithBisect(bisect))
	if bisect {
		p.note("BisectBatchOnFunctionError", "a batch is split after its second failure, and not after its first: the first is more often an outage")
	}
}

// idle says what does nothing here.
func (p *Plan) idle(c *Config) {
	for _, a := range c.SourceAccessConfigurations {
		if a.Type == vpcSubnet || a.Type == vpcGroup {
			p.note("SourceAccessConfigurations", "subnets and security groups do nothing here: connections are made from the host's own network")
			break
		}
	}
	if c.EventSourceArn == "" && len(c.SourceAccessConfigurations) == 0 {
		p.note("SourceAccessConfigurations", "there are none: the brokers are spoken to without TLS and without a login, which AWS does not take")
	}
	if c.KMSKeyArn != "" {
		p.note("KMSKeyArn", "it does nothing here: there are no filter criteria to encrypt")
	}
	if l := c.LoggingConfig; l != nil && l.SystemLogLevel != "" {
		p.note("LoggingConfig", "it does nothing here: the level of esm.WithLogger does, and esmemf.LogConfig takes it for lines as AWS has them")
	}
	if m := c.MetricsConfig; m != nil && len(m.Metrics) > 0 {
		p.note("MetricsConfig", strings.Join(m.Metrics, ", ")+": all metrics are there always")
	}
}
