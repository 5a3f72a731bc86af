package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// A job is one run: all that the process with the Mapping gets to know.
type job struct {
	Scenario     scenario
	Mode         mode
	Brokers      []string
	Topic, Group string
}

// An outcome is what that process says of itself in the end.
type outcome struct {
	Summary summary
	Samples []sample
}

// A message is what it writes to its stdout: lines to be shown, and then one of
// the others.
type message struct {
	Line    string   `json:",omitempty"`
	Outcome *outcome `json:",omitempty"`
	Error   string   `json:",omitempty"`
}

// childEnv marks the process with the Mapping.
const childEnv = "ESM_EXAMPLE_DRAIN_CHILD"

func isChild() bool { return os.Getenv(childEnv) != "" }

// spawn runs the job in a process of its own. When ctx ends, the Mapping is
// stopped, and the outcome is what was done by then.
func (j *job) spawn(ctx context.Context, progress, stderr io.Writer) (*outcome, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// The end of its input ends the other process: of all that there is, this
	// works on every system, even when this process is killed.
	defer context.AfterFunc(ctx, func() { _ = stdin.Close() })()
	last, err := j.talk(stdin, stdout, progress)
	_ = stdin.Close() // it may be closed already
	waitErr := cmd.Wait()
	switch {
	case last.Outcome != nil:
		return last.Outcome, nil
	case last.Error != "":
		return nil, errors.New(last.Error)
	}
	return nil, fmt.Errorf("the process of the Mapping ended without a word: %w", errors.Join(err, waitErr))
}

// talk hands the job over, shows the lines and returns the last message.
func (j *job) talk(stdin io.Writer, stdout io.Reader, progress io.Writer) (last message, err error) {
	if err := json.NewEncoder(stdin).Encode(j); err != nil {
		return last, err
	}
	for in := json.NewDecoder(stdout); ; {
		var m message
		if err := in.Decode(&m); err != nil {
			return last, err
		}
		if m.Line == "" {
			last = m
			_, err := io.Copy(io.Discard, stdout)
			return last, err
		}
		fmt.Fprintln(progress, m.Line)
	}
}

// serve is the other end: it runs the job that comes in, until it is done or
// the input ends.
func serve(stdin io.Reader, stdout, stderr io.Writer) (exitCode int) {
	// Ctrl-C reaches both processes. The parent's word is what counts.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := json.NewEncoder(stdout)
	var j job
	err := json.NewDecoder(stdin).Decode(&j)
	if err == nil {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
		var o *outcome
		o, err = j.run(ctx, func(line string) { _ = out.Encode(message{Line: line}) }, stderr)
		if err == nil {
			err = out.Encode(message{Outcome: o})
		}
	}
	if err != nil {
		_ = out.Encode(message{Error: err.Error()})
		return 1
	}
	return 0
}
