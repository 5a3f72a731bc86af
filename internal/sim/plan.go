package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Span is a time, written as time.Duration writes it.
type Span time.Duration

func (s Span) String() string { return time.Duration(s).String() }

// MarshalText is String, for JSON.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Span) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*s = Span(d)
	return err
}

// A Plan is all that is drawn from a seed. Times are from the beginning of the run.
type Plan struct {
	Seed     uint64   `json:"seed"`
	Length   Span     `json:"length"` // when all faults are over, and the members get peace
	Brokers  int      `json:"brokers"`
	Protocol string   `json:"protocol"` // one of Protocols
	Session  Span     `json:"session"`
	Latency  Span     `json:"latency"` // the most that a message is under way
	Topics   []Topic  `json:"topics"`
	Streams  []Stream `json:"streams"`
	Members  []Member `json:"members"`
	Options  Options  `json:"options"`
	Function Function `json:"function"`
	Faults   []Fault  `json:"faults"`
}

// Protocols are how a group shares its partitions.
var Protocols = []string{"cooperative", "eager", "static", "kip-848"}

// A Topic is there from the beginning.
type Topic struct {
	Name       string `json:"name"`
	Partitions int32  `json:"partitions"`
}

// A Stream is what one producer writes to one topic.
type Stream struct {
	Topic       string `json:"topic"`
	Records     int    `json:"records"`
	From, Until Span
	Keys        int  `json:"keys"` // 0 for records without one
	Size        int  `json:"size"` // of the largest value
	Skew        Span `json:"skew"` // how far its clock is ahead of the members'
	// Transactions is how many records one has, 0 for none. One in three is aborted.
	Transactions int `json:"transactions,omitempty"`
}

// A Member is a Mapping of the group.
type Member struct {
	Name  string `json:"name"`
	Joins Span   `json:"joins"`
}

// Options are those of all members.
type Options struct {
	Start            string `json:"start"` // of Starts
	BatchSize        int    `json:"batchSize"`
	BatchWindow      Span   `json:"batchWindow"`
	BatchBytes       int    `json:"batchBytes"`
	MinPollers       int    `json:"minPollers"`
	MaxPollers       int    `json:"maxPollers"`
	OnDemand         bool   `json:"onDemand"`
	GroupBounds      bool   `json:"groupBounds"`
	Concurrency      int    `json:"concurrency"`    // of a poller
	MaxConcurrency   int    `json:"maxConcurrency"` // 0 is unlimited
	ByteRate         int    `json:"byteRate"`       // 0 is unlimited
	Backoff          Span   `json:"backoff"`
	MaxRetries       int    `json:"maxRetries"` // -1 is unlimited
	MaxAge           Span   `json:"maxAge"`     // 0 is unlimited
	Bisect           bool   `json:"bisect"`
	Destination      bool   `json:"destination"`
	InvokeTimeout    Span   `json:"invokeTimeout"`
	RevokeTimeout    Span   `json:"revokeTimeout"`
	StopTimeout      Span   `json:"stopTimeout"`
	Memory           int64  `json:"memory"` // 0 is the default
	ReadCommitted    bool   `json:"readCommitted"`
	DeliveryTakes    Span   `json:"deliveryTakes"`    // at most
	DeliveryFailures int    `json:"deliveryFailures"` // of 100
}

// Starts are where a new group begins.
var Starts = []string{"trim-horizon", "latest"}

// A Function is what the members call. Its odds are of 1,000 calls, or of 1,000
// records.
type Function struct {
	Takes     Span `json:"takes"` // at least
	Spread    Span `json:"spread"`
	Fails     int  `json:"fails"`
	Panics    int  `json:"panics"`
	Exits     int  `json:"exits"` // by runtime.Goexit
	Throttles int  `json:"throttles"`
	Hangs     int  `json:"hangs"` // until its context ends, ten seconds at most
	Deaf      int  `json:"deaf"`  // the same, but it ignores its context
	Some      int  `json:"some"`  // says which records failed
	Stops     int  `json:"stops"` // says that it stopped at one
	TooLarge  int  `json:"tooLarge"`
	Scribbles int  `json:"scribbles"` // writes into what it got
	Poison    int  `json:"poison"`    // records: their first calls fail, or all of them if they can be given up
	Permanent int  `json:"permanent"` // records
}

// A Fault is something that goes wrong, or that a user does, at a time and for a
// time. What it does not need is zero.
type Fault struct {
	At        Span   `json:"at"`
	Kind      Kind   `json:"kind"`
	For       Span   `json:"for,omitempty"`
	Member    string `json:"member,omitempty"`
	Broker    int32  `json:"broker,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition,omitempty"`
	Key       int16  `json:"key,omitempty"`  // of a request
	Code      int16  `json:"code,omitempty"` // of an error
	Level     string `json:"level,omitempty"`
	N         int    `json:"n,omitempty"`
}

// A Kind says what a Fault does.
type Kind string

// The kinds of faults.
const (
	// Of the network between a member, or all of them, and one broker, or all.
	Lose    Kind = "lose"     // N requests of a kind are not delivered, and the connection ends
	Unheard Kind = "unheard"  // N answers to requests of a kind are not delivered, and the connection ends
	Late    Kind = "late"     // answers to requests of a kind are under way For
	Twice   Kind = "twice"    // N requests of a kind arrive twice
	Stall   Kind = "stall"    // nothing passes meanwhile, and then all of it
	Silent  Kind = "silent"   // connections that are open pass nothing any more; new ones do
	Cut     Kind = "cut"      // connections that are open end
	Down    Kind = "down"     // a broker cannot be reached
	Refuse  Kind = "refuse"   // requests of a kind are answered with an error code
	Lead    Kind = "lead"     // partitions have another leader
	Rehash  Kind = "rehash"   // the group has another coordinator
	Shuffle Kind = "shuffle"  // all partitions have other leaders
	Retain  Kind = "retain"   // retention takes what is in a partition, but for the last N records
	Grow    Kind = "grow"     // a topic gets N more partitions
	Remake  Kind = "remake"   // a topic is deleted and made anew
	Kill    Kind = "kill"     // a member is gone without a word
	Forget  Kind = "forget"   // the coordinator ends the session of a member, which is not told
	Freeze  Kind = "freeze"   // a member hears and says nothing, and its function stands still
	Join    Kind = "join"     // a new member comes
	Leave   Kind = "leave"    // a member stops
	Restart Kind = "restart"  // a member stops, and one of the same name comes
	Pause   Kind = "pause"    // a member pauses, and resumes
	Update  Kind = "update"   // a member has other options
	Choke   Kind = "throttle" // the function of a member throttles all calls
	Break   Kind = "break"    // no destination takes anything
)

// Kinds are all of them.
var Kinds = []Kind{
	Lose, Unheard, Late, Twice, Stall, Silent, Cut, Down, Refuse, Lead, Rehash, Shuffle, Retain, Grow, Remake,
	Kill, Forget, Freeze, Join, Leave, Restart, Pause, Update, Choke, Break,
}

// JSON is the plan in one line.
func (p Plan) JSON() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has nothing that JSON cannot say
	}
	return string(b)
}

// String is the plan for people.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %s, %d brokers, %s, session %s, latency up to %s\n", p.Seed, p.Length, p.Brokers, p.Protocol, p.Session, p.Latency)
	for _, t := range p.Topics {
		fmt.Fprintf(&b, "  topic %s with %d partitions\n", t.Name, t.Partitions)
	}
	for _, s := range p.Streams {
		fmt.Fprintf(&b, "  %d records to %s from %s to %s, %d keys, up to %d bytes, its clock %s ahead", s.Records, s.Topic, s.From, s.Until, s.Keys, s.Size, s.Skew)
		if s.Transactions > 0 {
			fmt.Fprintf(&b, ", in transactions of %d", s.Transactions)
		}
		b.WriteByte('\n')
	}
	for _, m := range p.Members {
		fmt.Fprintf(&b, "  member %s joins at %s\n", m.Name, m.Joins)
	}
	fmt.Fprintf(&b, "  options %s\n  function %s\n", inner(p.Options), inner(p.Function))
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	return b.String()
}

// inner is what is set in a struct.
func inner(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (f Fault) String() string {
	s := fmt.Sprintf("at %s %s", f.At, f.Kind)
	for _, part := range []struct {
		say  bool
		text string
	}{
		{f.Member != "", " member " + f.Member},
		{f.Topic != "", fmt.Sprintf(" %s/%d", f.Topic, f.Partition)},
		{f.Key != 0, " " + nameOf(f.Key)},
		{f.Code != 0, " with " + codeName(f.Code)},
		{f.Level != "", " at " + f.Level},
		{f.N != 0, fmt.Sprintf(" %d", f.N)},
		{f.Broker != 0, fmt.Sprintf(" broker %d", f.Broker)},
		{f.For != 0, " for " + f.For.String()},
	} {
		if part.say {
			s += part.text
		}
	}
	return s
}
