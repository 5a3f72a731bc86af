package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/seed429fd032/esm/internal/kafkatest"
)

// track does the faults of one track, one after the other, each at its time or
// when the one before it is over.
func (p *parent) track(ctx context.Context, onBrokers bool) error {
	for _, f := range p.plan.Faults {
		if f.Kind.onBrokers() != onBrokers {
			continue
		}
		if !sleep(ctx, time.Until(p.began.Add(f.At))) {
			return nil
		}
		planned := f.At
		f.At = time.Since(p.began)
		fmt.Println(f)
		if f.Kind.movesCoordinator() {
			p.judge.add(line{At: time.Now().UnixNano(), Host: "parent", Kind: lineFault})
		}
		if err := p.do(ctx, f); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s, planned at %s: %w", f.Kind, planned, err)
		}
	}
	return nil
}

// sleep waits, and reports whether ctx lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (p *parent) do(ctx context.Context, f fault) error {
	switch f.Kind {
	case killBroker, killController:
		i := f.Broker
		if f.Kind == killController {
			ask, done := context.WithTimeout(ctx, 20*time.Second)
			defer done()
			var err error
			if i, err = p.cluster.Controller(ask, p.client); err != nil {
				return fmt.Errorf("find the controller: %w", err)
			}
		}
		if err := p.cluster.Kill(i); err != nil {
			return err
		}
		sleep(ctx, f.For)
		if err := p.cluster.Restart(ctx, i); err != nil {
			return err
		}
		return p.healed(ctx)
	case freezeBroker:
		process := p.cluster.Process(f.Broker)
		err := kafkatest.Freeze(process)
		sleep(ctx, f.For)
		if err := errors.Join(err, kafkatest.Thaw(process)); err != nil {
			return err
		}
		return p.healed(ctx)
	case moveLeaders:
		return p.moveLeaders(ctx)
	case hangBroker, cutBroker:
		proxy := p.proxies[f.Broker]
		if f.Kind == hangBroker {
			proxy.hang()
		} else {
			proxy.cut()
		}
		sleep(ctx, f.For)
		proxy.flow()
	case killHost:
		h, err := p.take(f.Host)
		if err != nil {
			return err
		}
		h.kill()
	case freezeHost:
		p.mu.Lock()
		h := p.hosts[f.Host]
		p.mu.Unlock()
		if h == nil {
			return fmt.Errorf("there is no host %s", f.Host)
		}
		err := kafkatest.Freeze(h.cmd.Process)
		sleep(ctx, f.For)
		return errors.Join(err, kafkatest.Thaw(h.cmd.Process))
	case joinHost:
		return p.startHost(f.Host)
	case leaveHost:
		h, err := p.take(f.Host)
		if err != nil {
			return err
		}
		// The track goes on: it is the group that has to wait.
		go func() {
			if err := h.leave(); err != nil {
				_ = p.judge.broken("%v", err)
			}
		}()
	}
	return nil
}

// healed waits until the cluster can bear the next fault.
func (p *parent) healed(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	return kafkatest.InSync(ctx, p.admin, topic, offsetsTopic)
}

// moveLeaders makes the next replica of each partition its leader.
func (p *parent) moveLeaders(ctx context.Context) error {
	ask, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	details, err := p.admin.ListTopics(ask, topic)
	if err != nil {
		return err
	}
	var (
		moves kadm.AlterPartitionAssignmentsReq
		all   kadm.TopicsSet
	)
	for n, d := range details[topic].Partitions {
		if len(d.Replicas) > 1 {
			moves.Assign(topic, n, append(d.Replicas[1:len(d.Replicas):len(d.Replicas)], d.Replicas[0]))
			all.Add(topic, n)
		}
	}
	if _, err := p.admin.AlterPartitionAssignments(ask, moves); err != nil {
		return err
	}
	_, err = p.admin.ElectLeaders(ask, kadm.ElectPreferredReplica, all)
	return err
}
