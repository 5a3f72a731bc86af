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

	"github.com/seed429fd032/esm/bench/topics"
)

// singleLimit is how long one record may take.
const singleLimit = 30 * time.Second

// single sends one record after the other: one for the contender, and when that is
// handled, one for the bare loop, on a topic of its own. So neither takes
// processors from the other while it is measured, and whatever the machine does
// meets both.
func (b *bench) single(ctx context.Context, c contender, sh shape) (r result, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return r, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var pair []*child
	var made []string
	defer func() {
		for _, p := range pair {
			p.tell()
		}
		_, _ = adm.DeleteTopics(context.WithoutCancel(ctx), made...) // they are small
	}()
	for _, one := range []contender{c, bare} {
		topic := fmt.Sprintf("%s-single-%s-%d", b.topic, one.name, time.Now().UnixNano())
		if err := topics.Create(ctx, adm, topic, sh.Partitions, 1); err != nil {
			return r, err
		}
		made = append(made, topic)
		s := b.spec(one, "J", topic, sh)
		s.Window, s.Cut, s.Latency, s.Echo = 0, 0, true, true
		p, err := start(ctx, b.commands[one.peer], s)
		if err != nil {
			return r, err
		}
		pair = append(pair, p)
	}
	for n := range warmUp + int(sh.Records) {
		for i, p := range pair {
			value := make([]byte, max(8, sh.Size))
			if n >= warmUp {
				binary.BigEndian.PutUint64(value, uint64(time.Now().UnixNano()))
			}
			record := &kgo.Record{Topic: made[i], Partition: int32(n % sh.Partitions), Value: value}
			if err := cl.ProduceSync(ctx, record).FirstErr(); err != nil {
				return r, err
			}
			if err := p.handles(ctx); err != nil {
				return r, fmt.Errorf("record %d of %s: %w", n, made[i], err)
			}
		}
	}
	return ended(ctx, pair)
}

// handles waits until a call has ended.
func (c *child) handles(ctx context.Context) error {
	t := time.NewTimer(singleLimit)
	defer t.Stop()
	select {
	case <-c.handled:
		return nil
	case <-c.ended:
		return errors.Join(c.err, errors.New("it ended before its call"))
	case <-t.C:
		return fmt.Errorf("no call within %s", singleLimit)
	case <-ctx.Done():
		return ctx.Err()
	}
}
