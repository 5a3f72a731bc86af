package main

import (
	"testing"
	"time"
)

// calls lets a host call the partition that the story is about, with a share of the
// calls of the group.
func (s *story) calls(host, call string, share int) *story {
	return s.leased(host, call).say(host, line{Kind: lineCall, Call: call, Parts: s.offsets(0, 9), Share: share})
}

// has assigns partitions to a host.
func (s *story) has(host string, ns ...int32) *story {
	for _, n := range ns {
		s.on(n).assigned(host)
	}
	return s
}

// TestHostsTogetherKeepTheBoundsOfTheirGroup: what is one too many is said when nobody
// can have an excuse for it any more.
func TestHostsTogetherKeepTheBoundsOfTheirGroup(t *testing.T) {
	two := func(s *story) *story {
		s.c.most = 2
		s.has("a", 0, 1, 2).has("b", 3, 4)
		s.on(0).calls("a", "1", 1)
		return s.on(3).calls("b", "2", 1)
	}
	later := func(s *story) *story { return s.after(untilHeard).started("c") }
	const tooMany = "the hosts together may have 2 calls, and 0 the one slot of a host without a share, and they have 3: a 2, of a share of 1; b 1, of a share of 1"

	accept(t, func(s *story) { later(two(s)) })
	reject(t, tooMany, func(s *story) { later(two(s).on(1).calls("a", "3", 1)) })
	accept(t, func(s *story) { two(s).on(1).calls("a", "3", 1).after(untilHeard - 10*time.Millisecond).started("c") })
	accept(t, func(s *story) { // one of the two has ended
		later(two(s).on(0).ended("a", "1", 0, 9).on(1).calls("a", "3", 1))
	})
	accept(t, func(s *story) { // a delivery is none
		later(two(s).on(1).say("a", line{Kind: lineDeliver, Call: "d1", Reason: "too old", Parts: nil}))
	})
	accept(t, func(s *story) { // each has its own bounds
		s.c.most = 0
		s.has("a", 0, 1, 2)
		later(s.on(0).calls("a", "1", 1).on(1).calls("a", "2", 1).on(2).calls("a", "3", 1))
	})

	// A host without a share has one slot, and not two.
	accept(t, func(s *story) { later(two(s).has("c", 5, 6).on(5).calls("c", "3", 0)) })
	reject(t, "they have 4", func(s *story) { later(two(s).has("c", 5, 6).on(5).calls("c", "3", 0).on(6).calls("c", "4", 0)) })
	reject(t, "they have 3", func(s *story) { // it has got a share, and the others have not given one up
		two(s).has("c", 5, 6).on(5).calls("c", "3", 0).on(5).ended("c", "3", 0, 9).say("c", line{Kind: lineAssigned, Share: 1})
		later(s.on(6).calls("c", "4", 1))
	})

	// A call whose partitions are gone is not counted, and a host that is gone has none.
	accept(t, func(s *story) { later(two(s).on(3).lost("b").on(1).calls("a", "3", 1)) })
	accept(t, func(s *story) { later(two(s).killed("b").on(1).calls("a", "3", 1)) })

	// A host that has not heard that its session is over.
	unheard := func(s *story, after time.Duration) *story {
		return two(s).has("c", 5).on(5).calls("c", "3", 1).after(after)
	}
	accept(t, func(s *story) { later(unheard(s, untilHeard-time.Second).on(3).lost("b")) })
	reject(t, "they have 3", func(s *story) { later(unheard(s, untilHeard).on(3).lost("b")) })
	accept(t, func(s *story) { // or that stood still, and so took its time for over
		later(two(s).frozen("a").after(time.Second).thawed("a").on(1).calls("a", "3", 1))
	})
	reject(t, "they have 3", func(s *story) { // another one did
		later(two(s).frozen("c").after(time.Second).thawed("c").on(1).calls("a", "3", 1))
	})

	// What is not judged by the end of a run is judged there.
	s := newStory()
	two(s).on(1).calls("a", "3", 1)
	if s.c.crowded(s.at, false); len(s.c.violations) != 0 {
		t.Errorf("%q", s.c.violations)
	}
	if s.c.crowded(s.at, true); len(s.c.violations) != 1 || s.c.crowds.highest != 3 || s.c.crowds.excused != 0 {
		t.Errorf("%q, %+v", s.c.violations, s.c.crowds)
	}
}
