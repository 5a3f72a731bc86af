package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// rights are those that the hosts have, by topics and groups. Each is to read,
// and what comes with that: to describe. The parent and the brokers may do
// everything.
type rights struct{ topics, groups []string }

func allRights() rights { return rights{topicNames(), []string{group}} }

// rightsTime is how long it may take to change them while brokers are broken.
const rightsTime = time.Minute

// acl is what they are to the brokers, as a filter or to be made.
func (r rights) acl() *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:" + kafkatest.User).AllowHosts().ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead)
	if len(r.topics) > 0 { // none would be all, in a filter
		b.Topics(r.topics...)
	}
	if len(r.groups) > 0 {
		b.Groups(r.groups...)
	}
	return b
}

func (p *parent) giveRights(ctx context.Context, r rights) error {
	return insist(ctx, rightsTime, func(ctx context.Context) error {
		made, err := p.admin.CreateACLs(ctx, r.acl())
		for _, m := range made {
			err = errors.Join(err, m.Err)
		}
		return err
	})
}

func (p *parent) removeRights(ctx context.Context, r rights) error {
	return insist(ctx, rightsTime, func(ctx context.Context) error {
		gone, err := p.admin.DeleteACLs(ctx, r.acl())
		for _, g := range gone {
			err = errors.Join(err, g.Err)
		}
		return err
	})
}

// rightsOf are those that a fault takes.
func rightsOf(f fault) rights {
	if f.Kind == takeTopic {
		return rights{topics: []string{f.Topic}}
	}
	return rights{groups: []string{group}}
}

// takeRights takes some away, and gives them back. All hosts have started: one
// that begins without rights says so and ends, and is right.
func (p *parent) takeRights(ctx context.Context, f fault) error {
	if !p.allStarted(ctx) {
		return nil
	}
	r := rightsOf(f)
	defer p.fault(f.Kind, false)()
	if err := p.removeRights(ctx, r); err != nil {
		return fmt.Errorf("take rights: %w", err)
	}
	sleep(ctx, f.For)
	if err := p.giveRights(ctx, r); err != nil {
		return fmt.Errorf("give rights back: %w", err)
	}
	return nil
}

// allStarted waits until all hosts that there are have started, and reports
// whether ctx lasted as long.
func (p *parent) allStarted(ctx context.Context) bool {
	for {
		p.mu.Lock()
		starting := false
		for name := range p.hosts {
			starting = starting || p.judge.starting(name)
		}
		p.mu.Unlock()
		if !starting || !sleep(ctx, 100*time.Millisecond) {
			return ctx.Err() == nil
		}
	}
}

// insist tries again until it is done, for so long.
func insist(ctx context.Context, most time.Duration, try func(context.Context) error) error {
	ctx, done := context.WithTimeout(ctx, most)
	defer done()
	for {
		ask, done := context.WithTimeout(ctx, 5*time.Second)
		err := try(ask)
		done()
		if err == nil || !sleep(ctx, 200*time.Millisecond) {
			return err
		}
	}
}
