package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// A track is one row of faults, one after the other. The tracks run beside
// each other.
type track int

const (
	// brokersTrack: one broker is away at most, so the cluster never loses data
	// by itself.
	brokersTrack track = iota
	// hostsTrack: members come and go, and rights do. Both on one track, because
	// a Mapping that begins without rights does not start, and is right.
	hostsTrack
	// mappingsTrack: what users do with a Mapping that stays, and what its
	// function and its destination do.
	mappingsTrack
)

var tracks = [...]track{brokersTrack, hostsTrack, mappingsTrack}

// kindsOf are the kinds of each track.
var kindsOf = [...][]kind{
	brokersTrack:  {killBroker, killController, freezeBroker, moveLeaders, hangBroker, cutBroker, swallowBroker},
	hostsTrack:    {joinHost, leaveHost, killHost, freezeHost, haltHost, killAndTake, takeGroup, takeTopic},
	mappingsTrack: {throttle, breakDest, pauseHost, haltForAWhile, updateHost, throttleAndTake, pauseAndTake},
}

func (k kind) track() track {
	for _, t := range tracks {
		for _, of := range kindsOf[t] {
			if of == k {
				return t
			}
		}
	}
	panic(fmt.Sprintf("%q is of no track", string(k)))
}

// follow does the faults of one track, one after the other, each at its time or
// when the one before it is over.
func (p *parent) follow(ctx context.Context, t track) error {
	for _, f := range p.plan.Faults {
		if f.Kind.track() != t {
			continue
		}
		if !sleep(ctx, time.Until(p.began.Add(f.At))) {
			return nil
		}
		planned := f.At
		f.At = time.Since(p.began)
		fmt.Println(f)
		do := p.do
		if t == brokersTrack {
			do = p.breakBroker
		}
		if err := do(ctx, f); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s, planned at %s: %w", f.Kind, planned, err)
		}
		p.judge.did(f.Kind)
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

// say notes something that the parent does.
func (p *parent) say(kind, host string) {
	p.judge.add(line{At: time.Now().UnixNano(), Host: host, Kind: kind})
}

// breakBroker does a fault of a broker, and tells when it begins and when it is
// over.
func (p *parent) breakBroker(ctx context.Context, f fault) error {
	ask, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	if f.Kind == killController {
		var err error
		if f.Broker, err = p.cluster.Controller(ask, p.client); err != nil {
			return fmt.Errorf("find the controller: %w", err)
		}
	}
	coordinator, err := p.coordinator(ask)
	if err != nil {
		return fmt.Errorf("find the coordinator: %w", err)
	}
	moves := f.Kind == moveLeaders // that of the group, too
	switch f.Kind {
	case killBroker, killController, freezeBroker:
		moves = coordinator == f.Broker
	}
	defer p.fault(f.Kind, moves)()
	switch f.Kind {
	case killBroker, killController:
		if err := p.cluster.Kill(f.Broker); err != nil {
			return err
		}
		sleep(ctx, f.For)
		if err := p.cluster.Restart(ctx, f.Broker); err != nil {
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
	case hangBroker, cutBroker, swallowBroker:
		proxy := p.proxies[f.Broker]
		switch f.Kind {
		case hangBroker:
			proxy.hang()
		case cutBroker:
			proxy.cut()
		case swallowBroker:
			proxy.swallow() // for good
		}
		sleep(ctx, f.For)
		proxy.flow()
	}
	return nil
}

// fault tells that a fault of brokers begins. What it returns tells that it is
// over.
func (p *parent) fault(k kind, coordinator bool) (over func()) {
	tell := func(what string) {
		p.judge.add(line{At: time.Now().UnixNano(), Host: "parent", Kind: what, Fault: k, Coordinator: coordinator})
	}
	tell(lineFault)
	return func() { tell(lineHealed) }
}

// do does what is no fault of a broker.
func (p *parent) do(ctx context.Context, f fault) error {
	switch f.Kind {
	case joinHost:
		return p.startHost(f.Host)
	case takeGroup, takeTopic:
		return p.takeRights(ctx, f)
	}
	h, err := p.find(f.Host)
	if first := p.plan.Hosts[0]; err != nil && f.Kind.track() == mappingsTrack {
		// On a slow machine a track gets behind the others: the host has gone, or
		// has not come. The first one is always there.
		fmt.Printf("          (%v: %s instead)\n", err, first)
		h, err = p.find(first)
	}
	if err != nil {
		return err
	}
	switch f.Kind {
	case killHost:
		p.forget(h)
		h.kill()
	case killAndTake:
		p.forget(h)
		of := p.judge.waitingOf(h.name)
		h.kill()
		// What it had not read comes meanwhile, and its session goes on.
		sleep(ctx, sessionTimeout/3)
		return p.take(ctx, of)
	case freezeHost:
		p.say(lineFrozen, h.name) // before it is, and
		err := kafkatest.Freeze(h.cmd.Process)
		sleep(ctx, f.For)
		err = errors.Join(err, kafkatest.Thaw(h.cmd.Process))
		p.say(lineThawed, h.name) // after it was
		return err
	case leaveHost:
		p.forget(h)
		// The track goes on: it is the group that has to wait.
		go p.accuse(func() error { return p.leave(h) })
	case haltHost:
		if err := h.order("%s 0s", orderHalt); err != nil {
			return err
		}
		p.forget(h)
		go p.accuse(func() error { return h.gone(orderHalt) })
	case throttle:
		return h.lasts(ctx, orderThrottle, f.For, f.For)
	case breakDest:
		return h.lasts(ctx, orderBreak, f.For, f.For)
	case pauseHost:
		return h.lasts(ctx, orderPause, f.For, f.For)
	case throttleAndTake, pauseAndTake:
		order := orderThrottle
		if f.Kind == pauseAndTake {
			order = orderPause
		}
		if err := h.lasts(ctx, order, f.For, f.For/2); err != nil {
			return err
		}
		err := p.take(ctx, p.judge.waitingOf(h.name))
		sleep(ctx, f.For/2)
		return err
	case haltForAWhile:
		return h.lasts(ctx, orderHalt, f.For, f.For)
	case updateHost:
		return h.order("%s %d", orderUpdate, f.Options)
	}
	return nil
}

// lasts tells a host what to do for some time, and waits for some.
func (h *process) lasts(ctx context.Context, order string, d, wait time.Duration) error {
	err := h.order("%s %s", order, d)
	sleep(ctx, wait)
	return err
}

// accuse takes what goes wrong for a broken promise.
func (p *parent) accuse(f func() error) {
	if err := f(); err != nil {
		_ = p.judge.broken("%v", err)
	}
}

// healed waits until the cluster can bear the next fault.
func (p *parent) healed(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	return kafkatest.InSync(ctx, p.admin, append(topicNames(), offsetsTopic, transactionsTopic)...)
}

// coordinator is the broker, counted from 0, that has the group.
func (p *parent) coordinator(ctx context.Context) (int, error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKeys = []string{group}
	for {
		resp, err := req.RequestWith(ctx, p.client)
		if err == nil {
			for _, c := range resp.Coordinators {
				if err = kerr.ErrorForCode(c.ErrorCode); err == nil {
					return int(c.NodeID) - 1, nil
				}
			}
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return 0, errors.Join(err, context.Cause(ctx))
		}
	}
}

// moveLeaders makes the next replica of each partition its leader. One of the
// offsets topic's coordinates the group.
func (p *parent) moveLeaders(ctx context.Context) error {
	ask, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	names := append(topicNames(), offsetsTopic)
	details, err := p.admin.ListTopicsWithInternal(ask, names...)
	if err != nil {
		return err
	}
	var (
		moves kadm.AlterPartitionAssignmentsReq
		all   kadm.TopicsSet
	)
	for _, t := range details {
		for n, d := range t.Partitions {
			if len(d.Replicas) > 1 {
				moves.Assign(t.Topic, n, slices.Concat(d.Replicas[1:], d.Replicas[:1]))
				all.Add(t.Topic, n)
			}
		}
	}
	if _, err := p.admin.AlterPartitionAssignments(ask, moves); err != nil {
		return err
	}
	_, err = p.admin.ElectLeaders(ask, kadm.ElectPreferredReplica, all)
	return err
}
