package main

import (
	"slices"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
)

// TestWhatRetentionTookIsCalledLost: that, all of that, and nothing else.
func TestWhatRetentionTookIsCalledLost(t *testing.T) {
	old := fatedRecord(t, 0, oldFate)
	for name, tell := range map[string]func(*story){
		"while the host was paused": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).taken(20).gone("a", 10, 19).handled("a", 20, 29).committed("a", 30).logged(30).ends(30)
		},
		"while nobody had it": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).handled("a", 10, 14).killed("a").taken(20)
			s.assigned("b").gone("b", 10, 19).handled("b", 20, 29).logged(30).ends(30)
		},
		"said a moment after the next call began": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).called("a", "1", 20, 29).gone("a", 10, 19).ended("a", "1", 20, 29).handled("a", 30, 30).ends(31)
		},
		"and what was too old, too": func(s *story) {
			s.assigned("a").handles("a", 0, old-2).taken(old+5).called("a", "1", old+5, old+9).gone("a", old-1, old+4).ended("a", "1", old+5, old+9)
			s.handled("a", old+10, old+19).committed("a", old+20).ends(old + 20)
		},
		"and what was too old, said before the next call": func(s *story) {
			s.assigned("a").handles("a", 0, old-2).taken(old+5).gone("a", old-1, old+4).handled("a", old+5, old+9).handled("a", old+10, old+19)
			s.committed("a", old+20).ends(old + 20)
		},
		"or it is delivered, when it was in memory": func(s *story) {
			s.assigned("a").handles("a", 0, old-1).taken(old+1).called("a", "1", old+1, old+9).ended("a", "1", old+1, old+9)
			s.givenUp("a", old, esm.ReasonTooOld, 0).handled("a", old+10, old+10).ends(old + 11)
		},
		"and what was in memory is handled": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).handled("a", 10, 14).gone("a", 15, 19).handled("a", 20, 20).ends(21)
		},
		"all of it was in memory": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).taken(20).ended("a", "1", 0, -1).handled("a", 0, 9).handled("a", 10, 19).ends(20)
		},
		"and nothing comes after it": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).taken(20).gone("a", 10, 19).committed("a", 20).logged(20).ends(20)
		},
		"twice": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 19).taken(40).gone("a", 20, 39).committed("a", 40).handled("a", 40, 40).ends(41)
		},
		"by two hosts, since the first committed nothing": func(s *story) {
			s.assigned("a").taken(20).gone("a", 0, 19).killed("a").assigned("b").gone("b", 0, 19).handled("b", 20, 20).ends(21)
		},
		"what another host had handled": func(s *story) {
			s.assigned("a").handled("a", 0, 9).killed("a").taken(20).assigned("b").gone("b", 0, 19).handled("b", 20, 20).ends(21)
		},
		"and its commit is read late": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 19).logged(20).logged(10).ends(20)
		},
	} {
		t.Run(name, func(t *testing.T) { accept(t, tell) })
	}
	for want, tell := range map[string]func(*story){
		"offsets [10 19 10] are called lost, and retention took none after -1": func(s *story) {
			s.assigned("a").handled("a", 0, 9).gone("a", 10, 19)
		},
		"offsets [10 20 10] are called lost, and retention took none after 19": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 20)
		},
		"offsets [9 19 9] are called lost, and 9 was called before": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 9, 19)
		},
		"offsets [10 19 10] are called lost, and 12 was called before": func(s *story) { // and is to be tried again
			s.assigned("a").handled("a", 0, 9).called("a", "1", 10, 12).ended("a", "1", 10, 11).committed("a", 12).taken(20).gone("a", 10, 19)
		},
		"offsets [19 10 19] are called lost, and are none": func(s *story) {
			s.assigned("a").taken(20).gone("a", 19, 10)
		},
		"10 was never handled (a passed it over": func(s *story) { // nobody says so
			s.assigned("a").handled("a", 0, 9).taken(20).handled("a", 20, 29).ends(30)
		},
		"retention took it, and no host called it lost": func(s *story) { // nor that it is over
			s.assigned("a").handled("a", 0, 9).taken(20).ends(20)
		},
		"15 was never handled": func(s *story) { // not of all
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 14).handled("a", 20, 29).ends(30)
		},
		"it begins with 25, and 20 was not handled": func(s *story) { // more than that is missing
			s.assigned("a").handled("a", 0, 9).committed("a", 10).killed("a").taken(20).assigned("b").gone("b", 10, 19).handled("b", 25, 29)
		},
		"offset 25 is called after 9": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 19).handled("a", 25, 29)
		},
		"offset 20 is called while 1 records before it are not done": func(s *story) { // what failed is tried again all the same
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, 8).taken(20).handled("a", 20, 29)
		},
		"21 is committed, and 20 was not handled": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 19).committed("a", 21)
		},
		"20 is committed, and this host has done all below 10": func(s *story) { // it has not said that it has lost them
			s.assigned("a").handled("a", 0, 9).taken(20).committed("a", 20)
		},
		"a commit of 21, and 20 was not handled then": func(s *story) {
			s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 19).logged(21)
		},
		"a commit of 15, and 10 was not handled then": func(s *story) { // it was written down before
			s.assigned("a").handled("a", 0, 9)
			then := s.at
			s.after(time.Second).taken(20)
			s.c.observe(line{At: then, Host: "log", Kind: lineLogged, Parts: []part{{Offset: 15}}})
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
	t.Run("nothing is taken of other topics", func(t *testing.T) {
		reject(t, "are called lost, and retention took none", func(s *story) {
			s.on(ledger.first).assigned("a").gone("a", 0, 9)
		})
	})
}

func TestWhatWasLostIsCountedOnce(t *testing.T) {
	s := newStory()
	s.assigned("a").handled("a", 0, 9).taken(20).gone("a", 10, 19).killed("a").assigned("b").gone("b", 10, 19)
	if n := s.c.did[takenByRetention]; n != 10 {
		t.Errorf("%d", n)
	}
}

func TestJudgeKnowsOfWhomToTake(t *testing.T) {
	j := newJudge(storySeed)
	s := &story{c: j.checker, at: 1}
	for n, end := range map[int32]int64{0: 5, 1: 50, 2: 50, 3: 500, 4: 1} {
		s.on(n).assigned("a").ending(end, time.Second)
	}
	s.on(3).handled("a", 0, 40).handles("a", 41, 490)
	s.on(prices.first).assigned("a").ending(1000, time.Second).on(7).assigned("b").ending(1000, time.Second)
	if got := j.waitingOf("a"); !slices.Equal(got, []int32{1, 2, 3}) {
		t.Errorf("%v", got)
	}
	if got := j.waitingOf("c"); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

// TestWhatNeedsNoCommit: only what retention took and a host called lost.
func TestWhatNeedsNoCommit(t *testing.T) {
	j := newJudge(storySeed)
	s := &story{c: j.checker, at: 1}
	for i, want := range []bool{false, false, true, false} {
		switch i {
		case 0:
			s.assigned("a").handled("a", 0, 9)
		case 1:
			s.taken(20)
		case 2:
			s.gone("a", 10, 19)
		case 3:
			s.handled("a", 20, 20)
		}
		if got := j.takenUpTo(0, []int64{10, 20, 20, 21}[i]); got != want {
			t.Errorf("after %d: %t", i, got)
		}
	}
}

func TestJudgeKnowsWhoStarts(t *testing.T) {
	j := newJudge(storySeed)
	s := &story{c: j.checker, at: 1}
	for _, want := range []bool{true, false} {
		if got := j.starting("a"); got != want {
			t.Errorf("%t", got)
		}
		s.started("a")
	}
	s.say("b", line{Kind: lineStopped, Err: "no"})
	if j.starting("b") {
		t.Error("b has stopped")
	}
}
