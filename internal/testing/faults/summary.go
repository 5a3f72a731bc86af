package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// progress prints a line every ten seconds.
func (p *parent) progress(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			produced := p.producer.total() + p.bookkeeper.total()
			p.judge.mu.Lock()
			c := p.judge.checker
			fmt.Printf("%7.1fs  %d produced, %d handled, %d repeats (%d allowed), %d calls, %d fetches a second at most (%s)\n",
				time.Since(p.began).Seconds(), produced, c.handled, c.repeats, c.mayRepeat(), c.calls, c.busiest.fetches, c.busiest.host)
			c.busiest.fetches = 0
			p.judge.mu.Unlock()
		}
	}
}

// summary says how it was.
func (p *parent) summary(watcher *watcher, ends map[int32]int64, whole bool) error {
	p.judge.mu.Lock()
	defer p.judge.mu.Unlock()
	c := p.judge.checker
	for _, l := range p.judge.waiting {
		p.judge.keep(l) // what nobody judges any more may say why
	}
	c.crowded(time.Now().UnixNano(), true)
	if now := (line{At: time.Now().UnixNano(), Host: "parent"}); whole {
		c.handledAll(now, ends)
		c.repeatsBounded(now)
	}
	fmt.Printf("\nproduced %d, handled %d in %d calls; repeats %d, of %d that %d ungraceful ends allow; longest without a commit %s\n",
		p.producer.total()+p.bookkeeper.total(), c.handled, c.calls, c.repeats, c.mayRepeat(), c.ungraceful, watcher.longest.Round(100*time.Millisecond))
	if c.stale > 0 {
		fmt.Printf("%d assignments began before a commit that a broker had acknowledged just before it was taken away\n", c.stale)
	}
	fmt.Printf("%d calls began after their partition was lost, by %s at most; two hosts had a partition for %s at most while nothing was broken\n",
		c.late, time.Duration(c.longest.late).Round(time.Millisecond), time.Duration(c.longest.overlap).Round(time.Millisecond))
	fmt.Printf("a partition with records stood still for %s at most without a name, and for %s with one\n",
		time.Duration(c.longest.still).Round(time.Millisecond), time.Duration(c.longest.named).Round(time.Millisecond))
	if c.most > 0 {
		fmt.Printf("the hosts together had %d calls at most, of %d and of %d hosts with one slot; %d calls were counted that outlived their partitions, and %d were too many while a host had lost its own\n",
			c.crowds.highest, c.most, c.crowds.oneSlots, c.crowds.outlived, c.crowds.excused)
	}
	var goroutines, heap, held, fetches, busiest int64
	for _, h := range c.hosts {
		goroutines, heap, held = max(goroutines, h.goroutines), max(heap, h.heap), max(held, h.most)
		fetches, busiest = max(fetches, h.fetches), max(busiest, h.busiest)
	}
	fmt.Printf("of %d hosts at most: %d goroutines, %d MiB of live heap, %d KiB held, %d fetches a second (%d seconds in a row with %d or more), %d problems named\n",
		len(c.hosts), goroutines, heap>>20, held>>10, fetches, busiest, tooManyFetches, c.problems)
	fmt.Printf("seen: %s\n", c.did)
	if len(c.violations) == 0 {
		fmt.Println("0 violations")
		if whole && p.plan.For >= wholeRun && c.crowds.highest < c.most {
			return fmt.Errorf("the hosts together never had the %d calls that they may have, so nothing was judged of that", c.most)
		}
		if missing := c.did.missing(); whole && p.plan.For >= wholeRun && len(missing) > 0 {
			return fmt.Errorf("the run had no %s, so nothing was judged of that", strings.Join(missing, ", no "))
		}
		return nil
	}
	for _, v := range c.violations {
		fmt.Printf("\nVIOLATION  %s\n", v)
	}
	fmt.Printf("\n%d violations. The plan was:\n%s\nagain: go run ./internal/testing/faults -seed %d -for %s -protocol %s -rate %d -together %d\n",
		len(c.violations), p.plan, p.plan.Seed, p.plan.For, p.plan.Protocol, p.rate, p.most)
	return errBroken
}
