package awsconfig

import (
	"encoding/json"
	"time"
)

// A Config is an event source mapping of Kafka as AWS has it: the input of
// CreateEventSourceMapping, with its names. What is nil or empty was not given, which
// differs from its default: a window that was not given is 500 ms, which no value of
// MaximumBatchingWindowInSeconds says.
//
// Parameters of other sources are not in it; what reads a Config refuses them by name.
type Config struct {
	// FunctionName is the function: its name, its ARN or the end of one, with or
	// without an alias or a version. Required; 1 to 256 characters, a name by itself
	// 64 at most.
	FunctionName string `json:",omitempty"`
	// EventSourceArn is the ARN of an MSK cluster, or of a connection to its VPC. Either
	// this or SelfManagedEventSource is required.
	EventSourceArn string `json:",omitempty"`
	// SelfManagedEventSource says where a Kafka is that is not MSK's.
	SelfManagedEventSource *SelfManagedEventSource `json:",omitempty"`
	// Topics is the topic: one, of 2 to 249 characters. Required.
	Topics []string `json:",omitempty"`
	// AmazonManagedKafkaEventSourceConfig belongs to EventSourceArn, and
	// SelfManagedKafkaEventSourceConfig to SelfManagedEventSource.
	AmazonManagedKafkaEventSourceConfig *KafkaEventSourceConfig `json:",omitempty"`
	SelfManagedKafkaEventSourceConfig   *KafkaEventSourceConfig `json:",omitempty"`
	// SourceAccessConfigurations are the credentials, by the names of secrets: 23 at
	// most. AWS requires one for a Kafka that is not MSK's. Here none means a Kafka
	// without a login and without TLS.
	SourceAccessConfigurations []SourceAccessConfiguration `json:",omitempty"`
	// StartingPosition is where partitions begin of which the group has no offset:
	// TRIM_HORIZON, which is what AWS does if it is absent, LATEST or AT_TIMESTAMP.
	StartingPosition string `json:",omitempty"`
	// StartingPositionTimestamp is required with AT_TIMESTAMP, and not in the future. It
	// is a number of seconds in AWS's JSON.
	StartingPositionTimestamp *time.Time `json:"-"`
	// Enabled is whether the mapping runs. Default: true.
	Enabled *bool `json:",omitempty"`
	// BatchSize is how many records a batch has at most: 1 to 10,000, default 100.
	BatchSize *int `json:",omitempty"`
	// MaximumBatchingWindowInSeconds is how long a record waits for others: 0 to 300.
	// Default: 500 ms.
	MaximumBatchingWindowInSeconds *int `json:",omitempty"`
	// FilterCriteria says which records the function gets. This library does not filter
	// yet, and refuses it.
	FilterCriteria *FilterCriteria `json:",omitempty"`
	// KMSKeyArn is the key that AWS encrypts the criteria with. It is kept and shown, and
	// does nothing here.
	KMSKeyArn string `json:",omitempty"`
	// ProvisionedPollerConfig has the bounds of the pollers. Without it the mapping is
	// scaled on demand.
	ProvisionedPollerConfig *ProvisionedPollerConfig `json:",omitempty"`
	// MaximumRetryAttempts is how often a batch that failed is tried again: -1, which is
	// for ever and the default, or 0 to 10,000. With a destination AWS takes 10 for -1.
	MaximumRetryAttempts *int `json:",omitempty"`
	// MaximumRecordAgeInSeconds is how old a record may be to be tried: -1, which is any
	// age and the default, or 60 to 604,800.
	MaximumRecordAgeInSeconds *int `json:",omitempty"`
	// BisectBatchOnFunctionError splits a batch that fails. Default: false.
	BisectBatchOnFunctionError *bool `json:",omitempty"`
	// FunctionResponseTypes may have ReportBatchItemFailures: the function says which
	// records failed.
	FunctionResponseTypes []string `json:",omitempty"`
	// DestinationConfig is where records go that are given up.
	DestinationConfig *DestinationConfig `json:",omitempty"`
	// MetricsConfig names the metrics that AWS publishes. Here all are there always.
	MetricsConfig *MetricsConfig `json:",omitempty"`
	// LoggingConfig is how much AWS logs about the mapping. Here the host's logger says, and
	// package esmemf for lines as AWS has them.
	LoggingConfig *LoggingConfig `json:",omitempty"`
	// Tags are names and values of the user's: names of 1 to 128 characters, values of 256
	// at most.
	Tags map[string]string `json:",omitempty"`
}

// SelfManagedEventSource is a Kafka that is not MSK's.
type SelfManagedEventSource struct {
	// Endpoints has the bootstrap servers, host:port, 1 to 10, as
	// KAFKA_BOOTSTRAP_SERVERS.
	Endpoints map[string][]string `json:",omitempty"`
}

// bootstrapServers is the one name that Endpoints has.
const bootstrapServers = "KAFKA_BOOTSTRAP_SERVERS"

// KafkaEventSourceConfig is about the consumer group.
type KafkaEventSourceConfig struct {
	// ConsumerGroupId is the group: 1 to 200 characters. Default: the UUID of the mapping.
	ConsumerGroupId string `json:",omitempty"`
	// ConsumptionMode is Stream, which is the default, or Queue: a share group (KIP-932),
	// which this library does not have yet and refuses. It is no parameter of MSK.
	ConsumptionMode string `json:",omitempty"`
	// SchemaRegistryConfig decodes records by their schemas. This library does not do
	// that yet, and refuses it.
	SchemaRegistryConfig *SchemaRegistryConfig `json:",omitempty"`
}

// SchemaRegistryConfig says where schemas are, and what is made of records.
type SchemaRegistryConfig struct {
	SchemaRegistryURI       string                      `json:",omitempty"`
	EventRecordFormat       string                      `json:",omitempty"`
	AccessConfigs           []SourceAccessConfiguration `json:",omitempty"`
	SchemaValidationConfigs []SchemaValidationConfig    `json:",omitempty"`
}

// SchemaValidationConfig names a part of a record, KEY or VALUE.
type SchemaValidationConfig struct {
	Attribute string `json:",omitempty"`
}

// SourceAccessConfiguration is one credential, or a part of it.
type SourceAccessConfiguration struct {
	// Type is what it is: BASIC_AUTH, SASL_SCRAM_256_AUTH, SASL_SCRAM_512_AUTH,
	// CLIENT_CERTIFICATE_TLS_AUTH, SERVER_ROOT_CA_CERTIFICATE, OAUTHBEARER_AUTH, IAM_AUTH,
	// IAM_OAUTHBEARER_AUTH, OAUTHBEARER_SCOPE, OAUTHBEARER_AUDIENCE,
	// OAUTHBEARER_LOGICAL_CLUSTER, OAUTHBEARER_IDENTITY_POOL, VPC_SUBNET or
	// VPC_SECURITY_GROUP.
	Type string `json:",omitempty"`
	// URI names the secret that has it: 1 to 200 letters, digits, spaces and -/*:_+=.@. The
	// four OAUTHBEARER_ types beside OAUTHBEARER_AUTH have a value there, and IAM has none.
	URI string `json:",omitempty"`
}

// FilterCriteria are patterns, of which one has to match.
type FilterCriteria struct {
	Filters []Filter `json:",omitempty"`
}

// Filter is one pattern, of 4,096 characters at most.
type Filter struct {
	Pattern string `json:",omitempty"`
}

// ProvisionedPollerConfig has the bounds of the pollers, of all hosts together.
type ProvisionedPollerConfig struct {
	// MinimumPollers is 1 to 200, default 1.
	MinimumPollers *int `json:",omitempty"`
	// MaximumPollers is 1 to 2,000, default 200, and not less than the minimum.
	MaximumPollers *int `json:",omitempty"`
	// PollerGroupName has AWS bill pollers of several mappings together. It is kept and
	// shown, and does nothing here.
	PollerGroupName string `json:",omitempty"`
}

// DestinationConfig is where records go that are given up. OnSuccess is no parameter of
// Kafka.
type DestinationConfig struct {
	OnFailure *Destination `json:",omitempty"`
	OnSuccess *Destination `json:",omitempty"`
}

// Destination is the ARN of a queue, a topic of SNS or a bucket, or kafka:// and the name
// of a topic of the same Kafka: 350 characters at most.
type Destination struct {
	Destination string `json:",omitempty"`
}

// MetricsConfig names metrics: EventCount, ErrorCount, KafkaMetrics.
type MetricsConfig struct {
	Metrics []string `json:",omitempty"`
}

// LoggingConfig is how much is logged: DEBUG, INFO or WARN.
type LoggingConfig struct {
	SystemLogLevel string `json:",omitempty"`
}

// provisioned reports whether the pollers have bounds. AWS takes an empty
// ProvisionedPollerConfig for none.
func (c *Config) provisioned() bool {
	return c.ProvisionedPollerConfig != nil && *c.ProvisionedPollerConfig != ProvisionedPollerConfig{}
}

// kafka is what is said of the consumer group, or nil.
func (c *Config) kafka() *KafkaEventSourceConfig {
	if c.EventSourceArn != "" {
		return c.AmazonManagedKafkaEventSourceConfig
	}
	return c.SelfManagedKafkaEventSourceConfig
}

// onFailure is the destination, "" if there is none.
func (c *Config) onFailure() string {
	if c.DestinationConfig == nil || c.DestinationConfig.OnFailure == nil {
		return ""
	}
	return c.DestinationConfig.OnFailure.Destination
}

// MarshalJSON writes the input of CreateEventSourceMapping, as the AWS CLI takes it with
// --cli-input-json.
func (c Config) MarshalJSON() ([]byte, error) {
	type plain Config
	with := struct {
		plain
		StartingPositionTimestamp json.Number `json:",omitempty"`
	}{plain: plain(c)}
	if at := c.StartingPositionTimestamp; at != nil {
		with.StartingPositionTimestamp = secondsOf(*at)
	}
	return json.Marshal(with)
}

// UnmarshalJSON reads what MarshalJSON writes. It refuses what is unknown or of another type,
// and judges nothing else: what was kept is read again, whatever the time is and the rules
// are. [ParseJSON] judges too.
func (c *Config) UnmarshalJSON(data []byte) error {
	v, err := readJSON(data)
	if err != nil {
		return err
	}
	read, r := readConfig(v, false)
	if err := join(r.mistakes); err != nil {
		return err
	}
	*c = read
	return nil
}
