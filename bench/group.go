package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/bench/job"
	"github.com/seed429fd032/esm/bench/topics"
)

// churn drains while a second member comes and goes, four times as often as
// the run is long.
func (b *bench) churn(ctx context.Context, c contender, sh shape) (r result, err error) {
	each := sh.Records / int64(sh.Partitions)
	topic, err := b.fill(ctx, "", sh, each)
	if err != nil {
		return r, err
	}
	s := b.spec(c, "E", topic, sh)
	s.Cut, s.Detail = 0, true
	var members []*child
	defer func() {
		for _, m := range members {
			m.tell()
		}
	}()
	add := func() error {
		m, err := start(ctx, b.commands[c.peer], s)
		if err == nil {
			members = append(members, m)
		}
		return err
	}
	if err := add(); err != nil {
		return r, err
	}
	if err := members[0].begun(ctx); err != nil {
		return r, err
	}
	began := time.Now()
	for quarter := 1; quarter <= 4; quarter++ {
		if err := wait(ctx, time.Until(began.Add(sh.Limit*time.Duration(quarter)/4))); err != nil {
			return r, err
		}
		switch quarter {
		case 1, 3:
			err = add()
		case 2:
			members[len(members)-1].tell()
		}
		if err != nil {
			return r, err
		}
	}
	until := time.Now().UnixMilli()
	for _, m := range members {
		m.tell()
	}
	var reports []job.Report
	var notes []error
	for _, m := range members {
		if err := m.end(ctx, endLimit); err != nil {
			return r, err
		}
		cpu, rss := m.used()
		r.CPUSeconds += cpu
		r.PeakRSS = max(r.PeakRSS, rss)
		reports = append(reports, m.report)
		if m.report.Note != "" {
			notes = append(notes, errors.New(m.report.Note))
		}
	}
	ch, total := churnOf(reports, each, until)
	r.Churn, r.Report = &ch, total
	r.WaitSeconds, r.Versions, r.Settings, r.Cut = reports[0].WaitSeconds, reports[0].Versions, reports[0].Settings, true
	if err := errors.Join(notes...); err != nil {
		r.Note = err.Error()
	}
	return r, nil
}

// trickle sends a record each 10 ms, and lets a contender and the bare loop
// read them at the same time.
func (b *bench) trickle(ctx context.Context, c contender, sh shape) (r result, err error) {
	topic := fmt.Sprintf("%s-trickle-%d", b.topic, time.Now().UnixNano())
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return r, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if err := topics.Create(ctx, adm, topic, sh.Partitions, 1); err != nil {
		return r, err
	}
	defer func() { _, _ = adm.DeleteTopic(context.WithoutCancel(ctx), topic) }() // it is small
	var pair []*child
	defer func() {
		for _, p := range pair {
			p.tell()
		}
	}()
	for _, one := range []contender{c, bare} {
		s := b.spec(one, "F", topic, sh)
		s.Window, s.Cut, s.Latency = 0, 0, true
		p, err := start(ctx, b.commands[one.peer], s)
		if err != nil {
			return r, err
		}
		pair = append(pair, p)
	}
	// Records without a send time until both have all partitions.
	send := newSender(cl, sh)
	warm := make(chan error, 1)
	go func() {
		err := errors.Join(pair[0].begun(ctx), pair[1].begun(ctx))
		if err == nil {
			err = wait(ctx, 5*time.Second)
		}
		warm <- err
	}()
	if err := send.until(ctx, warm, false); err != nil {
		return r, err
	}
	over := make(chan error, 1)
	go func() { over <- wait(ctx, sh.Limit) }()
	if err := send.until(ctx, over, true); err != nil {
		return r, err
	}
	if err := wait(ctx, time.Second); err != nil {
		return r, err
	}
	return ended(ctx, pair)
}

// ended ends a contender and the bare loop beside it, and is the result of both.
func ended(ctx context.Context, pair []*child) (r result, err error) {
	for _, p := range pair {
		p.tell()
	}
	for _, p := range pair {
		if err := p.end(ctx, endLimit); err != nil {
			return r, err
		}
	}
	r.Report = pair[0].report
	r.CPUSeconds, r.PeakRSS = pair[0].used()
	other := pair[1].report
	other.Versions, other.Settings = nil, nil
	r.Pair = &other
	return r, nil
}

// A sender produces one record after the other, to the partitions in turn.
type sender struct {
	cl *kgo.Client
	sh shape
	n  int
}

func newSender(cl *kgo.Client, sh shape) *sender { return &sender{cl: cl, sh: sh} }

// until sends until there is something in over, which it returns.
func (s *sender) until(ctx context.Context, over <-chan error, timed bool) error {
	tick := time.NewTicker(tricklePer)
	defer tick.Stop()
	failed := make(chan error, 1)
	for {
		select {
		case err := <-over:
			return err
		case err := <-failed:
			return err
		case <-tick.C:
		}
		value := make([]byte, max(8, s.sh.Size))
		if timed {
			binary.BigEndian.PutUint64(value, uint64(time.Now().UnixNano()))
		}
		s.cl.Produce(ctx, &kgo.Record{Partition: int32(s.n % s.sh.Partitions), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
		s.n++
	}
}

// wait waits.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
