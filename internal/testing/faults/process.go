package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// A process is a host as its parent sees it.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	exited chan struct{}
	killed atomic.Bool // by us
}

// startHost starts a host.
func (p *parent) startHost(name string) error {
	proxies := map[string]string{}
	seeds := p.cluster.Security.Login
	for i, addr := range seeds {
		proxies[addr] = p.proxies[i].addr()
	}
	config, err := json.Marshal(hostConfig{Name: name, Topics: topicNames(), Group: group, Protocol: p.plan.Protocol,
		Proxies: proxies, Seeds: seeds, Seed: p.plan.Seed, Debug: p.logs != "", HaltsForGood: p.plan.haltsForGood(name), GroupCalls: p.most})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h := &process{name: name, exited: make(chan struct{})}
	h.cmd = exec.Command(self, "-host", string(config))
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		return err
	}
	// A pipe of our own: Wait closes the one of StdoutPipe, read or not.
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	h.cmd.Stdout, h.cmd.Stderr = in, os.Stderr
	if p.logs != "" {
		log, err := os.Create(filepath.Join(p.logs, name+".log"))
		if err != nil {
			return err
		}
		defer log.Close()
		h.cmd.Stderr = log
	}
	ended := make(chan error, 1)
	if err := kafkatest.StartChild(h.cmd, func(err error) { ended <- err }); err != nil {
		return fmt.Errorf("start host %s: %w", name, err)
	}
	_ = in.Close() // the child has its own
	p.mu.Lock()
	p.hosts[name] = h
	p.mu.Unlock()
	go func() {
		defer close(h.exited)
		defer out.Close()
		r := bufio.NewReader(out)
		for {
			text, err := r.ReadBytes('\n')
			if err != nil {
				break // what it did not say to the end was not said
			}
			l := line{Host: name}
			if err := json.Unmarshal(text, &l); err != nil {
				p.judge.add(line{At: time.Now().UnixNano(), Host: name, Kind: lineGarbled, Err: fmt.Sprintf("%q: %v", text, err)})
				continue
			}
			p.judge.add(l)
		}
		l := line{Host: name, Kind: lineEnded}
		if err := <-ended; err != nil {
			l.Err = err.Error()
		}
		if h.killed.Load() {
			l.Kind = lineKilled
		}
		l.At = time.Now().UnixNano()
		p.judge.add(l)
	}()
	return nil
}

// find finds a host that is there.
func (p *parent) find(name string) (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[name]
	if h == nil {
		return nil, fmt.Errorf("there is no host %s", name)
	}
	return h, nil
}

// forget takes a host out of those that there are: it is about to end.
func (p *parent) forget(h *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.hosts, h.name)
}

// kill ends a host as a power cut would, and waits for its end.
func (h *process) kill() {
	h.killed.Store(true)
	_ = h.cmd.Process.Kill() // it may have ended
	<-h.exited
}

// order tells a host what to do.
func (h *process) order(format string, args ...any) error {
	order := fmt.Sprintf(format, args...)
	if _, err := io.WriteString(h.stdin, order+"\n"); err != nil {
		return fmt.Errorf("tell host %s to %s: %w", h.name, order, err)
	}
	return nil
}

// leave lets a host stop, and waits for its end.
func (p *parent) leave(h *process) error {
	p.say(lineLeaving, h.name)
	if err := h.order("stop"); err != nil {
		return err
	}
	return h.gone("stop")
}

// gone waits for the end of a host that was told to end.
func (h *process) gone(order string) error {
	select {
	case <-h.exited:
		return nil
	case <-time.After(90 * time.Second):
		return fmt.Errorf("host %s was told to %s, and is there after 90s", h.name, order)
	}
}
