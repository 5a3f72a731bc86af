package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
)

// aLittle is more than what the lines of a story take.
const aLittle = 2 * time.Second

// TestNoPartitionStandsStillUnnamed: each way to stand still, beside what looks
// nearly the same.
func TestNoPartitionStandsStillUnnamed(t *testing.T) {
	waits := func(s *story) *story { return s.assigned("a").handled("a", 0, 9).committed("a", 10) }
	const long = mostStill + aLittle
	for name, tell := range map[string]func(*story){
		"nothing of it moves":        func(s *story) { waits(s).ending(11, long) },
		"nothing of it ever moved":   func(s *story) { s.assigned("a").ending(1, long) },
		"a call that does not end":   func(s *story) { waits(s).called("a", "1", 10, 10).ending(11, long) },
		"after a retry":              func(s *story) { waits(s).failed("a", 10, 10, 2).ending(11, long) },
		"the end moves, and nothing": func(s *story) { waits(s).ending(11, 20*time.Second).ending(500, long-20*time.Second) },
		"another partition moves": func(s *story) {
			waits(s).on(1).assigned("a").on(0)
			o := int64(0)
			s.ending(11, long, func(s *story) { s.on(1).handled("a", o, o).on(0); o++ })
		},
		"another host lives": func(s *story) {
			waits(s).on(1).assigned("b").on(0)
			o := int64(0)
			s.ending(11, long, func(s *story) { s.on(1).handled("b", o, o).on(0); o++ })
		},
		"another host names it": func(s *story) {
			waits(s).raised("b", "topic orders partition 0").ending(11, long)
		},
		"another partition is named": func(s *story) {
			waits(s).raised("a", "topic orders partition 1").raised("a", "topic orders partition 00").ending(11, long)
		},
		"another topic is named": func(s *story) {
			waits(s).raised("a", "topic prices").raised("a", "end of topic prices").raised("a", "topic").ending(11, long)
		},
		"the connection to a broker that does not lead it": func(s *story) {
			waits(s).raised("a", "connection to other:1").ending(11, long)
		},
		"what has nothing to do with it": func(s *story) {
			waits(s).raised("a", "lag").raised("a", "hooks").raised("a", "log").ending(11, long)
		},
		"what was named is solved": func(s *story) {
			waits(s).ending(11, 20*time.Second).raised("a", "group").ending(11, 5*time.Second).solved("a", "group").ending(11, unnamed+6*time.Second)
		},
		"its state does not name it any more": func(s *story) { // no hook said so
			waits(s).raised("a", "group").ending(11, long).does("a", lineStats).ending(11, unnamed+aLittle)
		},
		"a destination that has refused nothing of it": func(s *story) {
			waits(s).raised("a", "destination").ending(11, long)
		},
		"a destination that has taken what it refused": func(s *story) {
			waits(s).failed("a", 10, 10, maxRetries+1).delivers("a", 10, esm.ReasonRetriesExhausted, maxRetries+1).said("a", "d10", 0, -1, saysRefused)
			s.givenUp("a", 10, esm.ReasonRetriesExhausted, maxRetries+1).raised("a", "destination").ending(12, long)
		},
		"another topic is why it is not healthy": func(s *story) {
			waits(s).say("a", line{Kind: lineStats, Unwell: "esm: not healthy: topic prices: not there"}).ending(11, long)
		},
		"a fault that ended before": func(s *story) {
			waits(s).breaks(killBroker).ending(11, 20*time.Second).mends(killBroker).ending(11, long)
		},
		"a fault that goes on": func(s *story) {
			waits(s).breaks(killBroker).ending(11, mostStillBroken+aLittle)
		},
		"two faults, of which one ended": func(s *story) {
			waits(s).breaks(killBroker).breaks(takeTopic).mends(killBroker).mends(takeTopic).ending(11, long)
		},
		"a pause that ended": func(s *story) {
			waits(s).does("a", linePaused).ending(11, long).does("a", lineResumed).ending(11, long)
		},
		"another host is paused": func(s *story) { waits(s).does("b", linePaused).ending(11, long) },
		"another host is frozen": func(s *story) { waits(s).frozen("b").ending(11, long) },
		"retention took some of it": func(s *story) {
			waits(s).taken(20).ending(21, long)
		},
		"a new assignment of the same host": func(s *story) {
			waits(s).revoked("a").assigned("a").ending(11, long)
		},
		"the host that has it now": func(s *story) { // and not the one that does not know
			waits(s).assigned("b").breaks(hangBroker).ending(11, 20*time.Second).lost("a").ending(11, mostStillBroken)
		},
		"the last record of a compacted partition": func(s *story) {
			s.on(prices.first).assigned("a").handled("a", 0, 9).ending(20, long)
		},
		"a record of a transaction that was committed": func(s *story) {
			s.on(ledger.first).assigned("a").transaction(0, 0, committed).ending(1, long)
		},
	} {
		t.Run(name, func(t *testing.T) { reject(t, "it stands still in ", tell) })
	}
	for name, tell := range map[string]func(*story){
		"not for long":     func(s *story) { waits(s).ending(11, mostStill-aLittle) },
		"nothing waits":    func(s *story) { waits(s).ending(10, 10*time.Minute) },
		"nobody has it":    func(s *story) { waits(s).revoked("a").ending(11, long) },
		"it moves at last": func(s *story) { waits(s).ending(11, 28*time.Second).handled("a", 10, 10).ending(12, 28*time.Second) },
		"calls that fail": func(s *story) {
			waits(s).ending(11, time.Minute, func(s *story) { s.failed("a", 10, 10, 1) })
		},
		"deliveries that fail": func(s *story) {
			waits(s).failed("a", 10, 10, maxRetries+1).ending(11, time.Minute, func(s *story) {
				s.delivers("a", 10, esm.ReasonRetriesExhausted, maxRetries+1).said("a", "d10", 0, -1, saysRefused)
			})
		},
		"commits that come late": func(s *story) {
			o := int64(1)
			s.assigned("a").handles("a", 0, 90).ending(92, time.Minute, func(s *story) { s.committed("a", o); o++ })
		},
		"something waits only now": func(s *story) { waits(s).ending(10, time.Minute).ending(11, mostStill-aLittle) },
		"it has it only now": func(s *story) {
			waits(s).ending(11, 28*time.Second).revoked("a").assigned("b").ending(11, 28*time.Second)
		},
		"it is named": func(s *story) {
			waits(s).ending(11, 28*time.Second).raised("a", "topic orders partition 0").ending(11, 10*time.Minute)
		},
		"its topic":    func(s *story) { waits(s).raised("a", "topic orders").ending(11, 10*time.Minute) },
		"its end":      func(s *story) { waits(s).raised("a", "end of topic orders").ending(11, 10*time.Minute) },
		"the group":    func(s *story) { waits(s).raised("a", "group").ending(11, 10*time.Minute) },
		"commits":      func(s *story) { waits(s).raised("a", "commit").ending(11, 10*time.Minute) },
		"the function": func(s *story) { waits(s).raised("a", "function").ending(11, 10*time.Minute) },
		"the destination, which refused a record": func(s *story) {
			waits(s).failed("a", 10, 10, maxRetries+1).delivers("a", 10, esm.ReasonRetriesExhausted, maxRetries+1).said("a", "d10", 0, -1, saysRefused)
			s.raised("a", "destination").ending(11, 10*time.Minute)
		},
		"the destination, which has one": func(s *story) {
			waits(s).failed("a", 10, 10, maxRetries+1).delivers("a", 10, esm.ReasonRetriesExhausted, maxRetries+1).raised("a", "destination").ending(11, 10*time.Minute)
		},
		"its leader": func(s *story) { waits(s).raised("a", "connection to leader:1").ending(11, 10*time.Minute) },
		"the state names it": func(s *story) {
			waits(s).say("a", line{Kind: lineStats, Problems: []string{"group"}}).ending(11, 10*time.Minute)
		},
		"it says it is unwell": func(s *story) {
			waits(s).say("a", line{Kind: lineStats, Unwell: "esm: not healthy: records are ready, and nothing was invoked"}).ending(11, 10*time.Minute)
		},
		"unwell for this topic": func(s *story) {
			waits(s).say("a", line{Kind: lineStats, Unwell: "esm: not healthy: topic orders: no"}).ending(11, 10*time.Minute)
		},
		"a problem that comes again": func(s *story) {
			waits(s).ending(11, 20*time.Second)
			seconds := 0
			s.ending(11, 10*time.Minute, func(s *story) {
				if seconds++; seconds%4 == 0 {
					s.raised("a", "topic orders partition 0")
				} else {
					s.solved("a", "topic orders partition 0")
				}
			})
		},
		"brokers are broken": func(s *story) {
			waits(s).breaks(killBroker).ending(11, mostStillBroken-aLittle)
		},
		"a fault of each track": func(s *story) {
			waits(s).breaks(killBroker).ending(11, 10*time.Second).breaks(takeGroup).mends(killBroker).ending(11, 20*time.Second).mends(takeGroup)
			s.ending(11, mostStill-aLittle)
		},
		"it is frozen": func(s *story) {
			waits(s).frozen("a").ending(11, 10*time.Minute).thawed("a").ending(11, mostStill-aLittle)
		},
		"it is paused": func(s *story) {
			waits(s).does("a", linePaused).ending(11, 10*time.Minute).does("a", lineResumed).ending(11, mostStill-aLittle)
		},
		"it is halted": func(s *story) {
			waits(s).does("a", lineHalted).ending(11, 10*time.Minute).does("a", lineResumed).ending(11, mostStill-aLittle)
		},
		"a halt within a pause": func(s *story) {
			waits(s).does("a", lineHalted).does("a", linePaused).does("a", lineResumed).ending(11, 10*time.Minute).does("a", lineResumed).ending(11, mostStill-aLittle)
		},
		"it is to stop": func(s *story) { waits(s).does("a", lineLeaving).ending(11, 10*time.Minute) },
		"it was killed": func(s *story) { waits(s).killed("a").ending(11, 10*time.Minute) },
		"it does not know that it is another host's": func(s *story) { // which reads it
			waits(s).breaks(hangBroker).assigned("b")
			o := int64(10)
			s.ending(500, 200*time.Second, func(s *story) { s.handled("b", o, o); o++ })
		},
		"retention took all of it": func(s *story) { waits(s).taken(20).ending(20, 10*time.Minute) },
		"the others were compacted": func(s *story) {
			s.on(prices.first).assigned("a").handled("a", 0, 3).handled("a", 9, 9).ending(10, 10*time.Minute)
		},
		"the others are of no commit": func(s *story) {
			s.on(ledger.first).assigned("a").transaction(0, 0, aborted).transaction(1, 1, undecided).ending(2, 10*time.Minute)
		},
		"and those of a commit are done": func(s *story) {
			s.on(ledger.first).assigned("a").transaction(0, 0, committed).shown("a", 0, 0, 0).ending(2, 10*time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) { accept(t, tell) })
	}
}

// TestAStandstillIsSaidOnceAndMeasured: what is said names what the host named
// instead.
func TestAStandstillIsSaidOnceAndMeasured(t *testing.T) {
	s := newStory()
	s.assigned("a").raised("a", "lag").ending(1, mostStill+aLittle)
	if v := s.c.violations; len(v) != 1 || !strings.Contains(v[0], `orders/0: `) || !strings.Contains(v[0], `it ends at 1; what the host names is ["lag"]`) {
		t.Errorf("%q", v)
	}
	s.ending(1, mostStill-2*aLittle)
	if len(s.c.violations) != 1 {
		t.Errorf("%q", s.c.violations)
	}
	if got := time.Duration(s.c.longest.still).Round(time.Second); got != mostStill {
		t.Errorf("the longest was %s", got)
	}
	s.raised("a", "group").ending(1, time.Minute)
	if got := time.Duration(s.c.longest.named); got < time.Minute {
		t.Errorf("the longest with a name was %s", got)
	}
}
