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

	"github.com/seed429fd032/esm/internal/kafkatest"
)

// errBroken says that a promise was broken. What it was has been printed.
var errBroken = errors.New("a promise was broken")

const (
	topic = "orders"
	group = "billing"
	// settle is how long the hosts have at the end to handle all there is.
	settle = 90 * time.Second
)

// A parent runs the whole: it holds the cluster, the proxies and the hosts.
type parent struct {
	settings
	began   time.Time
	cluster *kafkatest.Cluster
	client  *kgo.Client // past the proxies
	admin   *kadm.Client
	proxies []*proxy
	commits *commitLog
	judge   *judge

	mu    sync.Mutex
	hosts map[string]*process
}

func run(ctx context.Context, s settings) (err error) {
	fmt.Print(s.plan)
	p := &parent{settings: s, hosts: map[string]*process{}, judge: newJudge()}
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
	producer := newProducer(p.client, s.rate)
	beside.Go(func() { endIf(stop, producer.run(producing)) })
	watcher := &watcher{admin: p.admin, ends: producer.ends, judge: p.judge, moved: map[int32]time.Time{}, last: map[int32]int64{}}
	beside.Go(func() { endIf(stop, watcher.run(ctx)) })
	beside.Go(func() { endIf(stop, p.commits.run(ctx)) })
	beside.Go(func() { endIf(stop, p.judge.run(ctx)) })
	beside.Go(func() { p.progress(ctx, producer) })

	p.began = time.Now()
	for _, name := range s.plan.Hosts {
		if err := p.startHost(name); err != nil {
			return err
		}
	}
	var tracks sync.WaitGroup
	for _, onBrokers := range []bool{true, false} {
		tracks.Go(func() { endIf(stop, p.track(ctx, onBrokers)) })
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(p.began.Add(s.plan.For))):
	}
	tracks.Wait()
	if ctx.Err() == nil {
		fmt.Println("the faults are over: all that was produced has to be handled now")
		enough()
		producer.wait()
		err = watcher.wait(ctx, settle)
		if err == nil {
			err = p.commits.wait(ctx, producer.ends(), 20*time.Second)
		}
		if err == nil {
			err = p.quiet(ctx)
		}
		endIf(stop, err)
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errBroken) {
		return err
	}
	return p.summary(producer, watcher, ctx.Err() == nil)
}

// endIf ends what runs if there is an error.
func endIf(stop context.CancelCauseFunc, err error) {
	if err != nil {
		stop(err)
	}
}

func (p *parent) start(ctx context.Context) error {
	config := kafkatest.Config{Brokers: brokers, Properties: map[string]string{
		// One that is frozen is missed as soon as one that is gone.
		"replica.lag.time.max.ms": "3000",
		// In KIP-848 the session is the broker's to choose.
		"group.consumer.min.session.timeout.ms":    "1000",
		"group.consumer.session.timeout.ms":        strconv.FormatInt(sessionTimeout.Milliseconds(), 10),
		"group.consumer.min.heartbeat.interval.ms": "500",
		"group.consumer.heartbeat.interval.ms":     "1000",
	}}
	if p.logs != "" {
		if err := os.MkdirAll(p.logs, 0o755); err != nil {
			return err
		}
		log, err := os.Create(filepath.Join(p.logs, "brokers.log"))
		if err != nil {
			return err
		}
		config.Log = log // ends with this process
	}
	var err error
	if p.cluster, err = kafkatest.Start(ctx, config); err != nil {
		return err
	}
	seeds := make([]string, 0, brokers)
	for _, addr := range p.cluster.Addrs {
		proxy, err := newProxy(addr)
		if err != nil {
			return err
		}
		p.proxies = append(p.proxies, proxy)
		seeds = append(seeds, addr)
	}
	p.client, err = kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(20*time.Millisecond), kgo.MetadataMinAge(250*time.Millisecond), kgo.MetadataMaxAge(10*time.Second))
	if err != nil {
		return err
	}
	p.admin = kadm.NewClient(p.client)
	if p.commits, err = newCommitLog(seeds, p.judge); err != nil {
		return err
	}
	if _, err := p.admin.CreateTopic(ctx, partitions, brokers, nil, topic); err != nil {
		return fmt.Errorf("create the topic: %w", err)
	}
	return kafkatest.InSync(ctx, p.admin, topic)
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

// progress prints a line every ten seconds.
func (p *parent) progress(ctx context.Context, producer *producer) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			produced := producer.total()
			p.judge.mu.Lock()
			c := p.judge.checker
			fmt.Printf("%7.1fs  %d produced, %d handled, %d repeats (%d allowed), %d calls, %d fetches a second at most (%s)\n",
				time.Since(p.began).Seconds(), produced, c.handled, c.repeats, c.mayRepeat, c.calls, c.busiest.fetches, c.busiest.host)
			c.busiest.fetches = 0
			p.judge.mu.Unlock()
		}
	}
}

// quiet stops the hosts, after it looked at how they are now that there is
// nothing to do.
func (p *parent) quiet(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(5 * time.Second):
	}
	p.mu.Lock()
	hosts := make([]*process, 0, len(p.hosts))
	for _, h := range p.hosts {
		hosts = append(hosts, h)
	}
	p.mu.Unlock()
	p.judge.flat()
	for _, h := range hosts {
		if err := h.leave(); err != nil {
			return err
		}
	}
	return p.judge.rest()
}

// summary says how it was.
func (p *parent) summary(producer *producer, watcher *watcher, whole bool) error {
	p.judge.mu.Lock()
	defer p.judge.mu.Unlock()
	c := p.judge.checker
	if whole {
		c.handledAll(line{At: time.Now().UnixNano(), Host: "parent"}, producer.ends())
		c.repeatsBounded()
	}
	fmt.Printf("\nproduced %d, handled %d in %d calls; repeats %d, of %d that %d ungraceful ends allow; longest without a commit %s\n",
		producer.total(), c.handled, c.calls, c.repeats, c.mayRepeat, c.ungraceful, watcher.longest.Round(100*time.Millisecond))
	if c.stale > 0 {
		fmt.Printf("%d assignments began before a commit that a broker had acknowledged just before it was taken away\n", c.stale)
	}
	var goroutines, heap, held, fetches, busiest int64
	for _, h := range c.hosts {
		goroutines, heap, held = max(goroutines, h.goroutines), max(heap, h.heap), max(held, h.held)
		fetches, busiest = max(fetches, h.fetches), max(busiest, h.busiest)
	}
	fmt.Printf("of %d hosts at most: %d goroutines, %d MiB of live heap, %d KiB held, %d fetches a second (%d seconds in a row with %d or more), %d problems named\n",
		len(c.hosts), goroutines, heap>>20, held>>10, fetches, busiest, tooManyFetches, c.problems)
	if len(c.violations) == 0 {
		fmt.Println("0 violations")
		return nil
	}
	for _, v := range c.violations {
		fmt.Printf("\nVIOLATION  %s\n", v)
	}
	fmt.Printf("\n%d violations. The plan was:\n%s\nagain: go run ./internal/faults -seed %d -for %s -protocol %s -rate %d\n",
		len(c.violations), p.plan, p.plan.Seed, p.plan.For, p.plan.Protocol, p.rate)
	return errBroken
}
