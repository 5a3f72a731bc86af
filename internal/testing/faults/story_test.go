package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
)

// A story is what hosts and the parent say, one thing a millisecond, of the
// first partition of the first topic if nothing else is said.
type story struct {
	c  *checker
	at int64
	n  int32
}

// storySeed is one of which the first records of that partition have no fate.
const storySeed = 4

func newStory() *story { return &story{c: newChecker(storySeed), at: time.Hour.Nanoseconds()} }

func TestTheRecordsOfTheStoriesHaveNoFate(t *testing.T) {
	for o := range int64(200) {
		if f := fateOf(storySeed, 0, o); f != noFate {
			t.Errorf("that of %d is %d", o, f)
		}
	}
}

func (s *story) say(host string, l line) *story {
	s.at += 1e6
	l.At, l.Host = s.at, host
	s.c.observe(l)
	return s
}

// on goes on in another partition, and after lets time pass.
func (s *story) on(n int32) *story {
	s.n = n
	return s
}
func (s *story) after(d time.Duration) *story {
	s.at += int64(d)
	return s
}
func (s *story) offsets(from, to int64) []part {
	return []part{{Partition: s.n, Spans: []span{{from, to, from}}}}
}

func (s *story) assigned(host string) *story {
	return s.say(host, line{Kind: lineAssigned, Parts: []part{{Partition: s.n}}})
}
func (s *story) revoked(host string) *story {
	return s.say(host, line{Kind: lineRevoked, Parts: []part{{Partition: s.n}}})
}

// lost is told while a broker is broken that is not the group's.
func (s *story) lost(host string) *story {
	return s.broken(false).say(host, line{Kind: lineRevoked, Lost: true, Parts: []part{{Partition: s.n}}}).healed()
}
func (s *story) leased(host, call string) *story {
	return s.say(host, line{Kind: lineLeased, Call: call})
}
func (s *story) heldUp(host, call string) *story {
	return s.say(host, line{Kind: lineHeldUp, Call: call})
}
func (s *story) calledWith(host, call string, parts []part) *story {
	return s.leased(host, call).say(host, line{Kind: lineCall, Call: call, Parts: parts})
}
func (s *story) called(host, call string, from, to int64) *story {
	return s.calledWith(host, call, s.offsets(from, to))
}

// said lets a call return that has handled some of its records, if to is not
// before from, and says this of the others.
func (s *story) said(host, call string, from, to int64, says string) *story {
	l := line{Kind: lineEnd, Call: call, Outcome: says}
	if from <= to {
		l.Parts = s.offsets(from, to)
	}
	return s.say(host, l)
}
func (s *story) ended(host, call string, from, to int64) *story {
	return s.said(host, call, from, to, saysFailed)
}
func (s *story) handled(host string, from, to int64) *story {
	call := fmt.Sprint(host, from, s.at)
	return s.called(host, call, from, to).ended(host, call, from, to)
}

// handles lets it handle many, a batch after the other.
func (s *story) handles(host string, from, to int64) *story {
	for ; from <= to; from += 50 {
		s.handled(host, from, min(from+49, to))
	}
	return s
}
func (s *story) committed(host string, offset int64) *story {
	return s.say(host, line{Kind: lineCommitted, Parts: []part{{Partition: s.n, Offset: offset}}})
}
func (s *story) logged(offset int64) *story {
	return s.say("log", line{Kind: lineLogged, Parts: []part{{Partition: s.n, Offset: offset}}})
}
func (s *story) killed(host string) *story  { return s.say(host, line{Kind: lineKilled}) }
func (s *story) stopped(host string) *story { return s.say(host, line{Kind: lineStopped}) }
func (s *story) started(host string) *story { return s.say(host, line{Kind: lineStarted}) }
func (s *story) broken(coordinator bool) *story {
	return s.say("parent", line{Kind: lineFault, Coordinator: coordinator})
}

// breaks is a fault of some kind, and mends its end.
func (s *story) breaks(k kind) *story {
	return s.say("parent", line{Kind: lineFault, Fault: k})
}
func (s *story) mends(k kind) *story {
	return s.say("parent", line{Kind: lineHealed, Fault: k})
}

// ending tells each second, for some time, where the partition ends, and that
// a broker leads it; so all that waits is judged. What is said meanwhile is
// said in each of them.
func (s *story) ending(offset int64, during time.Duration, meanwhile ...func(*story)) *story {
	for range int(during / time.Second) {
		s.after(time.Second).say("parent", line{Kind: lineEnds, Parts: []part{{Partition: s.n, Offset: offset, Leader: "leader:1"}}})
		for _, tell := range meanwhile {
			tell(s)
		}
	}
	return s
}

// raised and solved are of a problem of a host.
func (s *story) raised(host, with string) *story {
	return s.say(host, line{Kind: lineProblem, With: with})
}
func (s *story) solved(host, with string) *story {
	return s.say(host, line{Kind: lineSolved, With: with})
}

// taken is that retention takes all below an offset, and gone that a host calls
// these lost.
func (s *story) taken(upto int64) *story {
	return s.say("parent", line{Kind: lineTaken, Parts: []part{{Partition: s.n, Offset: upto}}})
}
func (s *story) gone(host string, from, to int64) *story {
	return s.say(host, line{Kind: lineGone, Parts: s.offsets(from, to)})
}
func (s *story) healed() *story            { return s.say("parent", line{Kind: lineHealed}) }
func (s *story) frozen(host string) *story { return s.say(host, line{Kind: lineFrozen}) }
func (s *story) thawed(host string) *story { return s.say(host, line{Kind: lineThawed}) }
func (s *story) does(host, kind string) *story {
	return s.say(host, line{Kind: kind})
}
func (s *story) updated(host string, batch, calls int) *story {
	return s.say(host, line{Kind: lineUpdated, BatchSize: batch, Concurrency: calls})
}

// delivers and delivered are the destination's beginning and end.
func (s *story) delivers(host string, o int64, reason esm.Reason, attempts int) *story {
	return s.say(host, line{Kind: lineDeliver, Call: fmt.Sprint("d", o), Parts: s.offsets(o, o), Reason: reason.String(), Attempts: attempts})
}
func (s *story) delivered(host string, o int64) *story {
	return s.said(host, fmt.Sprint("d", o), o, o, saysTaken)
}
func (s *story) discarded(host string, o int64, reason esm.Reason) *story {
	return s.say(host, line{Kind: lineDiscarded, Parts: s.offsets(o, o), Reason: reason.String()})
}

// givenUp is all of it.
func (s *story) givenUp(host string, o int64, reason esm.Reason, attempts int) *story {
	return s.delivers(host, o, reason, attempts).delivered(host, o).discarded(host, o, reason)
}

// failed lets a call with these records fail so often.
func (s *story) failed(host string, from, to int64, times int) *story {
	for i := range times {
		call := fmt.Sprintf("f%d-%d-%d", from, to, i)
		s.called(host, call, from, to).ended(host, call, 0, -1)
	}
	return s
}

// transaction ends one with one record.
func (s *story) transaction(offset, seq int64, outcome string) *story {
	return s.say("parent", line{Kind: lineTransaction, Outcome: outcome, Parts: []part{{Partition: s.n, Spans: []span{{offset, offset, seq}}}}})
}

// shown lets a host handle records whose numbers are not their offsets.
func (s *story) shown(host string, from, to, seq int64) *story {
	call := fmt.Sprint(host, from, s.at)
	return s.calledWith(host, call, []part{{Partition: s.n, Spans: []span{{from, to, seq}}}}).ended(host, call, from, to)
}

// ends judges the end of a run.
func (s *story) ends(offset int64) *story {
	now := line{At: s.at, Host: "parent"}
	s.c.handledAll(now, map[int32]int64{s.n: offset})
	s.c.repeatsBounded(now)
	return s
}

// the first record of a partition that has a fate.
func fatedRecord(t *testing.T, n int32, want fate) int64 {
	for o := range int64(100_000) {
		if fateOf(storySeed, n, o) == want {
			return o
		}
	}
	t.Fatal("there is none")
	return 0
}

// accept and reject tell a story and say what the checker makes of it: nothing,
// or one promise that is broken.
func accept(t *testing.T, tell func(*story)) {
	t.Helper()
	s := newStory()
	tell(s)
	if s.c.repeatsBounded(line{}); len(s.c.violations) > 0 {
		t.Error(s.c.violations)
	}
}

func reject(t *testing.T, want string, tell func(*story)) {
	t.Helper()
	s := newStory()
	tell(s)
	if len(s.c.violations) != 1 || !strings.Contains(s.c.violations[0], want) {
		t.Errorf("%q", s.c.violations)
	}
}
