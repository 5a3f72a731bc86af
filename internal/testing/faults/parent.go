package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// errBroken says that a promise was broken. What it was has been printed.
var errBroken = errors.New("a promise was broken")

const (
	group = "billing"
	// settle is how long the hosts have at the end to handle all there is.
	settle = 90 * time.Second
)

// A parent runs the whole: it holds the cluster, the proxies and the hosts.
type parent struct {
	job
	began      time.Time
	cluster    *kafkatest.Cluster
	client     *kgo.Client // past the proxies
	admin      *kadm.Client
	producer   *producer
	bookkeeper *bookkeeper
	proxies    []*proxy
	commits    *commitLog
	judge      *judge

	mu    sync.Mutex
	hosts map[string]*process
}

func run(ctx context.Context, s job) (err error) {
	fmt.Print(s.plan)
	p := &parent{job: s, hosts: map[string]*process{}, judge: newJudge(s.plan.Seed)}
	p.judge.checker.most = s.most
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.start(ctx); err != nil {
		return err
	}
	fmt.Printf("\n%d brokers, %d partitions, %d records/s\n", brokers, partitions, s.rate)

	// What runs beside the faults ends with any of them, or with a promise
	// that is broken.
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop(nil)
	producing, enough := context.WithCancel(ctx)
	defer enough()
	beside.Go(func() { endIf(stop, p.producer.run(producing)) })
	beside.Go(func() { endIf(stop, p.bookkeeper.run(producing)) })
	watcher := &watcher{admin: p.admin, ends: p.ends, judge: p.judge, moved: map[int32]time.Time{}, last: map[int32]int64{}}
	beside.Go(func() { endIf(stop, watcher.run(ctx)) })
	beside.Go(func() { endIf(stop, p.commits.run(ctx)) })
	beside.Go(func() { endIf(stop, p.judge.run(ctx)) })
	beside.Go(func() { p.tellEnds(ctx) })
	beside.Go(func() { p.progress(ctx) })

	p.began = time.Now()
	for _, name := range s.plan.Hosts {
		if err := p.startHost(name); err != nil {
			return err
		}
	}
	var done sync.WaitGroup
	for _, t := range tracks {
		done.Go(func() { endIf(stop, p.follow(ctx, t)) })
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(p.began.Add(s.plan.For))):
	}
	done.Wait()
	var ends map[int32]int64
	if ctx.Err() == nil {
		fmt.Println("the faults are over: all that was produced has to be handled now")
		enough()
		ends, err = p.finish(ctx, watcher)
		endIf(stop, err)
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errBroken) {
		return err
	}
	return p.summary(watcher, ends, ctx.Err() == nil)
}

// endIf ends what runs if there is an error.
func endIf(stop context.CancelCauseFunc, err error) {
	if err != nil {
		stop(err)
	}
}

func (p *parent) start(ctx context.Context) error {
	// The hosts log in, and so have rights that can be taken away.
	config := kafkatest.Config{Brokers: brokers, Secure: true, Properties: map[string]string{
		// One that is frozen is missed as soon as one that is gone.
		"replica.lag.time.max.ms": "3000",
		// In KIP-848 the session is the broker's to choose.
		"group.consumer.min.session.timeout.ms":    "1000",
		"group.consumer.session.timeout.ms":        strconv.FormatInt(sessionTimeout.Milliseconds(), 10),
		"group.consumer.min.heartbeat.interval.ms": "500",
		"group.consumer.heartbeat.interval.ms":     "1000",
		// The pause of the compaction.
		"log.cleaner.backoff.ms": "500",
		// The group moves when it is moved, and not by itself: what is excused
		// by that has a time.
		"auto.leader.rebalance.enable": "false",
	}}
	if p.logs != "" {
		if err := os.MkdirAll(p.logs, 0o755); err != nil {
			return err
		}
		log, err := os.Create(filepath.Join(p.logs, "brokers.log"))
		if err != nil {
			return err
		}
		lines, err := os.Create(filepath.Join(p.logs, "lines.log"))
		if err != nil {
			return err
		}
		config.Log, p.judge.lines = log, lines // they end with this process
	}
	var err error
	if p.cluster, err = kafkatest.Start(ctx, config); err != nil {
		return err
	}
	seeds := p.cluster.Addrs
	for _, addr := range p.cluster.Security.Login {
		proxy, err := newProxy(addr)
		if err != nil {
			return err
		}
		p.proxies = append(p.proxies, proxy)
	}
	if p.client, err = kgo.NewClient(clientOpts(seeds)...); err != nil {
		return err
	}
	p.admin = kadm.NewClient(p.client)
	if p.commits, err = newCommitLog(seeds, p.judge); err != nil {
		return err
	}
	for _, t := range topics {
		settings := map[string]*string{}
		for key, value := range t.settings {
			settings[key] = &value
		}
		if _, err := p.admin.CreateTopic(ctx, t.partitions, brokers, settings, t.name); err != nil {
			return fmt.Errorf("create topic %s: %w", t.name, err)
		}
	}
	if err := p.giveRights(ctx, allRights()); err != nil {
		return err
	}
	if err := kafkatest.InSync(ctx, p.admin, topicNames()...); err != nil {
		return err
	}
	p.bookkeeper = newBookkeeper(seeds, p.plan.Seed, max(1, p.rate*share/100), p.judge.add)
	if p.producer, err = newProducer(seeds, p.plan.Seed, p.rate, p.judge.behind); err != nil {
		return err
	}
	return p.producer.prefill(ctx)
}

// close ends all that was started.
func (p *parent) close() (err error) {
	p.mu.Lock()
	hosts := p.hosts
	p.hosts = nil
	p.mu.Unlock()
	for _, h := range hosts {
		h.kill()
	}
	if p.producer != nil {
		p.producer.close()
	}
	if p.client != nil {
		p.client.Close()
	}
	if p.commits != nil {
		p.commits.client.Close()
	}
	for _, proxy := range p.proxies {
		err = errors.Join(err, proxy.close())
	}
	if p.cluster != nil {
		err = errors.Join(err, p.cluster.Stop())
	}
	return err
}

// ends are the ends of all partitions, as far as is known: after the last
// record, and where a marker of a transaction may follow.
func (p *parent) ends() map[int32]int64 {
	ends := map[int32]int64{}
	p.producer.endsOf(ends)
	p.bookkeeper.endsOf(ends)
	return ends
}

// finish waits until all that was produced is handled and committed, to where
// the brokers say that it ends, and stops the hosts. It returns those ends.
func (p *parent) finish(ctx context.Context, watcher *watcher) (map[int32]int64, error) {
	p.producer.wait()
	p.bookkeeper.wait()
	ends, err := p.listEnds(ctx)
	if err == nil {
		err = watcher.wait(ctx, ends, settle)
	}
	if err == nil {
		err = p.commits.wait(ctx, ends, 20*time.Second)
	}
	if err == nil {
		err = p.lastTaken(ctx, ends)
	}
	if err == nil {
		err = p.quiet(ctx)
	}
	return ends, err
}

// listEnds asks the brokers how far the partitions can be read. Soon that is
// not less than what they acknowledged: the markers of the last transaction may
// come after the word that it has ended.
func (p *parent) listEnds(ctx context.Context) (map[int32]int64, error) {
	ask, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	known := p.ends()
	for {
		listed, err := p.admin.ListCommittedOffsets(ask, topicNames()...)
		if err == nil {
			err = listed.Error()
		}
		ends := map[int32]int64{}
		listed.Each(func(o kadm.ListedOffset) { ends[number(o.Topic, o.Partition)] = o.Offset })
		for n, at := range known {
			if ends[n] < at && err == nil {
				err = fmt.Errorf("%s ends at %d, as the brokers say, and they acknowledged what is before %d", nameOf(n), ends[n], at)
			}
		}
		if err == nil {
			return ends, nil
		}
		if !sleep(ask, 200*time.Millisecond) {
			return nil, fmt.Errorf("list the ends: %w", err)
		}
	}
}

// quiet stops the hosts, after it looked at how they are now that there is
// nothing to do.
func (p *parent) quiet(ctx context.Context) error {
	if !sleep(ctx, 5*time.Second) {
		return nil
	}
	p.mu.Lock()
	hosts := make([]*process, 0, len(p.hosts))
	for _, h := range p.hosts {
		hosts = append(hosts, h)
	}
	p.mu.Unlock()
	p.judge.flat()
	for _, h := range hosts {
		if err := p.leave(h); err != nil {
			return err
		}
	}
	return p.judge.rest()
}
