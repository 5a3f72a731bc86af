package lambdalocal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"slices"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
	"github.com/seed429fd032/esm/internal/redact"
)

// A Process runs an existing Lambda function, in any language, as processes of
// this machine, which it starts when they are needed and lets go when they are
// idle. Each handles one invocation at a time, as in Lambda.
//
//	p, err := lambdalocal.NewProcess([]string{"./bootstrap"})
//	...
//	defer p.Close() // after the Mapping stopped
//	m, err := esm.New(source, p)
//
// The command is what Lambda would start: a binary that calls lambda.Start, or
// AWS's runtime client for the language:
//
//	NewProcess([]string{"./bootstrap"})                                // Go, as for provided.al2023
//	NewProcess([]string{"python3", "-m", "awslambdaric", "app.handler"}) // pip install awslambdaric
//	NewProcess([]string{"node", "node_modules/aws-lambda-ric/index.mjs"}, // npm install aws-lambda-ric
//		WithHandler("app.handler"), WithPlainAddress(true))
//
// It has to speak Lambda's Runtime API to the address in AWS_LAMBDA_RUNTIME_API,
// and finds the other variables of Lambda that say something here.
//
// # What harms only one invocation
//
// A process that dies, hangs until its timeout, answers twice or late, or asks
// for the next event without an answer harms the invocation that it has and no
// other. It is killed where it cannot go on, with all processes of its group
// (on Windows without those that it started), and another one takes its place.
// An invocation whose context ends is ended in the same way: a function that
// goes on without anybody who waits would hold the partition up.
//
// # Who can reach it
//
// Each process has an address of its own on the loopback interface, with a
// secret in it that only that process knows, so that no other user of the
// machine can take an event or answer one. AWS's clients for Go, Rust, C++ and
// Python take such an address; that for Python reports an error in the
// initialization of a function to another one, which fails, so that only its
// output tells of it. That for Node does not take it and needs
// [WithPlainAddress]. Then, on Linux, connections of other users are refused,
// and on other systems they are not.
//
// With and without the secret, what a page in a browser can send is refused: a
// request for another host than the address that the process was given, and one
// with a header Origin, with one that begins with Sec-, or of a browser. (fetch
// of Node sends Sec-Fetch-Mode. AWS's clients do not use it; a runtime of your
// own must not either.) The next event is given to one connection at a time: as
// long as that is open, another one that asks gets a conflict. And the id
// of an invocation, without which nothing is answered, cannot be guessed.
//
// A process has 32 connections at most. Those of others, which have sent no
// request of its, take places of each other, so that whoever opens many holds
// up nobody and takes few descriptors of this process. They have 5 seconds for a
// request. The header of one may have 64 KiB, and 1 MiB on a connection that had
// a good one before.
type Process struct {
	pool   *lambdapool.Pool
	report bool
}

var _ esm.Invoker = (*Process)(nil)

// Stats are what a [Process] does and did.
type Stats struct {
	// Processes is how many there are now, and Busy how many of them are not
	// idle: they have an invocation, begin, or end. Waiting is how many
	// invocations wait for one.
	Processes, Busy, Waiting int
	// ColdStarts is how many were started since the beginning, and Restarts how
	// many of them ended by themselves or were killed, not because they were
	// idle.
	ColdStarts, Restarts uint64
	// Invocations is how many events were given to a process. TimedOut is how
	// many of those took too long, OutOfMemory too much memory, and Exited how
	// many ended with their process.
	Invocations, TimedOut, OutOfMemory, Exited uint64
}

// A FunctionError is what became of a batch whose function failed in its
// process.
type FunctionError struct {
	// Type and Message are what the runtime of the function reports:
	// errorType, such as "errorString", and errorMessage: at most 256 bytes and
	// 4 KiB of it. A process that ends has the type "Runtime.ExitError", as in
	// Lambda.
	Type, Message string
	// Stack is its stackTrace, a line each, at most 100 lines and 16 KiB. What is
	// in a line depends on the language.
	Stack []string
	// RequestID is the invocation, as the output of the function may have it.
	RequestID string
}

// Error is the type and the message in one line.
func (e *FunctionError) Error() string { return (*lambdapool.Error)(e).Error() }

// MarshalText is what Error says, for JSON and logs.
func (e *FunctionError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// NewProcess makes an Invoker of a command: a program and its arguments. It
// starts nothing yet.
func NewProcess(command []string, opts ...ProcessOption) (*Process, error) {
	s := processSettings{idleFor: 5 * time.Minute, start: 10 * time.Second, logger: slog.Default()}
	s.defaults(10)
	var wrong mistakes
	for _, o := range opts {
		if o == nil {
			wrong.add("there is a nil option")
			continue
		}
		o.setProcess(&s)
	}
	s.validate(&wrong)
	if len(command) == 0 || command[0] == "" {
		wrong.add("NewProcess: the command is empty")
	} else if s.dir == "" {
		// With a folder, what is meant depends on it.
		if _, err := exec.LookPath(command[0]); err != nil {
			if of := (*exec.Error)(nil); errors.As(err, &of) {
				err = of.Err // it has the whole of it, which may have arguments
			}
			if of := (*fs.PathError)(nil); errors.As(err, &of) {
				err = of.Err
			}
			wrong.add("NewProcess: the program %q: %w", redact.Program(command[0]), err)
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return &Process{report: s.report, pool: lambdapool.New(lambdapool.Config{
		Command: slices.Clone(command), Name: s.name, Most: s.concurrency, Timeout: s.timeout, Start: s.start, Idle: s.idleFor,
		Memory: s.memory, Handler: s.handler, Dir: s.dir, Env: s.env, Plain: s.plain, Logger: s.logger,
	})}, nil
}

// Stats is a consistent snapshot.
func (p *Process) Stats() Stats { return Stats(p.pool.Stats()) }

// Close ends all processes, with their invocations if there still are some, and
// returns when they have ended. Call it after the Mapping stopped.
func (p *Process) Close() error {
	p.pool.Close()
	return nil
}

// Invoke gives a process the event of a batch, and waits for its answer. While
// all processes are busy it says that it waits ([esm.Waiting]), and if no process
// got the event it says so ([esm.Busy]).
func (p *Process) Invoke(ctx context.Context, b *esm.Batch) error {
	answer, err := p.pool.Invoke(ctx, lambdapool.Event{
		Name: b.ID, Body: b.AppendJSON(nil), Waiting: func() func() { return esm.Waiting(ctx) },
	})
	var failed *lambdapool.Error
	switch {
	case errors.As(err, &failed):
		return (*FunctionError)(failed)
	case errors.Is(err, lambdapool.ErrNotCalled):
		return esm.Busy(0, fmt.Errorf("lambdalocal: %w", err)) // no attempt
	case err != nil:
		return fmt.Errorf("lambdalocal: %w", err)
	case p.report:
		return lambdaresult.Items(b, answer)
	}
	return nil
}
