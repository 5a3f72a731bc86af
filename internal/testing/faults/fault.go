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
	// Topic is the one of which rights are taken.
	Topic string
}

type kind string

const (
	killBroker     kind = "kill broker"     // kill -9, and started again
	killController kind = "kill controller" // the one that is active then
	freezeBroker   kind = "freeze broker"   // SIGSTOP, SIGCONT
	moveLeaders    kind = "move leaders"    // of all partitions, and the coordinator
	hangBroker     kind = "hang broker"     // its connections go silent
	cutBroker      kind = "cut broker"      // its connections end within a response
	swallowBroker  kind = "swallow broker"  // those that are there go silent for good, and new ones work

	killHost   kind = "kill host"   // kill -9, and another one starts
	freezeHost kind = "freeze host" // for longer than its session
	haltHost   kind = "halt"        // its function halts it for good, and another one starts
	joinHost   kind = "join"
	leaveHost  kind = "leave"
	// killAndTake is killHost, and retention takes all of some of its partitions
	// before anybody else has them.
	killAndTake kind = "kill, and retention takes from"
	takeGroup   kind = "rights taken away of the group"
	takeTopic   kind = "rights taken away of"

	throttle      kind = "throttle"        // the function refuses every call
	breakDest     kind = "break"           // the destination takes nothing
	pauseHost     kind = "pause"           // Pause, and later Resume
	haltForAWhile kind = "halt and resume" // the function halts it, and later Resume
	updateHost    kind = "update"          // Update
	// These are throttle and pauseHost, and meanwhile retention takes all of
	// some partitions of the host.
	throttleAndTake kind = "throttle, and retention takes from"
	pauseAndTake    kind = "pause, and retention takes from"
)

func (f fault) String() string {
	s := fmt.Sprintf("%7.1fs  %s", f.At.Seconds(), f.Kind)
	switch f.Kind {
	case killBroker, freezeBroker, hangBroker, cutBroker, swallowBroker:
		s += fmt.Sprintf(" %d", f.Broker+1)
	case killController, moveLeaders, takeGroup:
	case takeTopic:
		s += " topic " + f.Topic
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
