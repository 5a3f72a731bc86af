package main

import (
	"fmt"
	"strings"
	"testing"
)

// A story is what hosts say, one thing a millisecond.
type story struct {
	c  *checker
	at int64
}

func (s *story) say(host string, l line) *story {
	s.at += 1e6
	l.At, l.Host = s.at, host
	s.c.observe(l)
	return s
}

func (s *story) assigned(host string) *story {
	return s.say(host, line{Kind: lineAssigned, Parts: []part{{}}})
}
func (s *story) revoked(host string) *story {
	return s.say(host, line{Kind: lineRevoked, Parts: []part{{}}})
}
func (s *story) lost(host string) *story {
	return s.say(host, line{Kind: lineRevoked, Lost: true, Parts: []part{{}}})
}
func (s *story) called(host, call string, from, to int64) *story {
	return s.say(host, line{Kind: lineCall, Call: call, Parts: []part{{Spans: [][2]int64{{from, to}}}}})
}

// ended lets a call return that has handled some of its records, if to is not
// before from.
func (s *story) ended(host, call string, from, to int64) *story {
	l := line{Kind: lineEnd, Call: call}
	if from <= to {
		l.Parts = []part{{Spans: [][2]int64{{from, to}}}}
	}
	return s.say(host, l)
}
func (s *story) handled(host string, from, to int64) *story {
	call := fmt.Sprint(host, from, s.at)
	return s.called(host, call, from, to).ended(host, call, from, to)
}
func (s *story) committed(host string, offset int64) *story {
	return s.say(host, line{Kind: lineCommitted, Parts: []part{{Offset: offset}}})
}
func (s *story) killed(host string) *story { return s.say(host, line{Kind: lineKilled}) }

func TestCheckerAcceptsWhatIsPromised(t *testing.T) {
	for name, tell := range map[string]func(*story){
		"a quiet life": func(s *story) {
			s.assigned("a").handled("a", 0, 9).handled("a", 10, 19).committed("a", 20).revoked("a")
			s.assigned("b").handled("b", 20, 29)
		},
		"a retry of what failed": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, 4).called("a", "2", 5, 9).ended("a", "2", 5, 9).handled("a", 10, 10)
		},
		"a kill": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).handled("a", 10, 19).called("a", "1", 20, 29).killed("a")
			s.assigned("b").handled("b", 10, 29)
		},
		"a host that does not know yet": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).called("a", "1", 10, 19)
			s.assigned("b").handled("b", 10, 19).committed("b", 20)
			s.ended("a", "1", 10, 19).called("a", "2", 20, 29).ended("a", "2", 20, 29).lost("a")
			s.handled("b", 20, 29)
		},
		"a call that outlives its assignment": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).lost("a").assigned("a").ended("a", "1", 0, 9).handled("a", 0, 9)
		},
		"a coordinator that does not know the last commit of the one before": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).say("parent", line{Kind: lineFault})
			s.handled("a", 10, 10).revoked("a").assigned("b").handled("b", 0, 20)
		},
		"a commit that nobody heard of": func(s *story) {
			s.assigned("a").handled("a", 0, 9).killed("a").assigned("b").handled("b", 10, 19)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{c: newChecker(1)}
			tell(s)
			if s.c.repeatsBounded(); len(s.c.violations) > 0 {
				t.Error(s.c.violations)
			}
		})
	}
}

func TestCheckerSeesEachPromiseThatIsBroken(t *testing.T) {
	for want, tell := range map[string]func(*story){
		"two calls at once": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).called("a", "2", 10, 19)
		},
		"it is called, and is not assigned": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).revoked("a").handled("a", 10, 19)
		},
		"it is given up while call 1 runs": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).revoked("a")
		},
		"offset 10 is called while 10 records before it are not done": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, -1).called("a", "2", 10, 19)
		},
		"offset 11 is called after 9": func(s *story) {
			s.assigned("a").handled("a", 0, 9).handled("a", 11, 12)
		},
		"offset 0 is called after 9": func(s *story) {
			s.assigned("a").handled("a", 0, 9).handled("a", 0, 9)
		},
		"offsets are not in order": func(s *story) {
			s.assigned("a").say("a", line{Kind: lineCall, Call: "1", Parts: []part{{Spans: [][2]int64{{0, 3}, {2, 5}}}}})
		},
		"it begins with 20, and 10 was not handled": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).killed("a").assigned("b").handled("b", 20, 29)
		},
		"10 is committed, and 9 was not handled": func(s *story) {
			s.assigned("a").handled("a", 0, 8).committed("a", 10)
		},
		"10 is committed, and this host has done all below 5": func(s *story) {
			s.assigned("a").handled("a", 0, 9).killed("a").assigned("b").handled("b", 0, 4).committed("b", 10)
		},
		"it begins with 0, and 10 was committed": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).killed("a").assigned("b").handled("b", 0, 9)
		},
		"it begins with 0, and 9 was committed": func(s *story) { // long before the fault
			s.assigned("a").handled("a", 0, 8).committed("a", 9).handled("a", 9, 9).killed("a")
			s.at += 3e9
			s.say("parent", line{Kind: lineFault}).assigned("b").handled("b", 0, 9)
		},
		"it begins with 0, and 8 was committed": func(s *story) { // and the assignment is long after it
			s.assigned("a").handled("a", 0, 7).committed("a", 8).handled("a", 8, 9).killed("a").say("parent", line{Kind: lineFault})
			s.at += 40e9
			s.assigned("b").handled("b", 0, 9)
		},
		"gave it up gracefully with all below 10 done": func(s *story) {
			s.assigned("a").handled("a", 0, 9).revoked("a").assigned("b").handled("b", 0, 9)
		},
		"it is given up as if it had been owned": func(s *story) {
			s.assigned("a").handled("a", 0, 9).assigned("b").revoked("a")
		},
		"it is assigned twice": func(s *story) { s.assigned("a").assigned("a") },
		"it is given up, and was not assigned": func(s *story) {
			s.revoked("a")
		},
		"the position moved backward": func(s *story) {
			s.assigned("a").say("a", line{Kind: lineReset, Parts: []part{{Spans: [][2]int64{{0, 9}}}}})
		},
		"are called lost": func(s *story) {
			s.assigned("a").say("a", line{Kind: lineGone, Parts: []part{{Spans: [][2]int64{{0, 9}}}}})
		},
		"start: no": func(s *story) { s.say("a", line{Kind: lineStopped, Err: "start: no"}) },
		"fetches in one second": func(s *story) {
			for range tooLong {
				s.say("a", line{Kind: lineStats, Fetches: tooManyFetches})
			}
		},
		"it says what cannot be read": func(s *story) { s.say("a", line{Kind: lineGarbled, Err: "x"}) },
		"it ended by itself": func(s *story) {
			s.say("a", line{Kind: lineStarted}).say("a", line{Kind: lineEnded, Err: "exit status 2"})
		},
	} {
		t.Run(want, func(t *testing.T) {
			s := &story{c: newChecker(1)}
			tell(s)
			if len(s.c.violations) != 1 || !strings.Contains(s.c.violations[0], want) {
				t.Errorf("%q", s.c.violations)
			}
		})
	}
}

func TestCheckerCountsRepeats(t *testing.T) {
	s := &story{c: newChecker(1)}
	s.assigned("a").handled("a", 0, 9).committed("a", 5).handled("a", 10, 14).killed("a")
	s.assigned("b").handled("b", 5, 14)
	if c := s.c; c.repeats != 10 || c.mayRepeat != 10 || c.ungraceful != 1 {
		t.Errorf("%d repeats, %d allowed, %d ends", c.repeats, c.mayRepeat, c.ungraceful)
	}
	if s.c.repeatsBounded(); len(s.c.violations) != 0 {
		t.Error(s.c.violations)
	}
	s.c.mayRepeat = 9
	if s.c.repeatsBounded(); len(s.c.violations) != 1 {
		t.Error(s.c.violations)
	}
}

func TestCheckerMissesWhatWasNeverHandled(t *testing.T) {
	s := &story{c: newChecker(2)}
	s.assigned("a").handled("a", 0, 9)
	if s.c.handledAll(line{}, map[int32]int64{0: 10, 1: 0}); len(s.c.violations) != 0 {
		t.Error(s.c.violations)
	}
	if s.c.handledAll(line{}, map[int32]int64{0: 11, 1: 0}); len(s.c.violations) != 1 {
		t.Error(s.c.violations)
	}
}

// TestJudgeOrdersLinesByTime: a line of one host may be read after a later one
// of another.
func TestJudgeOrdersLinesByTime(t *testing.T) {
	j := newJudge()
	add := func(at int64, host, kind string) {
		j.add(line{At: at, Host: host, Kind: kind, Parts: []part{{}}})
	}
	add(4, "b", lineAssigned)
	add(1, "a", lineAssigned)
	add(3, "a", lineRevoked)
	if err := j.rest(); err != nil {
		t.Error(err)
	}
}

func TestJudgeSeesWhatGrows(t *testing.T) {
	for want, last := range map[string]line{
		"goroutines":         {Goroutines: 31, Heap: 1 << 20, Held: 1 << 20},
		"bytes of live heap": {Goroutines: 10, Heap: 18 << 20, Held: 1 << 20},
		"its budget is":      {Goroutines: 10, Heap: 1 << 20, Held: 2*budget + 1},
	} {
		j := newJudge()
		for range 70 {
			j.add(line{Kind: lineStats, Host: "a", Goroutines: 10, Heap: 1 << 20, Held: 1 << 20})
		}
		if err := j.rest(); err != nil {
			t.Fatal(err)
		}
		if j.flat(); len(j.checker.violations) != 0 {
			t.Error(j.checker.violations)
		}
		last.Kind, last.Host = lineStats, "a"
		j.add(last)
		if err := j.rest(); err != nil {
			t.Fatal(err)
		}
		if j.flat(); len(j.checker.violations) != 1 || !strings.Contains(j.checker.violations[0], want) {
			t.Errorf("%s: %q", want, j.checker.violations)
		}
	}
}
