package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
)

// Each test here breaks one rule of the checker in each way there is, and keeps
// it in the ways that look nearly the same.

func TestCheckerAcceptsWhatIsPromised(t *testing.T) {
	for name, tell := range map[string]func(*story){
		"a quiet life": func(s *story) {
			s.assigned("a").handled("a", 0, 9).handled("a", 10, 19).committed("a", 20).logged(20).revoked("a")
			s.assigned("b").handled("b", 20, 29).ends(30)
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
		"a commit that nobody heard of": func(s *story) {
			s.assigned("a").handled("a", 0, 9).logged(10).killed("a").assigned("b").handled("b", 10, 19)
		},
	} {
		t.Run(name, func(t *testing.T) { accept(t, tell) })
	}
}

// TestCallsAreOfAnAssignmentAndAlone: invariants 1 and 4.
func TestCallsAreOfAnAssignmentAndAlone(t *testing.T) {
	for want, tell := range map[string]func(*story){
		"two calls at once: 1 and 2": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).called("a", "2", 10, 19)
		},
		"two calls at once: 1 and 3": func(s *story) { // of two assignments, in one host
			s.assigned("a").called("a", "1", 0, 9).lost("a").assigned("a").called("a", "3", 0, 9)
		},
		"two calls at once: 1 and d0": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).delivers("a", 0, esm.ReasonPermanent, 1)
		},
		"it is called, and is not assigned": func(s *story) {
			s.handled("a", 0, 9)
		},
		"it is called after it was given up": func(s *story) { // the lease was older
			s.assigned("a").leased("a", "1").revoked("a").say("a", line{Kind: lineCall, Call: "1", Parts: s.offsets(0, 9)})
		},
		"call 1 begins, and no hook said so": func(s *story) {
			s.assigned("a").say("a", line{Kind: lineCall, Call: "1", Parts: s.offsets(0, 9)})
		},
		"call 1 ends, and had not begun": func(s *story) {
			s.assigned("a").ended("a", "1", 0, 9)
		},
		"it is given up while call 1 runs": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).revoked("a")
		},
		"it is assigned twice": func(s *story) { s.assigned("a").assigned("a") },
		"it is given up, and was not assigned": func(s *story) {
			s.revoked("a")
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
	t.Run("called again after it was given up", func(t *testing.T) {
		reject(t, "it is called, and is not assigned", func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).revoked("a").handled("a", 10, 19)
		})
	})
	t.Run("two hosts may have a call each", func(t *testing.T) {
		accept(t, func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).assigned("b").called("b", "2", 0, 9).lost("a").ended("b", "2", 0, 9)
		})
	})
}

// TestCallThatIsLate: between the engine's last look at its context and its
// first line, the partition may be lost, and the host may stand still.
func TestCallThatIsLate(t *testing.T) {
	late := func(after time.Duration) func(s *story) {
		return func(s *story) {
			s.assigned("a").leased("a", "1").lost("a").after(after).say("a", line{Kind: lineCall, Call: "1", Parts: s.offsets(0, 9)})
		}
	}
	accept(t, late(aMoment-10*time.Millisecond))
	reject(t, "after it was gone (lost)", late(aMoment))
	accept(t, func(s *story) {
		s.assigned("a").leased("a", "1").lost("a").frozen("a").after(time.Minute).thawed("a").say("a", line{Kind: lineCall, Call: "1", Parts: s.offsets(0, 9)})
	})
	reject(t, "after it was gone (lost)", func(s *story) { // another one was frozen
		s.assigned("a").leased("a", "1").lost("a").frozen("b").after(time.Minute).thawed("b").say("a", line{Kind: lineCall, Call: "1", Parts: s.offsets(0, 9)})
	})
	reject(t, "it is called, and is not assigned", func(s *story) { // it was leased after the loss
		s.assigned("a").lost("a").called("a", "1", 0, 9)
	})
	call := func(s *story) *story { return s.say("a", line{Kind: lineCall, Call: "1", Parts: s.offsets(0, 9)}) }
	reject(t, "it is called 3ms after it was gone (lost)", func(s *story) { // a hook held it up meanwhile
		call(s.assigned("a").leased("a", "1").lost("a").heldUp("a", "1"))
	})
	accept(t, func(s *story) { call(s.assigned("a").leased("a", "1").heldUp("a", "1").lost("a")) })
	accept(t, func(s *story) { // all of it in one moment: the order of lines counts
		at := func() *story { return s.after(-time.Millisecond) }
		s.assigned("a").leased("a", "1")
		at().broken(false)
		at().say("a", line{Kind: lineRevoked, Lost: true, Parts: []part{{}}})
		at().assigned("a")
		call(at()).ended("a", "1", 0, 9).called("a", "2", 0, 4)
	})
	accept(t, func(s *story) { // the hook was not waited for
		call(s.assigned("a").leased("a", "1")).heldUp("a", "1").ended("a", "1", 0, 9).lost("a")
	})
	accept(t, func(s *story) { // the next assignment is not judged by it
		s.assigned("a").leased("a", "1").lost("a").assigned("a").say("a", line{Kind: lineCall, Call: "1", Parts: s.offsets(5, 9)})
		s.ended("a", "1", 5, 9).handled("a", 0, 9)
	})
}

// TestCallWhosePartitionIsLostIsCancelled: one that goes on is one whose
// function does not look.
func TestCallWhosePartitionIsLostIsCancelled(t *testing.T) {
	runs := func(s *story) *story { return s.assigned("a").called("a", "1", 0, 9).lost("a") }
	end := func(cancelled bool) line {
		return line{Kind: lineEnd, Call: "1", Outcome: saysHandled, Ended: cancelled}
	}
	accept(t, func(s *story) { runs(s).after(aMoment-10*time.Millisecond).say("a", end(false)) })
	accept(t, func(s *story) { runs(s).after(time.Minute).say("a", end(true)) })
	accept(t, func(s *story) { runs(s).frozen("a").after(time.Minute).thawed("a").say("a", end(false)) })
	reject(t, "its context had not ended", func(s *story) { runs(s).after(aMoment).say("a", end(false)) })
}

// TestRecordsGoOneAfterTheOther: invariant 2.
func TestRecordsGoOneAfterTheOther(t *testing.T) {
	for want, tell := range map[string]func(*story){
		"offset 10 is called while 10 records before it are not done": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, -1).called("a", "2", 10, 19)
		},
		"offset 10 is called while 5 records before it are not done": func(s *story) { // with some of its own
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, 4).called("a", "2", 5, 10)
		},
		"offset 5 is tried again before 0, which is not done": func(s *story) { // the second half first
			s.assigned("a").failed("a", 0, 9, 2).called("a", "2", 5, 9)
		},
		"offset 0 is called while 5 records before it are not done": func(s *story) { // what is done with
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, 4).called("a", "2", 0, 9)
		},
		"offset 11 is called after 9": func(s *story) {
			s.assigned("a").handled("a", 0, 9).handled("a", 11, 12)
		},
		"offset 0 is called after 9": func(s *story) {
			s.assigned("a").handled("a", 0, 9).handled("a", 0, 9)
		},
		"offsets are not in order": func(s *story) {
			s.assigned("a").calledWith("a", "1", []part{{Spans: []span{{0, 3, 0}, {2, 5, 2}}}})
		},
		"holds nothing of it": func(s *story) {
			s.assigned("a").calledWith("a", "1", []part{{}})
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
	t.Run("halves", func(t *testing.T) {
		accept(t, func(s *story) {
			s.assigned("a").failed("a", 0, 9, 2).handled("a", 0, 4).failed("a", 5, 9, 1).handled("a", 5, 7).handled("a", 8, 9).handled("a", 10, 10)
		})
	})
	t.Run("what is too old is left out, and delivered", func(t *testing.T) {
		old := fatedRecord(t, 0, oldFate)
		accept(t, func(s *story) {
			s.assigned("a").handles("a", 0, old-2)
			s.calledWith("a", "1", []part{{Spans: []span{{old - 1, old - 1, old - 1}, {old + 1, old + 1, old + 1}}}})
			s.ended("a", "1", old-1, old-1).givenUp("a", old, esm.ReasonTooOld, 0)
			s.handled("a", old+1, old+1)
		})
	})
}

// TestWhatIsTooOldIsDeliveredTogether: of a batch that begins with one, all are
// taken out and delivered first; then the others are called, and more may
// follow them in the same batch.
func TestWhatIsTooOldIsDeliveredTogether(t *testing.T) {
	n, first := int32(0), int64(0)
	second := int64(0)
	for n = range orders.partitions {
		last := int64(-1000)
		for o := range int64(30_000) {
			if fateOf(storySeed, n, o) == oldFate {
				if o-last > 5 && o-last < 40 {
					first, second = last, o
				}
				last = o
			}
		}
		if second > 0 {
			break
		}
	}
	if second == 0 {
		t.Fatal("there are no two old records one near the other")
	}
	delivered := func(s *story) *story {
		return s.on(n).assigned("a").handles("a", 0, first-1).givenUp("a", first, esm.ReasonTooOld, 0).givenUp("a", second, esm.ReasonTooOld, 0)
	}
	others := []part{{Partition: n, Spans: []span{{first + 1, second - 1, first + 1}, {second + 1, second + 3, second + 1}}}}
	accept(t, func(s *story) {
		delivered(s).calledWith("a", "1", others).say("a", line{Kind: lineEnd, Call: "1", Outcome: saysHandled, Parts: others})
		s.handled("a", second+4, second+5)
	})
	accept(t, func(s *story) { // and fail at first
		delivered(s).calledWith("a", "1", others).ended("a", "1", 0, -1).calledWith("a", "2", others)
	})
	for want, tell := range map[string]func(*story){
		"is called while": func(s *story) { delivered(s).called("a", "1", second+1, second+3) },
		"is tried again before": func(s *story) {
			delivered(s).called("a", "1", first+2, second-1)
		},
		"records before it are not done": func(s *story) { // more than was called
			delivered(s).calledWith("a", "1", others).ended("a", "1", 0, -1).called("a", "2", first+1, second+4)
		},
		"is given up while": func(s *story) { // what was called is not done
			s.on(n).assigned("a").handles("a", 0, first-2).calledWith("a", "1", s.offsets(first-1, first-1)).ended("a", "1", 0, -1)
			s.delivers("a", first, esm.ReasonTooOld, 0)
		},
		"is called after": func(s *story) { // far from the last
			s.on(n).assigned("a").handles("a", 0, first-1-mostInBatch()).delivers("a", first, esm.ReasonTooOld, 0)
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
}

// TestNothingIsLost: invariant 3.
func TestNothingIsLost(t *testing.T) {
	for want, tell := range map[string]func(*story){
		"it begins with 20, and 10 was not handled": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).killed("a").assigned("b").handled("b", 20, 29)
		},
		"10 is committed, and 9 was not handled": func(s *story) {
			s.assigned("a").handled("a", 0, 8).committed("a", 10)
		},
		"10 is committed, and this host has done all below 5": func(s *story) {
			s.assigned("a").handled("a", 0, 9).killed("a").assigned("b").handled("b", 0, 4).committed("b", 10)
		},
		"a commit of 10, and 9 was not handled": func(s *story) {
			s.assigned("a").handled("a", 0, 8).logged(10).handled("a", 9, 9)
		},
		"a commit of 1099511627776, and 10 was not handled": func(s *story) {
			s.assigned("a").handled("a", 0, 9).logged(1 << 40)
		},
		"a commit of 6, and 5 was not handled": func(s *story) { // it is being handled
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 0, 4).called("a", "2", 5, 9).logged(6)
		},
		"11 was never handled, and the end is 12": func(s *story) {
			s.assigned("a").handled("a", 0, 10).ends(12)
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
	t.Run("in the topic with transactions, too", func(t *testing.T) {
		reject(t, "a commit of 1099511627776, and 10 was not handled", func(s *story) {
			s.on(ledger.first).assigned("a").shown("a", 0, 9, 0).logged(1 << 40)
		})
	})
	// The log is read late now and then. What was handled by then is known.
	at := func(s *story, offset, at int64) *story {
		s.c.observe(line{At: at, Host: "log", Kind: lineLogged, Parts: []part{{Offset: offset}}})
		return s
	}
	t.Run("a commit that is read late", func(t *testing.T) {
		accept(t, func(s *story) {
			s.assigned("a").handled("a", 0, 9)
			then := s.at
			at(s.handled("a", 10, 19), 10, then)
		})
		reject(t, "a commit of 20, and 10 was not handled then", func(s *story) {
			s.assigned("a").handled("a", 0, 9)
			then := s.at
			at(s.handled("a", 10, 19), 20, then)
		})
	})
}

func TestRecordsAreWhatWasWritten(t *testing.T) {
	reject(t, "offset 3 is not what was written: its key is no key", func(s *story) {
		s.assigned("a").called("a", "1", 0, 9).say("a", line{Kind: lineCorrupt, Parts: s.offsets(3, 3), Err: "its key is no key"})
	})
}

func TestTransactionsAreShownIfTheyWereCommitted(t *testing.T) {
	on := func(tell func(s *story)) func(*story) {
		return func(s *story) { tell(s.on(ledger.first).assigned("a")) }
	}
	// Two records, a marker, two of a transaction that is aborted, its marker,
	// and one more.
	write := func(s *story) *story {
		return s.transaction(0, 0, committed).transaction(1, 1, committed).transaction(3, 2, aborted).transaction(4, 3, aborted).transaction(6, 4, committed)
	}
	accept(t, on(func(s *story) { // before it is known how they ended
		write(s.shown("a", 0, 1, 0).committed("a", 3).logged(3).shown("a", 6, 6, 4)).logged(7).logged(8).ends(8)
	}))
	accept(t, on(func(s *story) { write(s).shown("a", 0, 1, 0).shown("a", 6, 6, 4).ends(8) }))
	accept(t, on(func(s *story) { // nobody says how the last one ended
		s.transaction(0, 0, committed).transaction(1, 1, undecided).transaction(2, 2, undecided).shown("a", 0, 1, 0).ends(4)
	}))
	for want, tell := range map[string]func(*story){
		"offset 3 shows record 2, whose transaction was aborted": func(s *story) {
			write(s).shown("a", 0, 1, 0).shown("a", 3, 3, 2)
		},
		"offset 4 shows record 3, whose transaction was aborted": func(s *story) {
			s.shown("a", 0, 1, 0).shown("a", 4, 4, 3).transaction(4, 3, aborted)
		},
		"offset 0 shows record 1, which is at 1": func(s *story) {
			write(s).shown("a", 0, 0, 1)
		},
		"offset 0 shows record 1, which is at 2": func(s *story) {
			s.shown("a", 0, 0, 1).transaction(2, 1, committed)
		},
		"offset 0 shows record 1, and showed 0 before": func(s *story) {
			s.shown("a", 0, 0, 0).killed("a").assigned("b").shown("b", 0, 0, 1)
		},
		"1 has record 1 of a transaction that was committed, and was not shown (a passed it over": func(s *story) {
			write(s).shown("a", 0, 0, 0).shown("a", 6, 6, 4).ends(8)
		},
		"6 has record 4 of a transaction that was committed, and was not shown (a commit passed it": func(s *story) {
			write(s).shown("a", 0, 1, 0).logged(7).ends(8)
		},
		"6 was never handled": func(s *story) {
			write(s).shown("a", 0, 1, 0).ends(8)
		},
		"offset 1 is handled, and was passed over": func(s *story) { // by the one that is killed
			s.shown("a", 0, 0, 0).shown("a", 6, 6, 4).killed("a").assigned("b").shown("b", 0, 1, 0)
		},
		"9 is committed, and the end is 8": func(s *story) {
			write(s).shown("a", 0, 1, 0).shown("a", 6, 6, 4).logged(9).ends(8)
		},
		"7 is committed, and this host has done all below 6": func(s *story) {
			write(s).shown("a", 0, 1, 0).calledWith("a", "1", []part{{Partition: s.n, Spans: []span{{6, 6, 4}}}}).committed("a", 7)
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, on(tell)) })
	}
}

func TestCompactionTakesWhatHasALaterRecord(t *testing.T) {
	n := prices.first
	key := func(o int64) string { return string(recordOf(storySeed, n, o).Key) }
	last := int64(1) // the first record that has the key of the second
	for last++; key(last) != key(1); last++ {
	}
	alone := int64(0) // one whose key does not come again before the end
	for end := last + 1; alone < end; alone++ {
		again := false
		for o := alone + 1; o < end; o++ {
			again = again || key(o) == key(alone)
		}
		if !again {
			break
		}
	}
	on := func(tell func(s *story)) func(*story) {
		return func(s *story) { tell(s.on(n).assigned("a")) }
	}
	accept(t, on(func(s *story) { // 1 is gone
		s.handled("a", 0, 0).handled("a", 2, last).committed("a", last+1).logged(last + 1).ends(last + 1)
		if s.c.did[takenByCompaction] != 1 {
			t.Errorf("%d were taken", s.c.did[takenByCompaction])
		}
	}))
	reject(t, "was never handled (a passed it over", on(func(s *story) {
		if alone > 0 {
			s.handled("a", 0, alone-1)
		} else {
			s.handled("a", last, last).killed("a").assigned("a").handled("a", 0, 0)
		}
		if alone < last {
			s.handled("a", alone+1, last)
		}
		s.ends(last + 1)
	}))
	reject(t, "offset 1 is handled, and was passed over", on(func(s *story) { // it was there for the next one
		s.handled("a", 0, 0).handled("a", 2, last).killed("a").assigned("b").handled("b", 0, last)
	}))
	accept(t, on(func(s *story) { // compaction took it between the two
		s.called("a", "1", 0, 1).assigned("b").handled("b", 0, 0).handled("b", 2, last).ended("a", "1", 0, 1).lost("a")
	}))
}

func TestRecordsAreGivenUpForAReason(t *testing.T) {
	old, young := fatedRecord(t, 0, oldFate), int64(0)
	says := func(what string) func(s *story) *story {
		return func(s *story) *story {
			return s.assigned("a").called("a", "1", young, young).said("a", "1", 0, -1, what)
		}
	}
	retried := func(times int) func(s *story) *story {
		return func(s *story) *story { return s.assigned("a").failed("a", young, young, times) }
	}
	for name, tell := range map[string]func(*story){
		"retries":   func(s *story) { retried(maxRetries+1)(s).givenUp("a", young, esm.ReasonRetriesExhausted, maxRetries+1) },
		"permanent": func(s *story) { says(saysPermanent)(s).givenUp("a", young, esm.ReasonPermanent, 1) },
		"too large": func(s *story) { says(saysTooLarge)(s).givenUp("a", young, esm.ReasonTooLarge, 1) },
		"too old": func(s *story) {
			s.assigned("a").handles("a", 0, old-1).givenUp("a", old, esm.ReasonTooOld, 0).handled("a", old+1, old+1)
		},
		"one of several": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9)
			s.say("a", line{Kind: lineEnd, Call: "1", Outcome: saysPartial, Parts: s.offsets(1, 9), Some: []some{{saysPermanent, s.offsets(0, 0)}}})
			s.givenUp("a", 0, esm.ReasonPermanent, 1).handled("a", 10, 10)
		},
		"all of a batch": func(s *story) {
			s.assigned("a").called("a", "1", 0, 1).said("a", "1", 0, -1, saysPermanent)
			s.givenUp("a", 0, esm.ReasonPermanent, 1).givenUp("a", 1, esm.ReasonPermanent, 1).handled("a", 2, 2)
		},
		"one that is not taken at first": func(s *story) {
			says(saysPermanent)(s).delivers("a", young, esm.ReasonPermanent, 1).said("a", "d0", 0, -1, saysRefused).givenUp("a", young, esm.ReasonPermanent, 1)
		},
	} {
		t.Run(name, func(t *testing.T) { accept(t, tell) })
	}
	for name, tell := range map[string]func(*story){
		"one retry too few": func(s *story) { retried(maxRetries)(s).delivers("a", young, esm.ReasonRetriesExhausted, maxRetries+1) },
		"attempts that were not": func(s *story) {
			retried(maxRetries+1)(s).delivers("a", young, esm.ReasonRetriesExhausted, maxRetries+2)
		},
		"too few attempts": func(s *story) { retried(maxRetries+1)(s).delivers("a", young, esm.ReasonRetriesExhausted, maxRetries) },
		"throttles are none": func(s *story) {
			s.assigned("a")
			for range maxRetries + 1 {
				s.called("a", "1", young, young).said("a", "1", 0, -1, saysThrottled)
			}
			s.delivers("a", young, esm.ReasonRetriesExhausted, maxRetries+1)
		},
		"not permanent": func(s *story) { says(saysFailed)(s).delivers("a", young, esm.ReasonPermanent, 1) },
		"not too large": func(s *story) { says(saysFailed)(s).delivers("a", young, esm.ReasonTooLarge, 1) },
		"too large with others": func(s *story) {
			s.assigned("a").called("a", "1", 0, 1).said("a", "1", 0, -1, saysTooLarge).delivers("a", 0, esm.ReasonTooLarge, 1)
		},
		"not too old": func(s *story) { says(saysFailed)(s).delivers("a", young, esm.ReasonTooOld, 1) },
		"for no reason": func(s *story) {
			says(saysPermanent)(s).say("a", line{Kind: lineDeliver, Call: "d", Parts: s.offsets(0, 0)})
		},
	} {
		t.Run(name, func(t *testing.T) { reject(t, "offset 0 is given up (", tell) })
	}
	for want, tell := range map[string]func(*story){
		"offset 0 is given up, and was not called": func(s *story) {
			s.assigned("a").delivers("a", 0, esm.ReasonPermanent, 1)
		},
		"offset 5 is given up, and was not called, or is done with": func(s *story) {
			s.assigned("a").handled("a", 0, 9).delivers("a", 5, esm.ReasonPermanent, 1)
		},
		"offset 9 is given up while 9 records before it are not done": func(s *story) { // it was handled
			s.assigned("a").called("a", "1", 0, 9).said("a", "1", 9, 9, saysPermanent).delivers("a", 9, esm.ReasonPermanent, 1)
		},
		"offset 1 is given up before 0, which is not done": func(s *story) {
			s.assigned("a").called("a", "1", 0, 1).said("a", "1", 0, -1, saysPermanent).delivers("a", 1, esm.ReasonPermanent, 1)
		},
		"offset 2 is given up before 1, which was refused": func(s *story) {
			s.assigned("a").called("a", "1", 0, 2).said("a", "1", 0, -1, saysPermanent).givenUp("a", 0, esm.ReasonPermanent, 1)
			s.delivers("a", 1, esm.ReasonPermanent, 1).said("a", "d1", 0, -1, saysRefused).delivers("a", 2, esm.ReasonPermanent, 1)
		},
		"call 2 begins, and offset 0 is to be given up": func(s *story) {
			says(saysPermanent)(s).delivers("a", 0, esm.ReasonPermanent, 1).said("a", "d0", 0, -1, saysRefused).called("a", "2", 0, 0)
		},
		"a commit of 1, and 0 was not handled": func(s *story) { // settled before it is delivered
			says(saysPermanent)(s).delivers("a", 0, esm.ReasonPermanent, 1).logged(1).delivered("a", 0)
		},
		"offset 0 is said to be given up, and no destination took it": func(s *story) {
			says(saysPermanent)(s).discarded("a", 0, esm.ReasonPermanent)
		},
		"offset 0 is said to be given up (too-large), and the destination was told: permanent": func(s *story) {
			says(saysPermanent)(s).delivers("a", 0, esm.ReasonPermanent, 1).delivered("a", 0).discarded("a", 0, esm.ReasonTooLarge)
		},
		"a destination took offset 0": func(s *story) {
			says(saysPermanent)(s.started("a")).delivers("a", 0, esm.ReasonPermanent, 1).delivered("a", 0).after(time.Second).stopped("a")
		},
		"0 was never handled, and the end is 1": func(s *story) {
			says(saysPermanent)(s).delivers("a", 0, esm.ReasonPermanent, 1).said("a", "d0", 0, -1, saysRefused).ends(1)
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
}

// TestWhatACrashMayRepeat: invariant 5.
func TestWhatACrashMayRepeat(t *testing.T) {
	taken := func(s *story, coordinator bool) *story { // just before the broker is gone
		return s.assigned("a").handled("a", 0, 9).committed("a", 10).broken(coordinator).handled("a", 10, 10).revoked("a")
	}
	t.Run("a coordinator that does not know the last commit of the one before", func(t *testing.T) {
		accept(t, func(s *story) { taken(s, true).assigned("b").handled("b", 0, 20) })
	})
	t.Run("with all of it, which was given up gracefully", func(t *testing.T) {
		accept(t, func(s *story) { taken(s, true).assigned("b").handled("b", 9, 20) })
	})
	for want, tell := range map[string]func(*story){
		"it begins with 0, and 10 was committed": func(s *story) {
			s.assigned("a").handled("a", 0, 9).committed("a", 10).killed("a").assigned("b").handled("b", 0, 9)
		},
		"it begins with 1, and 10 was committed": func(s *story) { // another broker is broken
			taken(s, false).assigned("b").handled("b", 1, 20)
		},
		"it begins with 0, and 9 was committed": func(s *story) { // long before the fault
			s.assigned("a").handled("a", 0, 8).committed("a", 9).handled("a", 9, 9).killed("a")
			s.after(3*time.Second).broken(true).assigned("b").handled("b", 0, 9)
		},
		"it begins with 0, and 8 was committed": func(s *story) { // and the assignment is long after it
			s.assigned("a").handled("a", 0, 7).committed("a", 8).handled("a", 8, 9).killed("a").broken(true)
			s.after(40*time.Second).assigned("b").handled("b", 0, 9)
		},
		"gave it up gracefully with all below 10 done": func(s *story) {
			s.assigned("a").handled("a", 0, 9).revoked("a").assigned("b").handled("b", 0, 9)
		},
		"gave it up gracefully with all below 9 done": func(s *story) { // a broker is broken, and not the group's
			s.assigned("a").handled("a", 0, 8).broken(false).revoked("a").assigned("b").handled("b", 0, 9)
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
	repeated := func(again int, tell func(s *story)) (repeats, may int64) {
		s := newStory()
		s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 1, 9).say("a", line{Kind: lineRevoked, Parts: s.offsets(0, 0), Again: again})
		tell(s)
		for _, v := range s.c.violations {
			t.Error(v)
		}
		return s.c.repeats, s.c.mayRepeat()
	}
	t.Run("what was handled above the frontier does not come again", func(t *testing.T) {
		if n, may := repeated(0, func(s *story) {
			s.assigned("b").handled("b", 0, 0).committed("b", 10).handled("b", 10, 12).committed("b", 13)
		}); n != 0 || may != 0 {
			t.Errorf("%d repeats, and %d are allowed", n, may)
		}
		if n, may := repeated(0, func(s *story) { s.assigned("b").handled("b", 0, 9) }); n != 9 || may != 0 {
			t.Errorf("%d repeats, and %d are allowed", n, may)
		}
	})
	t.Run("but for what is told", func(t *testing.T) {
		if n, may := repeated(9, func(s *story) { s.assigned("b").handled("b", 0, 9) }); n != 9 || may != 9 {
			t.Errorf("%d repeats, and %d are allowed", n, may)
		}
		reject(t, "it says that 10 records come again, and had done with 9 above", func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).ended("a", "1", 1, 9).say("a", line{Kind: lineRevoked, Parts: s.offsets(0, 0), Again: 10})
		})
	})
	t.Run("or where a broker was broken", func(t *testing.T) {
		if n, may := repeated(0, func(s *story) { s.broken(false).assigned("b").handled("b", 0, 9) }); n != 9 || may != 9 {
			t.Errorf("%d repeats, and %d are allowed", n, may)
		}
	})
}

// TestRepeatsAreCountedByPartition: what one may repeat is no excuse for
// another.
func TestRepeatsAreCountedByPartition(t *testing.T) {
	s := newStory()
	s.assigned("a").handled("a", 0, 9).committed("a", 5).handled("a", 10, 14).killed("a")
	s.assigned("b").handled("b", 5, 14)
	if p := s.c.parts[0]; s.c.repeats != 10 || p.repeats != 10 || s.c.mayRepeat() != 10 || s.c.ungraceful != 1 {
		t.Errorf("%d repeats, %d allowed, %d ends", s.c.repeats, s.c.mayRepeat(), s.c.ungraceful)
	}
	if s.c.repeatsBounded(line{}); len(s.c.violations) != 0 {
		t.Error(s.c.violations)
	}
	s.c.parts[0].mayRepeat, s.c.parts[1].mayRepeat = 9, 1000
	if s.c.repeatsBounded(line{}); len(s.c.violations) != 1 || !strings.Contains(s.c.violations[0], "orders/0: ") {
		t.Error(s.c.violations)
	}
}

// TestEndsThatHadNoNeed: without something broken near, a member keeps its
// session, and commits, and stops.
func TestEndsThatHadNoNeed(t *testing.T) {
	begin := func(s *story) *story { return s.started("a").assigned("a").handled("a", 0, 9) }
	for want, l := range map[string]line{
		"(lost)":                           {Kind: lineRevoked, Lost: true, Parts: []part{{}}},
		"(its commit failed: no)":          {Kind: lineRevoked, Err: "no", Parts: []part{{}}},
		"(calls were cancelled)":           {Kind: lineRevoked, Cancelled: 1, Parts: []part{{}}},
		"(its stop said: no broker cares)": {Kind: lineStopped, Err: "no broker cares"},
	} {
		t.Run(want, func(t *testing.T) {
			want = "it ended with no need " + want
			reject(t, want, func(s *story) { begin(s).say("a", l) })
			reject(t, want, func(s *story) { begin(s).broken(true).healed().after(near).say("a", l) })
			reject(t, want, func(s *story) { begin(s).frozen("b").say("a", l) })
			accept(t, func(s *story) { begin(s).broken(false).healed().after(near-10*time.Millisecond).say("a", l) })
			accept(t, func(s *story) { begin(s).broken(false).after(time.Hour).say("a", l) })
			accept(t, func(s *story) { begin(s).frozen("a").after(time.Hour).thawed("a").say("a", l) })
		})
	}
	s := newStory()
	begin(s).revoked("a").broken(true).assigned("a").handled("a", 10, 10).revoked("a")
	if n := s.c.did[calmEnd]; n != 1 || len(s.c.violations) > 0 {
		t.Errorf("%d ends without anything broken near, and %q", n, s.c.violations)
	}
}

// TestTwoHostsWithOnePartition: one that was cut off learns it within its
// session.
func TestTwoHostsWithOnePartition(t *testing.T) {
	two := func(s *story) *story {
		return s.assigned("a").handled("a", 0, 9).committed("a", 10).assigned("b").handled("b", 10, 19)
	}
	accept(t, func(s *story) { two(s).after(overlap - 20*time.Millisecond).lost("a") })
	reject(t, "b had it for 10.0", func(s *story) { two(s).after(overlap).lost("a") })
	reject(t, "b had it for 10.0", func(s *story) { // it may never say so
		two(s).after(overlap).say("a", line{Kind: lineStats}).after(time.Second).say("a", line{Kind: lineStats})
	})
	accept(t, func(s *story) { // it cannot know
		two(s).broken(true).after(time.Minute).healed().after(overlap / 2).frozen("a").after(time.Minute).thawed("a").lost("a")
	})
	reject(t, "b had it for", func(s *story) { // the other one is frozen
		two(s).frozen("b").after(overlap).lost("a")
	})
	reject(t, "it is given up as if it had been owned", func(s *story) { two(s).after(heard).revoked("a") })
	accept(t, func(s *story) { // it stops before it hears of it
		two(s).frozen("a").after(time.Minute).thawed("a").after(heard / 2).revoked("a")
	})
}

func TestOrdersAreObeyed(t *testing.T) {
	for want, tell := range map[string]func(*story){
		"it is paused, and call 1 runs": func(s *story) {
			s.assigned("a").called("a", "1", 0, 9).does("a", linePaused)
		},
		"begins while it is paused": func(s *story) {
			s.assigned("a").does("a", linePaused).called("a", "1", 0, 9)
		},
		"call d0 begins while it is paused": func(s *story) {
			s.assigned("a").failed("a", 0, 0, maxRetries+1).does("a", linePaused).delivers("a", 0, esm.ReasonRetriesExhausted, maxRetries+1)
		},
		"begins while it is halted": func(s *story) {
			s.assigned("a").does("a", lineHalted).after(leasedFor).called("a", "1", 0, 9)
		},
		"it refused an order: pause": func(s *story) { s.say("a", line{Kind: lineRefused, Err: "pause"}) },
		"call 1 holds 51 records, and may hold 50": func(s *story) {
			s.assigned("a").called("a", "1", 0, 50)
		},
		"call 1 holds 21 records, and may hold 20": func(s *story) {
			s.assigned("a").updated("a", 20, 0).after(leasedFor).called("a", "1", 0, 20)
		},
		"call 1 holds 61 records, and may hold 60": func(s *story) { // the larger of the two
			s.assigned("a").updated("a", 60, 0).called("a", "1", 0, 60)
		},
		"call 3 begins while 2 run, and there may be 2": func(s *story) {
			s.updated("a", 50, 2).after(leasedFor)
			for n, call := range []string{"1", "2", "3"} {
				s.on(int32(n)).assigned("a").called("a", call, 0, 0)
			}
		},
		"begins after it has stopped": func(s *story) {
			s.started("a").assigned("a").stopped("a").assigned("a").called("a", "1", 0, 9)
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
	for name, tell := range map[string]func(*story){
		"a pause that ends": func(s *story) {
			s.assigned("a").does("a", linePaused).does("a", lineResumed).handled("a", 0, 9)
		},
		"a pause of another host": func(s *story) { s.assigned("a").does("b", linePaused).handled("a", 0, 9) },
		"a halt that ends": func(s *story) {
			s.assigned("a").does("a", lineHalted).after(time.Minute).does("a", lineResumed).handled("a", 0, 9)
		},
		"a call that was leased before the halt": func(s *story) {
			s.assigned("a").does("a", lineHalted).after(leasedFor-10*time.Millisecond).handled("a", 0, 9)
		},
		"a call that was leased before the update": func(s *story) {
			s.assigned("a").updated("a", 20, 0).after(leasedFor-10*time.Millisecond).handled("a", 0, 49)
		},
		"a retry of a larger batch": func(s *story) {
			s.assigned("a").called("a", "1", 0, 49).ended("a", "1", 0, -1).updated("a", 20, 0).after(time.Minute).handled("a", 0, 49)
		},
		"calls that ran before the update": func(s *story) {
			for n, call := range []string{"1", "2", "3"} {
				s.on(int32(n)).assigned("a").called("a", call, 0, 0)
			}
			s.updated("a", 50, 2).after(time.Minute)
			for n, call := range []string{"1", "2", "3"} {
				s.on(int32(n)).ended("a", call, 0, 0)
			}
			s.handled("a", 1, 1)
		},
		"deliveries are not counted": func(s *story) {
			s.updated("a", 50, 1).after(time.Minute).assigned("a").failed("a", 0, 0, maxRetries+1).delivers("a", 0, esm.ReasonRetriesExhausted, maxRetries+1)
			s.on(1).assigned("a").handled("a", 0, 0)
		},
	} {
		t.Run(name, func(t *testing.T) { accept(t, tell) })
	}
}

func TestWhatAHostSaysOfItself(t *testing.T) {
	for want, tell := range map[string]func(*story){
		"the position moved backward": func(s *story) {
			s.assigned("a").say("a", line{Kind: lineReset, Parts: s.offsets(0, 9)})
		},
		"are called lost": func(s *story) {
			s.assigned("a").say("a", line{Kind: lineGone, Parts: s.offsets(0, 9)})
		},
		"start: no": func(s *story) { s.say("a", line{Kind: lineStopped, Err: "start: no"}) },
		"fetches in one second": func(s *story) {
			for range tooLong {
				s.say("a", line{Kind: lineStats, Fetches: tooManyFetches})
			}
		},
		"3 goroutines are left after its stop: main": func(s *story) {
			s.started("a").stopped("a").say("a", line{Kind: lineLeaked, Goroutines: 3, Err: "main"})
		},
		"it says what cannot be read":       func(s *story) { s.say("a", line{Kind: lineGarbled, Err: "x"}) },
		"it says what nobody understands":   func(s *story) { s.say("a", line{Kind: "sings"}) },
		"a partition that there is not":     func(s *story) { s.on(partitions).assigned("a") },
		"a partition that there is not: {A": func(s *story) { s.on(-1).assigned("a") },
		"it ended by itself": func(s *story) {
			s.started("a").say("a", line{Kind: lineEnded, Err: "exit status 2"})
		},
	} {
		t.Run(want, func(t *testing.T) { reject(t, want, tell) })
	}
	busy := func(s *story, seconds int) *story {
		for range seconds {
			s.say("a", line{Kind: lineStats, Fetches: tooManyFetches})
		}
		return s
	}
	t.Run("busy seconds while a broker is broken", func(t *testing.T) {
		accept(t, func(s *story) { busy(s.broken(false), tooLongBroken-1) })
		accept(t, func(s *story) { busy(s.broken(false).healed(), tooLong) })
		reject(t, "fetches in one second", func(s *story) { busy(s.broken(false), tooLongBroken) })
		reject(t, "fetches in one second", func(s *story) { busy(s.broken(false).healed().after(tooLong*time.Second), tooLong) })
	})
	t.Run("a start without rights", func(t *testing.T) {
		refused := line{Kind: lineStopped, Err: "start: TOPIC_AUTHORIZATION_FAILED: Not authorized"}
		accept(t, func(s *story) { s.breaks(takeTopic).say("a", refused) })
		accept(t, func(s *story) { s.breaks(takeTopic).mends(takeTopic).say("a", refused) })
		reject(t, "AUTHORIZATION", func(s *story) { s.say("a", refused) })
		reject(t, "AUTHORIZATION", func(s *story) { s.breaks(takeTopic).mends(takeTopic).after(near+time.Second).say("a", refused) })
		reject(t, "start: no", func(s *story) { s.breaks(takeTopic).say("a", line{Kind: lineStopped, Err: "start: no"}) })
	})
	t.Run("a busy second now and then", func(t *testing.T) {
		accept(t, func(s *story) {
			for range 3 * tooLong {
				for range tooLong - 1 {
					s.say("a", line{Kind: lineStats, Fetches: tooManyFetches})
				}
				s.say("a", line{Kind: lineStats})
			}
		})
	})
}
