package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/seed429fd032/esm/bench/job"
)

// startLimit is how long a contender may take to its first call, and endLimit
// to its report when it is over.
const (
	startLimit = time.Minute
	endLimit   = 75 * time.Second
)

// A child is the process of a contender in a run.
type child struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	started chan struct{}
	handled chan struct{} // a call has ended, if it was asked to say so
	ended   chan struct{}
	report  job.Report // the rest is there when ended is closed
	got     bool
	err     error
}

// start starts a contender.
func start(ctx context.Context, command []string, s job.Spec) (*child, error) {
	cmd := exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], s.Args()...)...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, stdin: in, started: make(chan struct{}), handled: make(chan struct{}, 1000), ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go c.read(out)
	return c, nil
}

func (c *child) read(out io.Reader) {
	defer close(c.ended)
	var errs []error
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		switch text := strings.TrimSpace(string(line)); {
		case text == job.Started:
			close(c.started)
		case text == job.Handled:
			select {
			case c.handled <- struct{}{}:
			default: // nobody counts them
			}
		case strings.HasPrefix(text, "{"):
			c.got = true
			errs = append(errs, json.Unmarshal(line, &c.report))
		case text != "":
			fmt.Fprintln(os.Stderr, text)
		}
		if err != nil {
			break
		}
	}
	c.err = errors.Join(append(errs, c.cmd.Wait())...)
	if c.err == nil && !c.got {
		c.err = errors.New("it ended without a report")
	}
}

// begun waits for the first call.
func (c *child) begun(ctx context.Context) error {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case <-c.started:
		return nil
	case <-c.ended:
		if c.got && c.err == nil {
			return nil // it was quick
		}
		return errors.Join(c.err, errors.New("it ended before its first call"))
	case <-limit.C:
		c.kill()
		return fmt.Errorf("no call within %s", startLimit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell says that the run is over.
func (c *child) tell() { _ = c.stdin.Close() }

// end waits for the report.
func (c *child) end(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.ended:
		return c.err
	case <-t.C:
		c.kill()
		return fmt.Errorf("no report within %s", limit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// used is what the process used: seconds of CPU, and bytes of memory at most.
// Of all contenders it is measured like that, from outside.
func (c *child) used() (cpu float64, rss int64) {
	s := c.cmd.ProcessState
	return (s.UserTime() + s.SystemTime()).Seconds(), peak(s)
}
