package sim

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// A story is a world without faults, told step by step: what its member does is as the
// engine would have to do it, until something is not.
type story struct {
	*World
	m   *member
	tp  esm.TopicPartition
	all []*kgo.Record
}

func newStory(t *testing.T) *story {
	w := newWorld(t, Plan{
		Seed: 1, Brokers: 1, Protocol: "cooperative", Topics: []Topic{{"orders", 1}},
		Options: Options{BatchSize: 10, MaxPollers: 1, Concurrency: 2, MaxRetries: 1, Destination: true, StopTimeout: Span(20 * time.Second)},
	})
	w.kafka = esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	s := &story{World: w, tp: esm.TopicPartition{Topic: "orders"}}
	s.m = s.joins("m0")
	for o := range int64(6) {
		r, e := w.ledger.make(Stream{Topic: "orders"}, nil, 20, time.Now())
		r.Offset = o
		w.ledger.settle(e, w.ledger.place(s.tp), o)
		s.all = append(s.all, r)
	}
	return s
}

func (s *story) joins(name string) *member {
	m := &member{w: s.World, name: name, net: newNetwork(s.World, name), tenures: map[place]*tenure{}}
	m.limits = limits{batch: 10, slots: 2, retries: 1}
	m.life, m.end = context.WithCancel(context.Background())
	mapping, err := esm.New(s.kafka.Source("orders", group), esm.InvokerFunc(m.invoke))
	if err != nil {
		s.t.Fatal(err)
	}
	m.m = mapping
	s.members = append(s.members, m)
	return m
}

func (s *story) assign() {
	s.m.assigned(esm.Rebalance{Partitions: []esm.TopicPartition{s.tp}, Total: 1})
}

// call begins a call of some records.
func (s *story) call(id string, offsets ...int64) *visit {
	b := &esm.Batch{ID: id, Attempt: 1}
	for _, o := range offsets {
		b.Records = append(b.Records, s.all[o])
	}
	return s.m.begin(s.t.Context(), b)
}

// ends has it succeed, or fail.
func (s *story) ends(v *visit, ok bool) {
	n := len(v.entries)
	s.m.finish(v, said{all: ok, ok: slices.Repeat([]bool{ok}, n), charged: slices.Repeat([]bool{!ok}, n), permanent: make([]bool, n)}, true, s.t.Context())
}

func (s *story) handles(id string, offsets ...int64) { s.ends(s.call(id, offsets...), true) }

func (s *story) commits(offset int64) {
	r := kmsg.NewPtrOffsetCommitRequest()
	t, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	t.Topic, p.Offset = s.tp.Topic, offset
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	s.asks(r)
	s.m.committed(esm.Commit{Offsets: map[esm.TopicPartition]int64{s.tp: offset}})
	s.judgeBack(s.ledger.now(s.tp), offset)
}

func (s *story) sees(row esm.PartitionStats, stats esm.Stats) sight {
	row.TopicPartition = s.tp
	return sight{m: s.m, rows: []esm.PartitionStats{row}, stats: stats, phase: esm.PhaseRunning}
}

// stories are what each judge has to find. Each begins well.
var stories = map[string]func(s *story){
	"lost":    func(s *story) { s.assign(); s.handles("a", 0, 1, 2, 3, 4); s.judgeLost(s.ledger.now(s.tp)) },
	"content": func(s *story) { s.assign(); s.handles("a", 0); s.all[1].Value[9]++; s.call("b", 1) },
	"order":   func(s *story) { s.assign(); s.ends(s.call("a", 0, 1), false); s.call("b", 2) },
	"skipped": func(s *story) { s.assign(); s.handles("a", 0, 1); s.call("b", 3) },
	"exclusive": func(s *story) {
		s.assign()
		s.call("a", 0)
		s.call("b", 0)
	},
	"never": func(s *story) {
		s.assign()
		s.handles("a", 0)
		s.m.revoked(esm.Rebalance{Partitions: []esm.TopicPartition{s.tp}})
		s.call("b", 1)
	},
	"commit": func(s *story) { s.assign(); s.handles("a", 0, 1); s.commits(2); s.commits(4) },
	"back":   func(s *story) { s.assign(); s.handles("a", 0, 1); s.commits(2); s.commits(1) },
	"repeat": func(s *story) {
		s.assign()
		s.handles("a", 0, 1)
		s.commits(2)
		time.Sleep(time.Second)
		s.m.revoked(esm.Rebalance{Partitions: []esm.TopicPartition{s.tp}, Lost: true})
		s.assign()
		s.call("b", 1)
	},
	"discard": func(s *story) {
		s.judgeDiscard(s.m, s.ledger.entries[0], &esm.Discard{Record: s.all[0], Reason: esm.ReasonRetriesExhausted, Attempts: 2})
		s.judgeDiscard(s.m, s.ledger.entries[0], &esm.Discard{Record: s.all[0], Reason: esm.ReasonRetriesExhausted, Attempts: 1})
	},
	"still": func(s *story) {
		p := s.ledger.now(s.tp)
		for range 32 {
			s.judgeStill(p, []sight{s.sees(esm.PartitionStats{State: "idle"}, esm.Stats{})}, time.Now())
			time.Sleep(time.Second)
		}
	},
	"lag": func(s *story) {
		p := s.ledger.now(s.tp)
		for range 8 {
			p.ends = append(p.ends, mark{time.Now(), 6})
			time.Sleep(time.Second)
		}
		s.judgeLag(s.m, esm.PartitionStats{TopicPartition: s.tp, LagKnown: true, End: 6, Lag: 6}, time.Now())
		s.judgeLag(s.m, esm.PartitionStats{TopicPartition: s.tp, LagKnown: true, End: 5, Lag: 5}, time.Now())
	},
	"memory": func(s *story) {
		s.judgeMemory(s.sees(esm.PartitionStats{}, esm.Stats{HeldBytes: 5 << 20, MemoryBudget: 1 << 20}))
		s.judgeMemory(s.sees(esm.PartitionStats{}, esm.Stats{HeldBytes: 5<<20 + 1, MemoryBudget: 1 << 20}))
	},
	"bounds": func(s *story) {
		s.m.running = 2
		s.judgeCall(s.m, &esm.Batch{Records: s.all})
		s.m.running = 3
		s.judgeCall(s.m, &esm.Batch{Records: s.all})
	},
	"paused": func(s *story) {
		s.judgePaused(s.m, esm.PhasePaused)
		s.m.running = 1
		s.judgePaused(s.m, esm.PhasePaused)
	},
	"update": func(s *story) { s.judgeUpdate(s.m, nil); s.judgeUpdate(s.m, errors.New("no")) },
	"phase": func(s *story) {
		h := s.m.hooks()
		h.StateChanged(esm.State{From: esm.PhaseNew, Phase: esm.PhaseStarting})
		h.StateChanged(esm.State{From: esm.PhaseStarting, Phase: esm.PhaseHalted})
	},
	"recount": func(s *story) {
		s.m.phase = esm.PhaseStopped
		s.judgeStopped(s.m, nil, true)
		s.m.seen.calls = 1
		s.judgeStopped(s.m, nil, true)
	},
	"gone": func(s *story) {
		s.ledger.now(s.tp).take(2)
		s.m.lost(esm.Gap{TopicPartition: s.tp, From: 0, To: 2})
		s.m.lost(esm.Gap{TopicPartition: s.tp, From: 2, To: 3})
	},
	"end": func(s *story) {
		s.m.phase = esm.PhaseStopped
		s.judgeStopped(s.m, nil, true)
		s.judgeStopped(s.m, &esm.DrainError{LeaveErr: errors.New("no")}, true)
	},
	"settled": func(s *story) {
		s.assign()
		s.judgeSettled(s.ledger.now(s.tp))
		s.handles("a", 0, 1, 2, 3, 4, 5)
		s.judgeSettled(s.ledger.now(s.tp))
	},
	"world": func(s *story) { s.attempt(nil); s.attempt(errors.New("no")) },
}

// TestEveryJudgeSpeaks tells each judge a story that it must not like, which has no more
// wrong than that.
func TestEveryJudgeSpeaks(t *testing.T) {
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	for _, judge := range slices.Sorted(maps.Keys(Judges)) {
		t.Run(judge, func(t *testing.T) {
			tell := stories[judge]
			if tell == nil {
				t.Fatal("it has no story")
			}
			synctest.Test(t, func(t *testing.T) {
				s := newStory(t)
				tell(s)
				if len(s.broken) == 0 || !strings.HasPrefix(s.broken[0], judge+": ") {
					t.Errorf("it said %q", s.broken)
				}
			})
		})
	}
	if len(stories) != len(Judges) {
		t.Errorf("%d stories, and %d judges", len(stories), len(Judges))
	}
}
