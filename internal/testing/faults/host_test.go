package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// A stage is hosts of the runs on a Kafka in memory, whose lines are kept.
type stage struct {
	t *testing.T
	k *esmtest.Kafka

	ends map[int32]int64 // of what was produced

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

// say is what the parent says.
func (s *stage) say(host, kind string, parts ...part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line{At: time.Now().UnixNano(), Host: host, Kind: kind, Parts: parts})
}

// sayEnds says where the partitions end. So what stands still is judged.
func (s *stage) sayEnds() {
	var parts []part
	for n, end := range s.ends {
		parts = append(parts, part{Partition: n, Offset: end})
	}
	s.say("parent", lineEnds, parts...)
}

// take takes all of some partitions, as retention does.
func (s *stage) take(of ...int32) {
	upto := kadm.Offsets{}
	var parts []part
	for _, n := range of {
		parts = append(parts, part{Partition: n, Offset: s.ends[n]})
		upto.AddOffset(topicOf(n).name, n-topicOf(n).first, s.ends[n], -1)
	}
	s.say("parent", lineTaken, parts...)
	gone, err := kadm.NewClient(s.k.Client()).DeleteRecords(s.t.Context(), upto)
	if err := cmp.Or(err, gone.Error()); err != nil {
		s.t.Fatal(err)
	}
}

// enter starts a host. What it returns stops it.
func (s *stage) enter(name string, orders <-chan string) (leave func()) {
	h := &host{hostConfig: hostConfig{Name: name, Seed: storySeed}, teller: teller{w: role{s, name}}, halted: make(chan struct{}, 1)}
	source := s.k.Source("", group)
	source.Topics = topicNames()
	source.Client = append(source.Client, kgo.WithHooks(h), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ServerSideBalancer())
	// Less memory than in a run, so that it takes fewer records to fill it.
	m, err := esm.New(source, esm.InvokerFunc(h.invoke), append(h.options(), esm.WithMemoryBudget(budget/3))...)
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

// produce writes records of all partitions, the next of each up to a number.
func (s *stage) produce(upto int64) {
	var records []*kgo.Record
	for n := range int32(partitions) {
		for seq := s.ends[n]; seq < upto; seq++ {
			r := recordOf(storySeed, n, seq)
			records = append(records, esmtest.At(r.Partition, r))
		}
		s.ends[n] = upto
	}
	s.k.ProduceRecords(records...)
	s.sayEnds()
}

// wait waits until all of it is committed.
func (s *stage) wait() {
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
		s.sayEnds()
		behind := 0
		for n, end := range s.ends {
			if s.k.Committed(group, topicOf(n).name, n-topicOf(n).first) < end {
				behind++
			}
		}
		if behind == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d partitions are not done", behind)
		}
	}
}

// judged is the checker that has looked at all that was said. It has to have
// found nothing, and to have seen these.
func (s *stage) judged(seen ...string) *checker {
	c := newChecker(storySeed)
	slices.SortStableFunc(s.lines, func(a, b line) int { return cmp.Compare(a.At, b.At) })
	for _, l := range s.lines {
		c.observe(l)
	}
	now := line{At: time.Now().UnixNano()}
	c.handledAll(now, s.ends)
	c.repeatsBounded(now)
	for _, v := range c.violations {
		s.t.Error(v)
	}
	for _, what := range seen {
		if c.did[what] == 0 {
			s.t.Errorf("there was no %s: %s", what, c.did)
		}
	}
	// No time passes here between the engine's look at a call's context and the
	// first line of the call.
	if c.longest.late > 0 {
		s.t.Errorf("a call began %s after its partition was lost", time.Duration(c.longest.late))
	}
	return c
}

// onStage runs hosts in virtual time.
func onStage(t *testing.T, play func(t *testing.T, s *stage)) {
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, func(t *testing.T) {
		made := []esmtest.KafkaOption{esmtest.With(kfake.BrokerConfigs(map[string]string{
			"group.consumer.heartbeat.interval.ms": "500", "group.consumer.min.heartbeat.interval.ms": "500"}))}
		for _, topic := range topics {
			made = append(made, esmtest.Topic(topic.name, int(topic.partitions)))
		}
		play(t, &stage{t: t, k: esmtest.NewKafka(t, made...), ends: map[int32]int64{}})
		time.Sleep(hookTime) // a hook that is held up outlives the Stop of its Mapping
	})
}

// TestHostsOfTheRunsKeepEachPromise: where nothing is broken, the checker has
// nothing to say of what they tell, and has seen all that they do. What the
// runs break beside, the checker's own tests have.
func TestHostsOfTheRunsKeepEachPromise(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		tell := make(chan string, 10)
		stays := s.enter("stays", tell)
		each := int64(0)
		for i, do := range []struct {
			order   string
			records int64 // of each partition
		}{{"pause 2s", 200}, {"throttle 2s", 200}, {"break 8s", 1500}, {"halt 2s", 200}, {"update 3", 200}} {
			leave := s.enter(fmt.Sprint("goes-", i), nil)
			tell <- do.order
			each += do.records
			s.produce(each)
			time.Sleep(10 * time.Second)
			each += 50
			s.produce(each)
			time.Sleep(300 * time.Millisecond)
			if i%2 == 0 {
				leave() // and has handled what is not committed
			} else {
				defer leave()
			}
		}
		s.wait()
		stays()
		// What is rare may be left out here, and not in a run.
		c := s.judged(saysHandled, saysFailed, saysPartial, saysTooLarge, saysTaken, saysRefused, saysThrottled, saysHalt,
			linePaused, lineHalted, lineResumed, lineUpdated, calmEnd, evictions,
			"given up, retries-exhausted", "given up, too-old", "given up, too-large", "given up, permanent")
		if c.handled < partitions*each {
			t.Errorf("%d handled", c.handled)
		}
	})
}

// TestHostsThatLoseTheirSession: again and again, while hooks hold calls up.
func TestHostsThatLoseTheirSession(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		const losses = 30
		one, two := s.enter("one", nil), s.enter("two", nil)
		for i := range int64(losses * 20) {
			s.produce(i + 1)
			time.Sleep(110 * time.Millisecond)
			if i%20 == 0 {
				s.say("parent", lineFault)
				s.k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, TopLevel: true, Err: kerr.FencedMemberEpoch})
			} else if i%20 == 10 {
				s.say("parent", lineHealed)
			}
		}
		s.wait()
		one()
		two()
		c := s.judged(saysHandled, saysCut)
		if c.ungraceful < losses {
			t.Errorf("only %d ends of assignments without grace", c.ungraceful)
		}
	})
}

// TestRetentionThatOvertakesHosts: while one is paused, and while it was away.
func TestRetentionThatOvertakesHosts(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		tell := make(chan string, 10)
		stop := s.enter("one", tell)
		s.produce(100)
		s.wait()
		tell <- "pause 5s"
		time.Sleep(time.Second)
		for i := range int64(4) { // the client has asked for some already
			s.produce(200 + i*100)
			time.Sleep(300 * time.Millisecond)
		}
		s.take(0, 1, 2)
		time.Sleep(5 * time.Second)
		s.produce(600)
		s.wait()
		stop()
		s.produce(700)
		s.take(3, 4)
		stop = s.enter("two", nil)
		s.produce(800)
		s.wait()
		stop()
		c := s.judged(takenByRetention)
		if lost := c.did[takenByRetention]; lost < 3*100+2*100 || lost > 3*400+2*100 {
			t.Errorf("%d offsets were called lost", lost)
		}
	})
}

// TestAHostWhosePartitionStandsStill: of one that has more than the host can
// read, it says nothing.
func TestAHostWhosePartitionStandsStill(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		stop := s.enter("one", nil)
		s.produce(100)
		s.wait()
		// More than there is: a host cannot read it, and cannot know of it.
		s.ends[0] = 150
		for range 40 {
			time.Sleep(time.Second)
			s.sayEnds()
		}
		stop()
		c := newChecker(storySeed)
		slices.SortStableFunc(s.lines, func(a, b line) int { return cmp.Compare(a.At, b.At) })
		for _, l := range s.lines {
			c.observe(l)
		}
		if len(c.violations) != 1 || !strings.Contains(c.violations[0], "orders/0: ") || !strings.Contains(c.violations[0], "it stands still in one") {
			t.Errorf("%q", c.violations)
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
