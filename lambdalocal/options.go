package lambdalocal

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
)

// A HandlerOption is a setting of [Handler].
type HandlerOption interface{ setHandler(*handlerSettings) }

// A ProcessOption is a setting of [NewProcess].
type ProcessOption interface{ setProcess(*processSettings) }

// An Option is a setting of both.
type Option interface {
	HandlerOption
	ProcessOption
}

// common are the settings that both have.
type common struct {
	name        string
	timeout     time.Duration
	report      bool
	concurrency int
}

type handlerSettings struct{ common }

type processSettings struct {
	common
	idleFor time.Duration
	start   time.Duration
	memory  int64
	handler string
	dir     string
	env     []string
	plain   bool
	logger  *slog.Logger
}

type option func(*common)

func (o option) setHandler(s *handlerSettings) { o(&s.common) }
func (o option) setProcess(s *processSettings) { o(&s.common) }

type processOption func(*processSettings)

func (o processOption) setProcess(s *processSettings) { o(s) }

// WithFunctionName is what the function is told that it is called: "function"
// by default. It is a part of its ARN.
func WithFunctionName(name string) Option {
	return option(func(c *common) { c.name = name })
}

// WithTimeout is how long the function may take: 15 minutes by default, 1
// millisecond to 24 hours, counted from when it has its event. The function finds
// it in its context. A process that takes longer is killed; a handler in this
// process cannot be, so it should look at its context. (AWS: the Timeout of the
// function, 3 seconds by default and 15 minutes at most. This is it;
// [esm.WithInvokeTimeout] bounds the whole call of any Invoker.)
func WithTimeout(d time.Duration) Option {
	return option(func(c *common) { c.timeout = d })
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
	return option(func(c *common) { c.report = on })
}

// WithMaxConcurrency is how many invocations run at once at most. The others
// wait, which no timeout counts ([esm.Waiting]); [esm.WithMaxConcurrency] with the
// same number has them wait in the Mapping instead, where they hold no partition.
// (AWS: the reserved concurrency of the function.)
//
// Of a [Process] each has a process of its own: 10 by default, 1 to 1,000. Of a
// [Handler] all are in this process: 1 by default, 1 to 100,000. In Lambda each
// environment runs one at a time, so a function may keep what it likes in
// variables of its package; with more than 1 a Handler says that it does not, or
// guards them.
func WithMaxConcurrency(n int) Option {
	return option(func(c *common) { c.concurrency = n })
}

// WithIdleTimeout is how long a process stays that has nothing to do: 5 minutes
// by default, 1 second to 24 hours.
func WithIdleTimeout(d time.Duration) ProcessOption {
	return processOption(func(s *processSettings) { s.idleFor = d })
}

// WithStartTimeout is how long a process may take until it asks for its first
// event: 10 seconds by default, as in Lambda, 1 millisecond to 15 minutes.
func WithStartTimeout(d time.Duration) ProcessOption {
	return processOption(func(s *processSettings) { s.start = d })
}

// WithMemory is how much memory a process may have: no limit by default, 16 MiB
// to 1 TiB. One that has more in RAM is killed, and its invocation failed. It is
// looked at ten times a second while an invocation runs, and only on Linux;
// elsewhere [NewProcess] refuses it. Processes that the function starts are not
// counted. (AWS: the MemorySize of the function.)
func WithMemory(bytes int64) ProcessOption {
	return processOption(func(s *processSettings) { s.memory = bytes })
}

// WithHandler is what the process finds in the variable _HANDLER: for AWS's
// client for Node the file and the function, such as "app.handler". That for
// Python gets them as an argument.
// (AWS: the Handler of the function.)
func WithHandler(handler string) ProcessOption {
	return processOption(func(s *processSettings) { s.handler = handler })
}

// WithDir is the folder in which the process runs, and what it finds in the
// variable LAMBDA_TASK_ROOT: that of this process by default.
func WithDir(dir string) ProcessOption {
	return processOption(func(s *processSettings) { s.dir = dir })
}

// WithEnv adds variables to the environment of the process, each "NAME=value".
// It has those of this process too.
func WithEnv(env ...string) ProcessOption {
	return processOption(func(s *processSettings) { s.env = append(s.env, env...) })
}

// WithPlainAddress leaves the secret out of the address that the process gets,
// for a runtime client that takes nothing but a host and a port: that of Node.
// On Linux nobody else can reach the function even so; on other systems every
// user of the machine can. Off by default. See [Process].
func WithPlainAddress(on bool) ProcessOption {
	return processOption(func(s *processSettings) { s.plain = on })
}

// WithLogger is where the output of the function goes, a line each, with the
// attributes function, pid, stream and request: slog.Default() by default. What
// one invocation writes beyond 1 MiB is counted and dropped.
func WithLogger(l *slog.Logger) ProcessOption {
	return processOption(func(s *processSettings) { s.logger = l })
}

// A mistakes collects what is wrong with settings.
type mistakes []error

func (m *mistakes) add(format string, args ...any) {
	*m = append(*m, fmt.Errorf("lambdalocal: "+format, args...))
}

func (m *mistakes) between(option string, d, least, most time.Duration) {
	if d < least || d > most {
		m.add("%s(%s): must be %s to %s", option, d, least, most)
	}
}

func (m *mistakes) err() error { return errors.Join(*m...) }

func (c *common) defaults(concurrency int) {
	c.name, c.timeout, c.concurrency = "function", 15*time.Minute, concurrency
}

func (c *common) validate(m *mistakes) {
	if c.name == "" || len(c.name) > 64 {
		m.add("WithFunctionName(%q): must have 1 to 64 characters", c.name)
	}
	m.between("WithTimeout", c.timeout, time.Millisecond, 24*time.Hour)
}

func (s *handlerSettings) validate(m *mistakes) {
	s.common.validate(m)
	if s.concurrency < 1 || s.concurrency > 100_000 {
		m.add("WithMaxConcurrency(%d): must be 1 to 100000", s.concurrency)
	}
}

func (s *processSettings) validate(m *mistakes) {
	s.common.validate(m)
	if s.concurrency < 1 || s.concurrency > 1000 {
		m.add("WithMaxConcurrency(%d): must be 1 to 1000", s.concurrency)
	}
	m.between("WithIdleTimeout", s.idleFor, time.Second, 24*time.Hour)
	m.between("WithStartTimeout", s.start, time.Millisecond, 15*time.Minute)
	switch {
	case s.memory == 0:
	case s.memory < 16<<20 || s.memory > 1<<40:
		m.add("WithMemory(%d): must be %d (16 MiB) to %d (1 TiB)", s.memory, 16<<20, int64(1)<<40)
	case !lambdapool.CanLimitMemory:
		m.add("WithMemory(%d): this system does not tell how much memory a process has; leave the option out", s.memory)
	}
	for i, v := range s.env {
		// None of it is said but a name: the rest may be a secret.
		name, _, ok := strings.Cut(v, "=")
		switch {
		case !ok || name == "":
			m.add("WithEnv: variable %d has no name, or no =; it must be NAME=value", i+1)
		case hasNUL(name):
			m.add("WithEnv: the name of variable %d holds a zero byte", i+1)
		case hasNUL(v):
			m.add("WithEnv(%q): the value must not hold a zero byte", name+"=...")
		}
	}
	for name, v := range map[string]string{"WithFunctionName": s.name, "WithHandler": s.handler, "WithDir": s.dir} {
		if hasNUL(v) {
			m.add("%s(%q): must not hold a zero byte", name, v)
		}
	}
	if s.logger == nil {
		m.add("WithLogger(nil): must not be nil")
	}
}

// hasNUL reports whether a string cannot be passed on to a process.
func hasNUL(s string) bool { return strings.ContainsRune(s, 0) }
