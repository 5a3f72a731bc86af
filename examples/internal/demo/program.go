// Package demo holds what the examples have in common, so that each of them
// shows its subject and little else: flags and exit codes, a Kafka in this
// process with records in it, and what follows a Mapping until all is done.
package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// A Program is an example.
type Program interface {
	// Flags defines the flags that it takes, and what they must be.
	Flags(f *Flags)
	// Run does what the example shows. Progress is for people; both writers
	// may be used by several goroutines at once. When ctx ends it lets the
	// invocations end and returns. A nil Result says that there is nothing to
	// print, and that all is well.
	Run(ctx context.Context, progress, stderr io.Writer) (Result, error)
}

// A Result is what a run found. With the flag -json it is printed as one line
// of JSON.
type Result interface {
	Print(w io.Writer)
	OK() bool // whether all checks were passed
}

// Main runs an example and exits. The first SIGTERM or Ctrl-C ends its context,
// a second one ends the process at once.
func Main(name string, p Program) {
	ctx, cancel := Interrupted()
	defer cancel()
	os.Exit(Run(ctx, name, p, os.Args[1:], os.Stdout, os.Stderr))
}

// Interrupted returns a context that ends with SIGTERM or Ctrl-C.
func Interrupted() (context.Context, context.CancelFunc) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second one ends the process at once
	return ctx, cancel
}

// Run runs an example and returns its exit code: 0 if all is well, 1 if not, 2
// if it was called wrongly.
func Run(ctx context.Context, name string, p Program, args []string, stdout, stderr io.Writer) (exitCode int) {
	stdout, stderr = Shared(stdout), Shared(stderr)
	f, exitCode, ok := Parse(name, args, stderr, p.Flags)
	if !ok {
		return exitCode
	}
	progress := stdout
	if f.json {
		progress = stderr
	}
	result, err := p.Run(ctx, progress, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	if result == nil {
		return 0
	}
	if !f.json {
		result.Print(stdout)
	} else if err := json.NewEncoder(stdout).Encode(result); err != nil {
		return 1
	}
	if !result.OK() {
		return 1
	}
	return 0
}

// Shared returns a writer for several goroutines.
func Shared(w io.Writer) io.Writer { return &shared{w: w} }

type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// Logger returns a logger that leaves out what is below a level.
func Logger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
