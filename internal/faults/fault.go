package main

import (
	"fmt"
	"time"
)

// A fault is one thing that is done to the cluster, to a host, or to what a
// host's Mapping is made of.
type fault struct {
	At   time.Duration // since the beginning, at the earliest
	Kind kind
	// Broker is counted from 0.
	Broker int
	Host   string
	// For is how long it lasts.
	For time.Duration
	// Options are those that an update sets: an index of updates.
	Options int
}

type kind string

const (
	killBroker     kind = "kill broker"     // kill -9, and started again
	killController kind = "kill controller" // the one that is active then
	freezeBroker   kind = "freeze broker"   // SIGSTOP, SIGCONT
	moveLeaders    kind = "move leaders"    // of all partitions, and the coordinator
	hangBroker     kind = "hang broker"     // its connections go silent
	cutBroker      kind = "cut broker"      // its connections end within a response

	killHost   kind = "kill host"   // kill -9, and another one starts
	freezeHost kind = "freeze host" // for longer than its session
	haltHost   kind = "halt"        // its function halts it for good, and another one starts
	joinHost   kind = "join"
	leaveHost  kind = "leave"

	throttle      kind = "throttle"        // the function refuses every call
	breakDest     kind = "break"           // the destination takes nothing
	pauseHost     kind = "pause"           // Pause, and later Resume
	haltForAWhile kind = "halt and resume" // the function halts it, and later Resume
	updateHost    kind = "update"          // Update
)

// A track is one row of faults, one after the other. The tracks run beside
// each other.
type track int

const (
	// brokersTrack: one broker is away at most, so the cluster never loses data
	// by itself.
	brokersTrack track = iota
	// hostsTrack: members come and go.
	hostsTrack
	// mappingsTrack: what users do with a Mapping that stays, and what its
	// function and its destination do.
	mappingsTrack
)

var tracks = [...]track{brokersTrack, hostsTrack, mappingsTrack}

// kindsOf are the kinds of each track.
var kindsOf = [...][]kind{
	brokersTrack:  {killBroker, killController, freezeBroker, moveLeaders, hangBroker, cutBroker},
	hostsTrack:    {joinHost, leaveHost, killHost, freezeHost, haltHost},
	mappingsTrack: {throttle, breakDest, pauseHost, haltForAWhile, updateHost},
}

func (k kind) track() track {
	for _, t := range tracks {
		for _, of := range kindsOf[t] {
			if of == k {
				return t
			}
		}
	}
	panic(fmt.Sprintf("%q is of no track", string(k)))
}

func (f fault) String() string {
	s := fmt.Sprintf("%7.1fs  %s", f.At.Seconds(), f.Kind)
	switch f.Kind {
	case killBroker, freezeBroker, hangBroker, cutBroker:
		s += fmt.Sprintf(" %d", f.Broker+1)
	case killController, moveLeaders:
	case breakDest:
		s += " destination of " + f.Host
	case updateHost:
		s += fmt.Sprintf(" %s to %s", f.Host, updates[f.Options])
	default:
		s += " " + f.Host
	}
	if f.For > 0 {
		s += fmt.Sprintf(" for %.1fs", f.For.Seconds())
	}
	return s
}

// settings are the options of a host that an update changes.
type settings struct {
	BatchSize   int
	Window      time.Duration
	MaxPollers  int
	Concurrency int // of a poller
	Limit       int // of all calls, 0 for none
	Bisect      bool
	Budget      int64 // of memory
}

func (s settings) String() string {
	limit := "no limit"
	if s.Limit > 0 {
		limit = fmt.Sprint("at most ", s.Limit)
	}
	return fmt.Sprintf("batches of %d in %s, %d pollers of %d, %s, bisect %t, %d MiB", s.BatchSize, s.Window, s.MaxPollers, s.Concurrency, limit, s.Bisect, s.Budget>>20)
}

// updates are what hosts change to, and the first is how they begin.
var updates = []settings{
	{BatchSize: 50, Window: 50 * time.Millisecond, MaxPollers: 10, Concurrency: 5, Bisect: true, Budget: budget},
	{BatchSize: 20, Window: 0, MaxPollers: 3, Concurrency: 4, Bisect: true, Budget: budget},
	{BatchSize: 120, Window: 200 * time.Millisecond, MaxPollers: 20, Concurrency: 2, Limit: 12, Budget: budget * 3 / 4},
	{BatchSize: 35, Window: 20 * time.Millisecond, MaxPollers: 5, Concurrency: 5, Limit: 20, Bisect: true, Budget: budget},
}
