package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// LongEvery is how often a plan is a long one.
const LongEvery = 50

const (
	second = Span(time.Second)
	minute = Span(time.Minute)
	milli  = Span(time.Millisecond)
)

// A drawer draws one plan.
type drawer struct {
	*rand.Rand
	p *Plan
}

// between is a time, in milliseconds.
func (d drawer) between(lo, hi Span) Span { return lo + Span(d.Int64N(int64((hi-lo)/milli)+1))*milli }

func (d drawer) chance(of100 int) bool { return d.IntN(100) < of100 }

func pick[T any](d drawer, of ...T) T { return of[d.IntN(len(of))] }

// Draw draws the plan of a seed.
func Draw(seed uint64) Plan {
	p := Plan{Seed: seed}
	d := drawer{rand.New(rand.NewPCG(seed, 0x65736d)), &p}
	p.Length = d.between(10*second, 40*second)
	if d.IntN(LongEvery) == 0 {
		p.Length = d.between(5*minute, 15*minute)
	}
	p.Brokers = 1 + d.IntN(3)
	p.Protocol = pick(d, Protocols...)
	p.Session = pick(d, 6*second, 10*second, 45*second)
	p.Latency = pick(d, 2*milli, 10*milli, 50*milli)
	for i := range 1 + d.IntN(2) {
		p.Topics = append(p.Topics, Topic{Name: fmt.Sprintf("topic-%d", i), Partitions: int32(1 + d.IntN(6))})
	}
	d.members()
	d.options()
	d.streams()
	d.function()
	d.faults()
	return p
}

func (d drawer) members() {
	for i := range 1 + d.IntN(3) {
		m := Member{Name: fmt.Sprintf("m%d", i)}
		if d.chance(50) {
			m.Joins = d.between(0, 5*second)
		}
		d.p.Members = append(d.p.Members, m)
	}
}

func (d drawer) options() {
	o := &d.p.Options
	o.Start = Starts[0]
	if d.chance(15) {
		o.Start = pick(d, Starts...)
	}
	o.BatchSize = pick(d, 1, 3, 10, 100)
	o.BatchWindow = pick(d, 0, 0, 100*milli, second, 3*second)
	o.BatchBytes = pick(d, 500_000, 10_000, 100)
	o.MinPollers, o.MaxPollers = 1, pick(d, 1, 2, 200)
	o.OnDemand = d.chance(10)
	o.GroupBounds = !o.OnDemand && d.chance(15)
	o.Concurrency = pick(d, 1, 2, 5, 5)
	if d.chance(25) {
		o.MaxConcurrency = 1 + d.IntN(4)
	}
	if d.chance(10) {
		o.ByteRate = pick(d, 50_000, 500_000)
	}
	o.Backoff = pick(d, 50*milli, 500*milli, 2*second)
	o.MaxRetries = -1
	if o.Destination = d.chance(50); o.Destination {
		o.MaxRetries = pick(d, -1, 0, 1, 3)
		o.MaxAge = pick(d, 0, 0, minute)
		o.DeliveryTakes = pick(d, 0, 20*milli, 200*milli)
		o.DeliveryFailures, o.Backoff = pick(d, 0, 5, 10), min(o.Backoff, 500*milli)
	}
	o.Bisect = d.chance(40)
	o.InvokeTimeout = pick(d, 0, 2*second, 5*second)
	o.RevokeTimeout = pick(d, 2*second, 10*second, 30*second)
	o.StopTimeout = pick(d, 2*second, 20*second)
	o.Memory = pick[int64](d, 0, 0, 1<<20, 4<<20)
}

func (d drawer) streams() {
	for _, t := range d.p.Topics {
		for range 1 + d.IntN(2) {
			s := Stream{Topic: t.Name, Records: pick(d, 1, 20, 100, 400), Keys: pick(d, 0, 1, 5, 1000), Size: pick(d, 20, 20, 300, 5_000)}
			s.From = d.between(0, d.p.Length/2)
			s.Until = s.From + d.between(0, d.p.Length-s.From)
			if d.chance(20) {
				s.Skew = pick(d, -20*second, -2*minute, 20*second, minute)
			}
			if d.chance(15) {
				s.Transactions = 1 + d.IntN(10)
				d.p.Options.ReadCommitted = true
			}
			if d.p.Options.Memory > 0 && d.chance(30) {
				s.Records, s.Size = 40, 120_000
			}
			if d.p.Options.ByteRate > 0 { // or a partition waits for minutes until it is its turn
				s.Size = min(s.Size, 5_000)
			}
			d.p.Streams = append(d.p.Streams, s)
		}
	}
	if !d.p.Options.ReadCommitted {
		return
	}
	// Where a response is full, the cluster leaves out which transactions were aborted:
	// see docs/testing.md. So none is.
	d.p.Options.Memory = 0
	for i := range d.p.Streams {
		d.p.Streams[i].Size = min(d.p.Streams[i].Size, 300)
	}
}

func (d drawer) function() {
	f := &d.p.Function
	f.Takes = pick(d, 0, milli, 20*milli, 200*milli)
	f.Spread = pick(d, milli, 50*milli, second)
	if o := &d.p.Options; o.BatchSize == 1 || o.BatchBytes < 1000 {
		// A plan is no longer than what its function takes for one record after the other.
		f.Takes, f.Spread = min(f.Takes, 20*milli), min(f.Spread, 50*milli)
		o.Backoff, o.DeliveryTakes = min(o.Backoff, 500*milli), min(o.DeliveryTakes, 20*milli)
	}
	often := func(n int) int {
		if d.chance(70) {
			return 0
		}
		return 1 + d.IntN(n)
	}
	f.Fails, f.Panics, f.Exits = often(200), often(50), often(50)
	f.Throttles, f.Hangs, f.Deaf = often(50), often(20), often(10)
	f.Some, f.Stops, f.TooLarge = often(200), often(100), often(100)
	f.Scribbles, f.Poison = often(300), often(20)
	if d.p.Options.Destination {
		f.Permanent = often(30)
	}
}

// shares are how often a kind is drawn.
var shares = map[Kind]int{
	Lose: 6, Unheard: 8, Late: 6, Twice: 5, Stall: 5, Silent: 4, Cut: 5, Down: 4, Refuse: 12, Lead: 4, Rehash: 4, Shuffle: 2,
	Retain: 3, Grow: 2, Remake: 2, Kill: 5, Forget: 5, Freeze: 4, Join: 6, Leave: 5, Restart: 4, Pause: 3, Update: 4, Choke: 3, Break: 3,
}

func (d drawer) faults() {
	n := d.IntN(9)
	if d.p.Length > minute {
		n *= 4
	}
	all := 0
	for _, k := range Kinds {
		all += shares[k]
	}
	for range n {
		at := d.IntN(all)
		i := 0
		for at >= shares[Kinds[i]] {
			at -= shares[Kinds[i]]
			i++
		}
		d.fault(Kinds[i])
	}
	slices.SortStableFunc(d.p.Faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
}

// fault draws one of a kind, and what has to follow it.
func (d drawer) fault(k Kind) {
	f := Fault{Kind: k, At: d.between(0, d.p.Length)}
	until := max(second, d.p.Length-f.At)
	topic := pick(d, d.p.Topics...)
	request := pick(d, requestsOf(d.p.Protocol)...)
	someone := func() string { return pick(d, d.p.Members...).Name }
	if d.chance(70) {
		f.Member = someone()
	}
	switch k {
	case Lose, Unheard, Twice:
		f.Key, f.N, f.For = int16(request.key), 1+d.IntN(3), d.between(second, max(second, until))
		// A fetch is of a session, and this heartbeat of an epoch, and both have been left.
		if k == Twice && (request.key == kmsg.Fetch || request.key == kmsg.ConsumerGroupHeartbeat) {
			f.Key = int16(kmsg.OffsetCommit)
		}
	case Late:
		f.Key, f.For, f.N = int16(request.key), d.between(second, min(until, 20*second)), 1+d.IntN(8)
	case Stall:
		f.For = pick(d, d.between(100*milli, 2*second), d.between(second, min(until, 15*second)))
	case Silent, Cut:
		f.Broker = int32(d.IntN(d.p.Brokers))
	case Down:
		f.Broker, f.For, f.Member = int32(d.IntN(d.p.Brokers)), d.between(second, min(until, 20*second)), ""
	case Refuse:
		f.Member, f.Key, f.Level, f.Code = "", int16(request.key), pick(d, request.levels...), pick(d, codes()...)
		f.Topic, f.Partition = topic.Name, d.Int32N(topic.Partitions)
		if f.N = pick(d, 0, 1, 3); f.N == 0 {
			f.For = d.between(second, min(until, 15*second))
		}
	case Lead:
		f.Member, f.Topic, f.Partition, f.Broker = "", topic.Name, d.Int32N(topic.Partitions), int32(d.IntN(d.p.Brokers))
	case Rehash, Shuffle:
		f.Member = ""
	case Retain:
		f.Member, f.Topic, f.Partition, f.N = "", topic.Name, d.Int32N(topic.Partitions), pick(d, 0, 1, 5)
	case Grow:
		f.Member, f.Topic, f.N = "", topic.Name, 1+d.IntN(3)
	case Remake:
		f.Member, f.Topic = "", topic.Name
	case Kill, Leave, Forget:
		f.Member = someone()
	case Freeze:
		f.Member, f.For = someone(), pick(d, d.between(second, d.p.Session/2), d.p.Session+d.between(second, 10*second))
	case Join:
		f.Member = fmt.Sprintf("j%d", len(d.p.Faults))
	case Restart, Choke, Pause:
		f.Member, f.For = someone(), d.between(second, min(until, 10*second))
	case Update:
		f.Member, f.N = someone(), 1+d.IntN(20)
	case Break:
		f.Member, f.For = "", d.between(second, min(until, 10*second))
	}
	d.p.Faults = append(d.p.Faults, f)
}
