package awslambda

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed429fd032/esm/internal/guard"
)

// An Option is a setting of [New].
type Option func(*settings)

type settings struct {
	qualifier   string
	custom      map[string]string
	fromContext func(context.Context) map[string]string
	connections int
	timeout     time.Duration
	report      bool
}

// WithQualifier says which version or alias of the function is called, such as
// "live" or "7". Without it that is $LATEST, or what the name of the function
// says. (AWS: Qualifier.)
func WithQualifier(versionOrAlias string) Option {
	return func(s *settings) { s.qualifier = versionOrAlias }
}

// WithClientContext gives the function these values with each call, where its
// runtime has them: the field custom of the client context. At most 3,583
// bytes as base64 of their JSON. (AWS: ClientContext. A mapping of AWS sends
// none.)
func WithClientContext(custom map[string]string) Option {
	return func(s *settings) { s.custom = custom }
}

// WithContextValues adds to the client context of each call the values that f makes of the
// context of the call, such as a traceparent (esmotel's Telemetry.Carrier). They replace
// those of [WithClientContext]. Where they do not fit in 3,583 bytes, the call has
// those of WithClientContext alone. f is called from many goroutines.
func WithContextValues(f func(ctx context.Context) map[string]string) Option {
	return func(s *settings) { s.fromContext = f }
}

// WithMaxIdleConnections is how many connections that are idle are kept open: 1,000 by
// default, which are 200 pollers with 5 invocations each; 1 to 100,000. As many
// calls as the Mapping makes at once are made at once, whatever this says: with
// too few, each call more begins with a TLS handshake.
func WithMaxIdleConnections(n int) Option {
	return func(s *settings) { s.connections = n }
}

// WithTimeout is how long a call may take: 15 minutes and 10 seconds by
// default, because a function may take 15 minutes; 1 second to that. It should
// be more than the timeout of the function, whose word is then "Task timed out",
// instead of a call of which nobody knows what became of it.
func WithTimeout(d time.Duration) Option {
	return func(s *settings) { s.timeout = d }
}

// WithReportBatchItemFailures has the function say which records failed, as it
// does for AWS: by returning
//
//	{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":100}}]}
//
// Those are tried again, the others are settled. The offset may be a string,
// and the identifier too, as "orders-0-100". Nothing, null and an empty list
// are a success. What cannot be understood and a record that the batch does not
// have are a failure of all. Off, which is the default, whatever a function
// returns is a success. (AWS: FunctionResponseTypes, ReportBatchItemFailures.)
func WithReportBatchItemFailures(on bool) Option {
	return func(s *settings) { s.report = on }
}

const (
	maxConnections = 100_000
	maxTimeout     = 15*time.Minute + 10*time.Second
	maxName        = 256
)

// validate reports every mistake at once.
func (s *settings) validate(cfg aws.Config, function string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("awslambda: "+format, args...)) }
	if n := len(function); n == 0 || n > maxName {
		bad("the name of the function has %d characters, and must have 1 to %d", n, maxName)
	}
	if cfg.Region == "" {
		bad("aws.Config.Region is empty: set it, or AWS_REGION before config.LoadDefaultConfig")
	}
	if cfg.Credentials == nil {
		bad("aws.Config.Credentials is nil: config.LoadDefaultConfig finds those of this machine")
	}
	if cfg.HTTPClient != nil && guard.IsNil(cfg.HTTPClient) {
		bad("aws.Config.HTTPClient is a nil %T: leave it out for the SDK's own", cfg.HTTPClient)
	}
	if s.connections < 1 || s.connections > maxConnections {
		bad("WithMaxIdleConnections(%d): must be 1 to %d", s.connections, maxConnections)
	}
	if s.timeout < time.Second || s.timeout > maxTimeout {
		bad("WithTimeout(%s): must be 1s to %s", s.timeout, maxTimeout)
	}
	return errors.Join(errs...)
}
