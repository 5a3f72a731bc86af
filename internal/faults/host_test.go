package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// A stage is hosts of the runs on a Kafka in memory, whose lines are kept.
type stage struct {
	t *testing.T
	k *esmtest.Kafka

	mu    sync.Mutex
	lines []line
}

// A role keeps the lines of one host.
type role struct {
	s    *stage
	host string
}

func (r role) Write(b []byte) (int, error) {
	l := line{Host: r.host}
	if err := json.Unmarshal(bytes.TrimSpace(b), &l); err != nil {
		r.s.t.Errorf("%s says %q: %v", r.host, b, err)
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.lines = append(r.s.lines, l)
	return len(b), nil
}

// enter starts a host. What it returns stops it.
func (s *stage) enter(name string, orders <-chan string) (leave func()) {
	h := &host{hostConfig: hostConfig{Name: name, Seed: storySeed}, teller: teller{w: role{s, name}}, halted: make(chan struct{}, 1)}
	source := s.k.Source("", group)
	source.Topics = topicNames()
	source.Client = append(source.Client, kgo.WithHooks(h), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ServerSideBalancer())
	m, err := esm.New(source, esm.InvokerFunc(h.invoke), h.options()...)
	if err != nil {
		s.t.Fatal(err)
	}
	h.mapping = m
	if err := m.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	h.tell(line{Kind: lineStarted})
	stop, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		h.live(orders, stop)
	}()
	return func() {
		close(stop)
		<-gone
		l := line{Kind: lineStopped}
		if err := m.Stop(context.Background()); err != nil {
			l.Err = err.Error()
		}
		h.tell(l)
	}
}

// TestHostsOfTheRunsKeepEachPromise: where nothing is broken, the checker has
// nothing to say of what they tell, and has seen all that they do. What the
// runs break beside, the checker's own tests have.
func TestHostsOfTheRunsKeepEachPromise(t *testing.T) {
	if !virtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, func(t *testing.T) {
		const each = 1000
		var made []esmtest.KafkaOption
		for _, topic := range topics {
			made = append(made, esmtest.Topic(topic.name, int(topic.partitions)))
		}
		made = append(made, esmtest.With(kfake.BrokerConfigs(map[string]string{"group.consumer.heartbeat.interval.ms": "500", "group.consumer.min.heartbeat.interval.ms": "500"})))
		s := &stage{t: t, k: esmtest.NewKafka(t, made...)}
		ends := map[int32]int64{}
		produce := func(from, to int64) {
			var records []*kgo.Record
			for n := range int32(partitions) {
				for seq := from; seq < to; seq++ {
					r := recordOf(storySeed, n, seq)
					records = append(records, esmtest.At(r.Partition, r))
				}
				ends[n] = to
			}
			s.k.ProduceRecords(records...)
		}
		tell := make(chan string, 10)
		stays := s.enter("stays", tell)
		for i := range int64(5) {
			produce(i*each/5, (i+1)*each/5)
			leave := s.enter(fmt.Sprint("goes-", i), nil)
			tell <- []string{"pause 2s", "throttle 2s", "break 5s", "halt 2s", "update 3"}[i]
			time.Sleep(10 * time.Second)
			if i%2 == 0 {
				leave()
			} else {
				defer leave()
			}
		}
		for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
			behind := 0
			for n, end := range ends {
				if s.k.Committed(group, topicOf(n).name, n-topicOf(n).first) < end {
					behind++
				}
			}
			if behind == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d partitions are not done", behind)
			}
		}
		stays()

		c := newChecker(storySeed)
		slices.SortStableFunc(s.lines, func(a, b line) int { return cmp.Compare(a.At, b.At) })
		for _, l := range s.lines {
			c.observe(l)
		}
		now := line{At: time.Now().UnixNano()}
		c.handledAll(now, ends)
		c.repeatsBounded(now)
		for _, v := range c.violations {
			t.Error(v)
		}
		if c.handled < partitions*each || c.repeats > c.mayRepeat() {
			t.Errorf("%d handled, %d repeats of %d", c.handled, c.repeats, c.mayRepeat())
		}
		// What is rare may be left out here, and not in a run.
		for _, what := range []string{saysHandled, saysFailed, saysPartial, saysTooLarge, saysTaken, saysRefused, saysThrottled, saysHalt, linePaused, lineHalted, lineResumed, lineUpdated, calmEnd,
			"given up, retries-exhausted", "given up, too-old", "given up, too-large", "given up, permanent"} {
			if c.did[what] == 0 {
				t.Errorf("there was no %s: %s", what, c.did)
			}
		}
	})
}

func TestOrdersThatCannotBeObeyed(t *testing.T) {
	var out bytes.Buffer
	h := &host{teller: teller{w: &out}}
	h.obey(t.Context(), "sing 3s")
	var l line
	if err := json.NewDecoder(bufio.NewReader(&out)).Decode(&l); err != nil || l.Kind != lineRefused || l.Err != `sing 3s: "sing 3s" is not an order` {
		t.Errorf("%+v, %v", l, err)
	}
}
