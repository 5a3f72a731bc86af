package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A fault is one thing that is done to the cluster or to a host.
type fault struct {
	At   time.Duration // since the beginning, at the earliest
	Kind kind
	// Broker is counted from 0.
	Broker int
	Host   string
	// For is how long it lasts.
	For time.Duration
}

type kind string

const (
	killBroker     kind = "kill broker"     // kill -9, and started again
	killController kind = "kill controller" // the one that is active then
	freezeBroker   kind = "freeze broker"   // SIGSTOP, SIGCONT
	moveLeaders    kind = "move leaders"    // of all partitions
	hangBroker     kind = "hang broker"     // its connections go silent
	cutBroker      kind = "cut broker"      // its connections end within a response
	killHost       kind = "kill host"       // kill -9, and another one starts
	freezeHost     kind = "freeze host"     // for longer than its session
	joinHost       kind = "join"
	leaveHost      kind = "leave"
)

// onBrokers reports whether a fault is one of the brokers' track. The tracks
// run beside each other, and each does one thing after the other: so one
// broker is away at most, and the cluster never loses data by itself.
func (k kind) onBrokers() bool {
	switch k {
	case killBroker, killController, freezeBroker, moveLeaders, hangBroker, cutBroker:
		return true
	}
	return false
}

// movesCoordinator reports whether a fault can take the group from the broker
// that has it: that broker is gone for longer than the others wait.
func (k kind) movesCoordinator() bool {
	return k == killBroker || k == killController || k == freezeBroker
}

func (f fault) String() string {
	s := fmt.Sprintf("%7.1fs  %s", f.At.Seconds(), f.Kind)
	switch f.Kind {
	case killBroker, freezeBroker, hangBroker, cutBroker:
		s += fmt.Sprintf(" %d", f.Broker+1)
	case killHost, freezeHost, joinHost, leaveHost:
		s += " " + f.Host
	}
	if f.For > 0 {
		s += fmt.Sprintf(" for %.1fs", f.For.Seconds())
	}
	return s
}

// A plan is what a seed makes of a duration.
type plan struct {
	Seed     uint64
	For      time.Duration
	Protocol string   // how the hosts share partitions
	Hosts    []string // those that begin
	Faults   []fault
}

// The protocols of a group.
const (
	cooperative = "cooperative"
	serverSide  = "KIP-848"
	static      = "static"
)

const (
	brokers    = 3
	partitions = 24
	// sessionTimeout is that of the hosts.
	sessionTimeout = 6 * time.Second

	hostsFirst, hostsLeast, hostsMost = 3, 2, 4
	// calm is how long nothing happens at the beginning.
	calm = 10 * time.Second
)

// newPlan draws a plan. Each kind of fault comes once before any comes again.
func newPlan(seed uint64, length time.Duration, protocol string) plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := plan{Seed: seed, For: length, Protocol: []string{cooperative, serverSide, static}[rng.IntN(3)]}
	if protocol != "" {
		p.Protocol = protocol
	}
	p.brokersTrack(rng)
	p.hostsTrack(rng)
	for i := range p.Faults { // to what is printed
		p.Faults[i].At = p.Faults[i].At.Round(100 * time.Millisecond)
		p.Faults[i].For = p.Faults[i].For.Truncate(100 * time.Millisecond)
	}
	slices.SortStableFunc(p.Faults, func(a, b fault) int { return int(a.At - b.At) })
	return p
}

func (p *plan) brokersTrack(rng *rand.Rand) {
	var deck []kind
	next := rng.IntN(brokers)
	for at := calm; ; {
		if len(deck) == 0 {
			deck = []kind{killBroker, killController, freezeBroker, moveLeaders, hangBroker, cutBroker}
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		f := fault{At: at, Kind: deck[0]}
		deck = deck[1:]
		switch f.Kind {
		case killBroker:
			f.Broker, f.For = next, between(rng, 2*time.Second, 8*time.Second)
			next = (next + 1) % brokers // in turn
		case killController:
			f.For = between(rng, 2*time.Second, 8*time.Second)
		case freezeBroker, hangBroker:
			f.Broker, f.For = rng.IntN(brokers), between(rng, 3*time.Second, 15*time.Second)
		case cutBroker:
			f.Broker, f.For = rng.IntN(brokers), between(rng, 2*time.Second, 6*time.Second)
		}
		at += f.For + between(rng, 6*time.Second, 12*time.Second)
		if at > p.For {
			return
		}
		p.Faults = append(p.Faults, f)
	}
}

// hostsTrack lets a member come or go every ten seconds: by itself, or killed,
// or frozen for longer than its session.
func (p *plan) hostsTrack(rng *rand.Rand) {
	var alive []string
	born := 0
	bear := func() string {
		born++
		alive = append(alive, fmt.Sprint("h", born))
		return alive[len(alive)-1]
	}
	for range hostsFirst {
		bear()
	}
	p.Hosts = slices.Clone(alive)
	var deck []kind
	for at := calm; ; {
		if len(deck) == 0 {
			deck = []kind{joinHost, leaveHost, joinHost, leaveHost, killHost, freezeHost}
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		f := fault{At: at, Kind: deck[0]}
		deck = deck[1:]
		switch {
		case f.Kind == leaveHost && len(alive) <= hostsLeast:
			f.Kind = joinHost
		case f.Kind == joinHost && len(alive) >= hostsMost:
			f.Kind = leaveHost
		}
		i := 1 + rng.IntN(len(alive)-1) // the first one stays: its memory is watched
		f.Host = alive[i]
		switch f.Kind {
		case joinHost:
			f.Host = bear()
		case leaveHost, killHost:
			alive = slices.Delete(alive, i, i+1)
		case freezeHost:
			f.For = sessionTimeout + between(rng, 2*time.Second, 8*time.Second)
		}
		at += max(10*time.Second, f.For).Round(100 * time.Millisecond)
		if at > p.For {
			return
		}
		p.Faults = append(p.Faults, f)
		if f.Kind == killHost {
			p.Faults = append(p.Faults, fault{At: f.At + 3*time.Second, Kind: joinHost, Host: bear()})
		}
	}
}

func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}

func (p plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %s, %s, begins with %s\n", p.Seed, p.For, p.Protocol, strings.Join(p.Hosts, " "))
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	return b.String()
}
