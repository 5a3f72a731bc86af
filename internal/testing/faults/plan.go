package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

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
	brokers = 3
	// sessionTimeout is that of the hosts.
	sessionTimeout = 6 * time.Second

	hostsFirst, hostsLeast, hostsMost = 3, 2, 4
	// calm is how long nothing happens at the beginning.
	calm = 10 * time.Second
	// mildly is for how long then nothing is broken, at most: a member comes
	// and one leaves, which must not repeat anything. A fifth of short runs.
	mildly = 34 * time.Second
	// lull is how long, later, no broker is broken now and then, for the same
	// reason.
	lull = 25 * time.Second
	// swallowed is how long a client of the hosts may take to miss a connection
	// that was swallowed: no request waits longer than one to join the group, for
	// the time of a rebalance, which is 25 s, and 10 s more.
	swallowed = 36 * time.Second
	// rightsRest is how long after rights came back nobody comes or goes: that
	// alone has to bring the partitions back.
	rightsRest = 6 * time.Second
)

// newPlan draws a plan. In each track, each kind of fault comes once before
// any comes again.
func newPlan(seed uint64, length time.Duration, protocol string) plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := plan{Seed: seed, For: length, Protocol: []string{cooperative, serverSide, static}[rng.IntN(3)]}
	if protocol != "" {
		p.Protocol = protocol
	}
	p.brokers(rng)
	p.mappings(rng, p.hosts(rng))
	for i := range p.Faults { // to what is printed
		p.Faults[i].At = p.Faults[i].At.Round(100 * time.Millisecond)
		p.Faults[i].For = p.Faults[i].For.Truncate(100 * time.Millisecond)
	}
	slices.SortStableFunc(p.Faults, func(a, b fault) int { return int(a.At - b.At) })
	return p
}

func (p *plan) brokers(rng *rand.Rand) {
	var deck []kind
	next := rng.IntN(brokers)
	for at := min(mildly, max(calm, p.For/5)); ; {
		if len(deck) == 0 {
			if len(p.Faults) > 0 {
				at += lull
			}
			deck = shuffled(rng, kindsOf[brokersTrack])
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
		case swallowBroker:
			f.Broker, f.For = rng.IntN(brokers), swallowed
		case cutBroker:
			f.Broker, f.For = rng.IntN(brokers), between(rng, 2*time.Second, 6*time.Second)
		}
		at += f.For + between(rng, 5*time.Second, 8*time.Second)
		if at > p.For {
			return
		}
		p.Faults = append(p.Faults, f)
	}
}

// A life says from when to when a host is there.
type life struct {
	host     string
	from, to time.Duration
}

// hosts lets a member come or go every ten seconds: by itself, or killed, or
// halted, or frozen for longer than its session. The first ones come and go by
// themselves, before anything is broken.
func (p *plan) hosts(rng *rand.Rand) (lives []life) {
	var alive []string
	bear := func(at time.Duration) string {
		host := fmt.Sprint("h", len(lives)+1)
		lives = append(lives, life{host, at, p.For})
		alive = append(alive, host)
		return host
	}
	bury := func(i int, at time.Duration) {
		j := slices.IndexFunc(lives, func(l life) bool { return l.host == alive[i] })
		lives[j].to = at
		alive = slices.Delete(alive, i, i+1)
	}
	for range hostsFirst {
		bear(0)
	}
	p.Hosts = slices.Clone(alive)
	deck := []kind{joinHost, leaveHost}
	for at := calm; ; {
		if len(deck) == 0 {
			deck = shuffled(rng, kindsOf[hostsTrack])
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
		case freezeHost:
			f.For = sessionTimeout + between(rng, 2*time.Second, 8*time.Second)
		case takeGroup:
			f.Host, f.For = "", between(rng, 4*time.Second, 10*time.Second)
		case takeTopic:
			f.Host, f.For = "", between(rng, 4*time.Second, 10*time.Second)
			f.Topic = topics[rng.IntN(len(topics))].name
		}
		next := at + max(10*time.Second, f.For).Round(100*time.Millisecond)
		if f.Kind == takeGroup || f.Kind == takeTopic {
			next += rightsRest
		}
		if next > p.For {
			return lives
		}
		switch f.Kind {
		case joinHost:
			f.Host = bear(at)
		case leaveHost, killHost, killAndTake, haltHost:
			bury(i, at)
		}
		p.Faults = append(p.Faults, f)
		if f.Kind == killHost || f.Kind == killAndTake || f.Kind == haltHost {
			at += 3 * time.Second
			p.Faults = append(p.Faults, fault{At: at, Kind: joinHost, Host: bear(at)})
		}
		at = next
	}
}

// mappings does to hosts that are there what their users do, each a few seconds
// after the one before.
func (p *plan) mappings(rng *rand.Rand, lives []life) {
	var deck []kind
	options := rng.IntN(len(updates))
	for at := calm + between(rng, 2*time.Second, 6*time.Second); ; {
		if len(deck) == 0 {
			deck = shuffled(rng, kindsOf[mappingsTrack])
		}
		f := fault{At: at, Kind: deck[0]}
		deck = deck[1:]
		switch f.Kind {
		case throttle, pauseHost, haltForAWhile, throttleAndTake, pauseAndTake:
			f.For = between(rng, 2*time.Second, 4*time.Second)
		case breakDest:
			f.For = between(rng, 7*time.Second, 12*time.Second)
		case updateHost:
			options = (options + 1) % len(updates)
			f.Options = options
		}
		at += f.For + between(rng, 6*time.Second, 10*time.Second)
		if at > p.For {
			return
		}
		var there []string
		for _, l := range lives {
			// Not one that is about to go, or that halts for good.
			if l.from+8*time.Second <= f.At && (l.to == p.For || l.to >= at) && !(f.Kind == haltForAWhile && p.haltsForGood(l.host)) {
				there = append(there, l.host)
			}
		}
		f.Host = there[rng.IntN(len(there))]
		p.Faults = append(p.Faults, f)
	}
}

// haltsForGood reports whether a host is one that stops when it is halted.
func (p *plan) haltsForGood(host string) bool {
	return slices.ContainsFunc(p.Faults, func(f fault) bool { return f.Kind == haltHost && f.Host == host })
}

func shuffled(rng *rand.Rand, kinds []kind) []kind {
	deck := slices.Clone(kinds)
	rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
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
