package proof_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// The sweep answers each request that a Mapping makes with each error code
// there is, for a while, and once, while a member of its group leaves and
// another comes. Two promises are held: when the answers are good again, all
// records are handled; and until then, what does not move is named.

var (
	sweepSize = flag.Int("sweep", 100, "how many scenarios of the sweep are drawn beside those that always run; -1 runs all")
	sweepSeed = flag.Uint64("sweepseed", 14, "draws them; 0 draws others each time")
)

const (
	sweepTopic, sweepGroup = "orders", "billing"
	sweepPartitions        = 4

	// sweepBegins is when the code is answered first. The client asks for
	// metadata every 30 s, so it does so meanwhile.
	sweepBegins = 15 * time.Second
	sweepLasts  = 20 * time.Second
	// sweepLong is for codes that go on: longer than Healthy needs.
	sweepLong = 8 * time.Minute
	// sweepRecovers is when all must be handled after the last bad answer. A
	// member that could not leave is waited for until its session is over.
	sweepRecovers = 90 * time.Second
	// sweepGivesUp is for the report: whether it is late, or never.
	sweepGivesUp = 6 * time.Minute

	// standsStill is how long a partition may stand still before somebody must
	// say so. A revoke that waits for a commit takes 10 s, a rebalance some more.
	standsStill = 30 * time.Second
	// commitsStill is the same for commits, of one owner. The client asks for half
	// a minute before it says that it was refused.
	commitsStill = 2 * time.Minute
	// unhealthyAfter is when Healthy or Ready must say so too.
	unhealthyAfter = 6 * time.Minute
	// problemsEnd is how long a Problem may be told after all is well.
	problemsEnd = 2 * time.Minute

	// standsNamed is for how long a Problem may be gone before the partition
	// moves: it ends with the first good answer, and records come with the next.
	standsNamed = 5 * time.Second

	// sweepLatency is how long a request is on its way. Without it a client that
	// is refused asks again in the same moment, and no time passes.
	sweepLatency = 5 * time.Millisecond
	// spins is how many requests in one virtual second are a client that goes
	// round and round nevertheless. Two members make some fifty.
	spins = 5000
)

// A sweepLevel is where in an answer the code stands.
type sweepLevel struct {
	name  string
	fault func(v sweepVictim) kfake.Fault
}

// A sweepVictim is the one that is to leave, and a partition of it.
type sweepVictim struct {
	member    string // its id in the group
	partition int32
}

var (
	topLevel   = sweepLevel{"top", func(sweepVictim) kfake.Fault { return kfake.Fault{TopLevel: true} }}
	groupLevel = sweepLevel{"group", func(sweepVictim) kfake.Fault { return kfake.Fault{Group: sweepGroup} }}
	topicLevel = sweepLevel{"topic", func(sweepVictim) kfake.Fault { return kfake.Fault{Topic: sweepTopic} }}
	partLevel  = sweepLevel{"partition", func(v sweepVictim) kfake.Fault {
		return kfake.Fault{Topic: sweepTopic, Partitions: []int32{v.partition}}
	}}
	memberLevel = sweepLevel{"member", func(v sweepVictim) kfake.Fault { return kfake.Fault{Resource: v.member} }}
)

// A sweepAPI is a request that a Mapping makes, in groups of one protocol or both.
type sweepAPI struct {
	key    kmsg.Key
	only   string
	levels []sweepLevel
}

var sweepAPIs = []sweepAPI{
	{key: kmsg.ApiVersions, levels: []sweepLevel{topLevel}},
	{key: kmsg.Metadata, levels: []sweepLevel{topLevel, topicLevel, partLevel}},
	{key: kmsg.FindCoordinator, levels: []sweepLevel{groupLevel}},
	{key: kmsg.JoinGroup, only: "classic", levels: []sweepLevel{topLevel}},
	{key: kmsg.SyncGroup, only: "classic", levels: []sweepLevel{topLevel}},
	{key: kmsg.Heartbeat, only: "classic", levels: []sweepLevel{topLevel}},
	{key: kmsg.LeaveGroup, only: "classic", levels: []sweepLevel{topLevel, memberLevel}},
	{key: kmsg.ConsumerGroupHeartbeat, only: "kip-848", levels: []sweepLevel{topLevel}},
	{key: kmsg.OffsetFetch, levels: []sweepLevel{groupLevel, partLevel}},
	{key: kmsg.OffsetCommit, levels: []sweepLevel{groupLevel, partLevel}},
	{key: kmsg.ListOffsets, levels: []sweepLevel{topicLevel, partLevel}},
	{key: kmsg.OffsetForLeaderEpoch, levels: []sweepLevel{topicLevel, partLevel}},
	{key: kmsg.Fetch, levels: []sweepLevel{topLevel, topicLevel, partLevel}},
	{key: kmsg.GetTelemetrySubscriptions, levels: []sweepLevel{topLevel}},
	{key: kmsg.PushTelemetry, levels: []sweepLevel{topLevel}},
}

// producerKeys are what the sweep's own producer asks beside these.
var producerKeys = []kmsg.Key{kmsg.Produce, kmsg.InitProducerID}

var sweepProtocols = map[string][]kgo.Opt{
	"classic": nil,
	"kip-848": {kgo.ServerSideBalancer()},
}

// unknownCode is a code that no client knows yet.
const unknownCode = 30_000

// sweepCodes are all codes that the client knows, and one that it does not.
func sweepCodes() (codes []*kerr.Error) {
	for code := int16(-1); code < 1000; code++ {
		if err := kerr.TypedErrorForCode(code); err != nil && err.Code == code {
			codes = append(codes, err)
		}
	}
	return append(codes, &kerr.Error{Message: "NOT_KNOWN", Code: unknownCode})
}

// A sweepMode is how long the code is answered.
type sweepMode string

const (
	awhile    sweepMode = "while"
	oneAnswer sweepMode = "once"
	lasting   sweepMode = "lasting"
)

// A sweepScenario is one of the sweep.
type sweepScenario struct {
	protocol string
	api      kmsg.Key
	level    sweepLevel
	code     *kerr.Error
	mode     sweepMode
}

func (s sweepScenario) String() string {
	return fmt.Sprintf("%s/%s/%s/%s/%s", s.protocol, s.api.Name(), s.level.name, s.code.Message, s.mode)
}

// sweepAll lists all scenarios. Those that always come are apart.
func sweepAll() (always, rest []sweepScenario) {
	for _, protocol := range []string{"classic", "kip-848"} {
		for _, api := range sweepAPIs {
			if api.only != "" && api.only != protocol {
				continue
			}
			for _, level := range api.levels {
				for _, code := range sweepCodes() {
					for _, mode := range []sweepMode{awhile, oneAnswer, lasting} {
						s := sweepScenario{protocol, api.key, level, code, mode}
						switch {
						case s.always():
							always = append(always, s)
						case mode != lasting || sometimesLasts(code):
							rest = append(rest, s)
						}
					}
				}
			}
		}
	}
	return always, rest
}

// sometimesLasts reports whether a code may go on for minutes: with all of them
// the nightly run would take twice as long, and the client knows no more kinds
// than these.
func sometimesLasts(code *kerr.Error) bool {
	return slices.Contains([]*kerr.Error{
		kerr.UnknownServerError, kerr.NotLeaderForPartition, kerr.CoordinatorNotAvailable, kerr.GroupAuthorizationFailed,
		kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition, kerr.RequestTimedOut, kerr.UnknownMemberID,
	}, code)
}

// always reports whether a scenario runs each time: each level once with a code
// that passes and one that does not, and what is known to have gone wrong.
func (s sweepScenario) always() bool {
	is := func(codes ...*kerr.Error) bool { return slices.Contains(codes, s.code) }
	switch {
	case s.api == kmsg.OffsetFetch && s.level.name == "partition" && s.mode == oneAnswer:
		return is(kerr.UnknownServerError, kerr.TopicAuthorizationFailed, kerr.UnstableOffsetCommit, kerr.NotCoordinator)
	case s.api == kmsg.OffsetFetch && s.mode == awhile:
		// Rights that went and came back.
		return is(kerr.GroupAuthorizationFailed)
	case s.api == kmsg.OffsetCommit && s.level.name == "group" && s.mode == lasting:
		return is(kerr.CoordinatorLoadInProgress, kerr.RebalanceInProgress, kerr.NotCoordinator)
	case s.api == kmsg.Fetch && s.level.name == "partition" && s.mode == lasting:
		// A minute with the race detector.
		return is(kerr.NotLeaderForPartition) && (s.protocol == "classic" || !raceEnabled || nightly)
	case s.mode == awhile:
		return is(kerr.UnknownServerError) && s.protocol == "classic" || is(kerr.GroupAuthorizationFailed) && s.protocol == "kip-848"
	}
	return false
}

// TestSweep is the sweep. An error names the scenario, which -run can run alone
// with -sweep -1.
func TestSweep(t *testing.T) {
	if !virtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	if testing.Short() {
		t.Skip("takes a minute; not with -short")
	}
	scenarios, rest := sweepAll()
	n, seed := *sweepSize, *sweepSeed
	switch {
	case nightly || n < 0:
		n = len(rest)
	case raceEnabled:
		n /= 10
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	if n < len(rest) {
		t.Logf("%d of %d scenarios: go test -tags synctests -run '^TestSweep$' -sweep %d -sweepseed %d", len(scenarios)+n, len(scenarios)+len(rest), n, seed)
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
	for _, s := range append(scenarios, rest[:n]...) {
		t.Run(s.String(), func(t *testing.T) { virtual(t, func(t *testing.T) { newSweep(t, s).run() }) })
	}
}

// TestSweepKnowsWhatAMappingAsks fails when a Mapping, or its client, makes a
// request that the sweep leaves out, or no longer makes one that it has.
func TestSweepKnowsWhatAMappingAsks(t *testing.T) {
	for protocol := range sweepProtocols {
		t.Run(protocol, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				s := newSweep(t, sweepScenario{protocol: protocol, api: -1})
				s.run()
				asked := s.asked.all()
				for _, api := range sweepAPIs {
					if was := slices.Contains(asked, api.key); was != (api.only == "" || api.only == protocol) {
						t.Errorf("%s was asked: %t", api.key.Name(), was)
					}
				}
			})
		})
	}
}

// TestSweepSeesWhatStandsStill has a Mapping about which the sweep must
// complain: its function handles nothing, and says that it did.
func TestSweepSeesWhatStandsStill(t *testing.T) {
	virtual(t, func(t *testing.T) {
		s := newSweep(t, sweepScenario{protocol: "classic", api: -1})
		var told list[string]
		s.errorf = func(format string, args ...any) { told.add(fmt.Sprintf(format, args...)) }
		var lazy atomic.Bool
		a := s.join("a", func(b *esm.Batch) {
			if !lazy.Load() {
				s.book.handled("a", b)
			}
		})
		s.start(a)
		s.until(5*time.Second, nil)
		kinds := func() (kinds []string) {
			for _, text := range told.all() {
				kind, _, _ := strings.Cut(text, ":")
				kinds = append(kinds, kind)
			}
			return kinds
		}
		if got := kinds(); len(got) > 0 {
			t.Errorf("while it runs: %q", told.all())
		}
		lazy.Store(true)
		for _, after := range []struct {
			d    time.Duration
			want []string
		}{
			{standsStill - 5*time.Second, nil},
			{15 * time.Second, []string{"unnamed"}},
			{unhealthyAfter, []string{"unnamed", "healthy"}},
		} {
			s.until(after.d, nil)
			if got := kinds(); !slices.Equal(got, after.want) {
				t.Errorf("after %s more: %q, want %q", after.d, got, after.want)
			}
		}
		stop(t, a.m)
	})
}

// A sweep is one run of a scenario.
type sweep struct {
	sweepScenario
	t    *testing.T
	k    *esmtest.Kafka
	book *ledger
	// errorf is that of t, or of who looks whether the sweep fails when it must.
	errorf func(format string, args ...any)

	began    time.Time // the first bad answer could come
	good     time.Time // the last one was over
	victim   sweepVictim
	fault    atomic.Pointer[kfake.FaultHandle]
	asked    list[kmsg.Key]
	seen     map[kmsg.Key]bool // guarded by the cluster's goroutine
	second   time.Time
	requests int
	spun     atomic.Int64

	mu      sync.Mutex
	members []*sweepMember

	produced int64 // of each partition
	told     map[string]bool
	parts    [sweepPartitions]sweepPartition
	done     bool
}

// A sweepPartition is what the test sees of a partition.
type sweepPartition struct {
	next      int64 // all below was handled
	moved     time.Time
	committed int64
	commitAt  time.Time
	namedAt   time.Time    // by a Problem
	sickAt    time.Time    // the same by Ready or Healthy
	excusedAt time.Time    // the same of the commit
	owner     *sweepMember // who had it when it was looked at last
}

// A sweepMember is one Mapping of the group.
type sweepMember struct {
	name     string
	m        *esm.Mapping
	failed   error // why it did not start last time
	failedAt time.Time
	started  bool
	left     bool // Stop has returned
	leftAt   time.Time
	leaveErr error
}

func newSweep(t *testing.T, s sweepScenario) *sweep {
	return &sweep{
		sweepScenario: s, t: t, errorf: t.Errorf, book: newLedger(), seen: map[kmsg.Key]bool{}, told: map[string]bool{},
		k: esmtest.NewKafka(t, esmtest.Topic(sweepTopic, sweepPartitions), esmtest.Brokers(2)),
	}
}

// observe sees each request. It takes the fault away from a client that spins:
// no time passes while it does.
func (s *sweep) observe(r kmsg.Request) (kmsg.Response, error, bool) {
	s.k.Cluster().KeepControl()
	key := kmsg.Key(r.Key())
	if !s.seen[key] {
		s.seen[key] = true
		s.asked.add(key)
	}
	if now := time.Now(); now.Sub(s.second) >= time.Second {
		s.second, s.requests = now, 0
	}
	if s.requests++; s.requests == spins {
		s.spun.Store(int64(key) + 1)
		if f := s.fault.Load(); f != nil {
			f.Remove()
		}
	}
	return nil, nil, false
}

// join makes a member.
func (s *sweep) join(name string, function func(*esm.Batch)) *sweepMember {
	source := s.k.Source(sweepTopic, sweepGroup)
	source.Client = append(source.Client, kgo.ClientID(name), kgo.Dialer(s.dial))
	source.Client = append(source.Client, sweepProtocols[s.protocol]...)
	m, err := esm.New(source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		function(b)
		return nil
	}), quiet(), esm.WithName(name), esm.WithBatchWindow(0),
		esm.WithHooks(esm.Hooks{
			Assigned: func(i esm.Rebalance) { s.book.reassigned(name, i.Partitions) },
			PositionReset: func(i esm.Gap) {
				s.book.reassigned(name, []esm.TopicPartition{i.TopicPartition})
				if s.code != kerr.OffsetOutOfRange { // which sends whoever believes it back
					s.errorf("reset: %s sends partition %d from %d to %d: %v", name, i.Partition, i.From, i.To, i.Err)
				}
			},
			RecordsLost: func(i esm.Gap) {
				s.errorf("lost: %s says so of partition %d, %d to %d", name, i.Partition, i.From, i.To)
			},
		}))
	if err != nil {
		s.t.Fatal(err)
	}
	member := &sweepMember{name: name, m: m}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(s.members, member)
	return member
}

// A slowConn is a connection on which requests take a while.
type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(sweepLatency)
	return c.Conn.Write(b)
}

func (s *sweep) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialSlowly(s.k)(ctx, network, address)
}

func dialSlowly(k *esmtest.Kafka) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := k.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return slowConn{conn}, nil
	}
}

// start starts a member, and again after each failure, which must say why.
func (s *sweep) start(member *sweepMember) {
	for {
		err := member.m.Start(context.Background())
		s.mu.Lock()
		member.started = err == nil
		member.failed, member.failedAt = err, time.Now()
		done := s.done
		s.mu.Unlock()
		if err == nil || done || errors.Is(err, esm.ErrStopped) {
			return
		}
		why := (*esm.StartError)(nil)
		other := s.api == kmsg.ConsumerGroupHeartbeat && s.code == kerr.UnsupportedVersion // then the client tries the classic way, and is told something else
		if !errors.As(err, &why) || !s.says(err.Error()) && (!other || why.Last == nil) {
			s.errorf("start: %v does not say %s", err, s.code.Message)
		}
		time.Sleep(2 * time.Second)
	}
}

// says reports whether a text has what the broker said.
func (s *sweep) says(text string) bool {
	if s.code.Code == unknownCode {
		return strings.Contains(text, kerr.UnknownServerError.Message)
	}
	return strings.Contains(text, s.code.Message)
}

// leave stops a member. While the code is answered that may not go well, but it
// ends, and says so.
func (s *sweep) leave(member *sweepMember) {
	err := member.m.Stop(context.Background())
	drain := (*esm.DrainError)(nil)
	if err != nil && !errors.As(err, &drain) {
		s.errorf("stop: %v is no DrainError", err)
	}
	if drain != nil && (len(drain.Stuck) > 0 || drain.Cancelled > 0 || len(drain.Waiting) > 0) {
		s.errorf("stop: %v", err)
	}
	// These say that it is out, or, for the client, that it never was a member of this kind.
	out := slices.Contains([]*kerr.Error{kerr.UnknownMemberID, kerr.GroupIDNotFound, kerr.UnsupportedVersion}, s.code)
	if group := s.k.Cluster().GroupInfo(sweepGroup); err == nil && !out && group != nil && slices.ContainsFunc(group.Members, func(m kfake.GroupMember) bool { return m.ClientID == member.name }) {
		s.errorf("leave: Stop of %s says that all is well, and the group still has it", member.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	member.left, member.leftAt, member.leaveErr = true, time.Now(), err
}

func (s *sweep) produce() {
	var records []*kgo.Record
	for p := range int32(sweepPartitions) {
		records = append(records, esmtest.At(p, &kgo.Record{Topic: sweepTopic, Value: fmt.Append(nil, s.produced)}))
	}
	s.k.ProduceRecords(records...)
	s.produced++
}

// run runs the scenario.
func (s *sweep) run() {
	s.k.Cluster().Control(s.observe)
	for range 3 {
		s.produce()
	}
	join := func(name string) *sweepMember {
		return s.join(name, func(b *esm.Batch) { s.book.handled(name, b) })
	}
	a, b := join("a"), join("b")
	s.start(a)
	s.start(b)
	s.until(sweepBegins, nil)

	if got := s.k.Cluster().GroupInfo(sweepGroup); got == nil || len(got.Members) != 2 {
		s.t.Fatalf("the group is %+v", got)
	} else {
		for _, m := range got.Members {
			if m.ClientID == "b" {
				s.victim = sweepVictim{m.MemberID, m.Assignment[sweepTopic][0]}
			}
		}
	}
	lasts := sweepLasts
	if s.mode == lasting {
		lasts = sweepLong
	}
	var stopping sync.WaitGroup
	s.began = time.Now()
	early := s.mode != oneAnswer || s.api == kmsg.LeaveGroup || s.api == kmsg.OffsetCommit
	if early {
		s.spoil()
	}
	s.until(2*time.Second, nil)
	stopping.Go(func() { s.leave(b) })
	s.until(6*time.Second, nil)
	if !early {
		s.spoil() // after that no rebalance comes and puts it right
	}
	c := join("c")
	stopping.Go(func() { s.start(c) })
	s.until(lasts-time.Since(s.began), nil)
	f := s.fault.Load()
	if f != nil {
		f.Remove()
	}
	if s.api >= 0 && (f == nil || f.Hits() == 0) {
		s.errorf("unreached: nothing was answered with it")
	}

	s.good = time.Now()
	all := func() bool {
		for p := range s.parts {
			if s.parts[p].next < s.produced {
				return false
			}
		}
		return time.Since(s.good) > 10*time.Second
	}
	if !s.until(sweepRecovers, all) {
		if s.until(sweepGivesUp, all) {
			s.errorf("late: all was handled %s after the answers were good again", time.Since(s.good).Round(time.Second))
		} else {
			s.errorf("never: %s after the answers were good again: %s", time.Since(s.good).Round(time.Second), s.describe())
		}
	}
	if all() {
		s.calmsDown()
	}
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
	if ended := a.m.State(); ended.Phase != esm.PhaseRunning {
		s.errorf("ended: %s, %s", ended.Phase, ended.Reason)
	}
	s.leave(a)
	s.leave(c)
	stopping.Wait()
	for _, m := range []*sweepMember{a, c} {
		if m.leaveErr != nil && !errors.Is(m.leaveErr, esm.ErrStopped) {
			s.errorf("stop of %s: %v", m.name, m.leaveErr)
		}
	}
	if all() {
		for p := range int32(sweepPartitions) {
			if got := s.k.Committed(sweepGroup, sweepTopic, p); got != s.produced {
				s.errorf("commit: partition %d has %d of %d", p, got, s.produced)
			}
		}
	}
	if s.book.backward > 0 {
		s.errorf("order: %s", s.book)
	}
	if key := s.spun.Load(); key > 0 {
		s.errorf("spins: %d requests within a second, the last one %s", spins, kmsg.Key(key-1).Name())
	}
	for _, key := range s.asked.all() {
		known := slices.Contains(producerKeys, key) || slices.ContainsFunc(sweepAPIs, func(a sweepAPI) bool { return a.key == key })
		if !known {
			s.errorf("unknown: %s is asked, and the sweep does not have it", key.Name())
		}
	}
}

// spoil has the code answered from now on.
func (s *sweep) spoil() {
	if s.api < 0 {
		return
	}
	if s.mode != oneAnswer || s.api != kmsg.OffsetFetch {
		s.install(s.victim)
		return
	}
	// The one is that of a rebalance: a start asks for all commits of the
	// group. Which partitions it is for depends on who gets them.
	s.k.Cluster().ControlKey(int16(s.api), func(r kmsg.Request) (kmsg.Response, error, bool) {
		s.k.Cluster().KeepControl()
		for _, g := range r.(*kmsg.OffsetFetchRequest).Groups {
			if len(g.Topics) > 0 && s.fault.Load() == nil {
				s.install(sweepVictim{partition: g.Topics[0].Partitions[0]})
			}
		}
		return nil, nil, false
	})
}

func (s *sweep) install(v sweepVictim) {
	f := s.level.fault(v)
	f.Keys, f.Err, f.Count = []kmsg.Key{s.api}, s.code, -1
	if s.mode == oneAnswer {
		f.Count = 1
	}
	s.fault.Store(s.k.Cluster().Fault(f))
}

// until lets so much time pass, or less if f is true before, and looks at each
// partition once a second. It reports whether f was.
func (s *sweep) until(d time.Duration, f func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if f != nil && f() {
			return true
		}
		time.Sleep(min(time.Second, time.Until(end)))
		if now := time.Now(); f == nil && now.Second()%2 == 0 && s.produced < 30 {
			s.produce()
		}
		s.look()
	}
	return f != nil && f()
}

// look looks at each partition.
func (s *sweep) look() {
	now := time.Now()
	for p := range int32(sweepPartitions) {
		part := &s.parts[p]
		tp := esm.TopicPartition{Topic: sweepTopic, Partition: p}
		next := part.next
		s.book.mu.Lock()
		for s.book.seen[tp][next] > 0 {
			next++
		}
		s.book.mu.Unlock()
		if next > part.next || next >= s.produced || part.moved.IsZero() {
			part.next, part.moved = next, now
		}
		still := now.Sub(part.moved)
		if still > standsStill && s.named(tp, readProblem) {
			part.namedAt = now
		}
		if still > standsStill && now.Sub(part.namedAt) > standsNamed {
			s.tell("unnamed", "partition %d stands still at %d of %d for %s", p, next, s.produced, still)
		}
		if still > unhealthyAfter && !s.healthy(tp) {
			part.sickAt = now
		}
		if still > unhealthyAfter && now.Sub(part.sickAt) > standsNamed {
			s.tell("healthy", "partition %d stands still at %d of %d for %s, and its owner is Ready and Healthy", p, next, s.produced, still)
		}
		committed := max(0, s.k.Committed(sweepGroup, sweepTopic, p))
		if committed != part.committed || committed >= part.next || part.commitAt.IsZero() {
			part.committed, part.commitAt = committed, now
		}
		// Who got it a moment ago does not know what others were answered.
		s.mu.Lock()
		if owners, owned := s.owners(tp); owned && part.owner != owners[0] {
			part.owner, part.commitAt = owners[0], now
		}
		s.mu.Unlock()
		still = now.Sub(part.commitAt)
		if still > commitsStill && s.named(tp, commitProblem) {
			part.excusedAt = now
		}
		if still > commitsStill && now.Sub(part.excusedAt) > standsNamed {
			s.tell("uncommitted", "partition %d is committed up to %d and handled up to %d for %s", p, committed, part.next, still)
		}
	}
}

// tell fails the test, once for each kind of failure.
func (s *sweep) tell(kind, format string, args ...any) {
	if !s.told[kind] {
		s.told[kind] = true
		s.errorf("%s: %s after the code came: %s: %s", kind, s.since(), fmt.Sprintf(format, args...), s.describe())
	}
}

func (s *sweep) since() time.Duration {
	if s.began.IsZero() {
		return 0
	}
	return time.Since(s.began).Round(time.Second)
}

// readProblem reports whether a Problem says why a partition stands still.
func readProblem(with string, tp esm.TopicPartition) bool {
	switch with {
	case "group", "client", "start", "topic " + tp.Topic, "end of topic " + tp.Topic, fmt.Sprintf("topic %s partition %d", tp.Topic, tp.Partition):
		return true
	}
	return strings.HasPrefix(with, "connection to ")
}

// commitProblem reports whether a Problem says why nothing is committed.
func commitProblem(with string, tp esm.TopicPartition) bool {
	return with == "commit" || readProblem(with, tp)
}

// owners are the members that have a partition, or all that there are if none
// says that it has it. The lock is held.
func (s *sweep) owners(tp esm.TopicPartition) (owners []*sweepMember, owned bool) {
	var all []*sweepMember
	for _, member := range s.members {
		if member.left {
			continue
		}
		all = append(all, member)
		if slices.ContainsFunc(member.m.AppendPartitions(nil), func(p esm.PartitionStats) bool { return p.TopicPartition == tp }) {
			owners = append(owners, member)
		}
	}
	if len(owners) > 0 {
		return owners, true
	}
	return all, false
}

// named reports whether its owner says that a partition stands still. That of
// one that nobody has is for anybody to say, and was said by one that could not
// leave: others cannot know until its session is over.
func (s *sweep) named(tp esm.TopicPartition, says func(string, esm.TopicPartition) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	owners, owned := s.owners(tp)
	for _, member := range owners {
		for _, p := range member.m.State().Problems {
			if says(p.With, tp) {
				return true
			}
		}
		if !owned && member.m.Ready() != nil { // it says that it starts, why it did not, or that it is not in the group
			return true
		}
	}
	return !owned && s.ghost()
}

// ghost reports whether the group waits for a member that is no more, one that
// could not leave, or that was told that it is none: until its session is over
// others cannot know. While the code is answered, who gets it does.
func (s *sweep) ghost() bool {
	live, last := 0, s.good
	for _, member := range s.members {
		if !member.left {
			live++
		} else if member.leaveErr != nil && member.leftAt.After(last) {
			last = member.leftAt
		}
	}
	if time.Since(last) > time.Minute {
		return false
	}
	group := s.k.Cluster().GroupInfo(sweepGroup)
	return group != nil && len(group.Members) > live
}

// healthy reports whether no owner of a partition says that it is not well.
func (s *sweep) healthy(tp esm.TopicPartition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	owners, _ := s.owners(tp)
	return !slices.ContainsFunc(owners, func(m *sweepMember) bool { return m.m.Healthy() != nil || m.m.Ready() != nil })
}

// calmsDown waits until no member has anything to say.
func (s *sweep) calmsDown() {
	calm := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, member := range s.members {
			if !member.left && (!member.started || len(member.m.State().Problems) > 0 || member.m.Ready() != nil || member.m.Healthy() != nil) {
				return false
			}
		}
		return true
	}
	if !s.until(problemsEnd, calm) {
		s.errorf("restless: all is handled, and %s later: %s", problemsEnd, s.describe())
	}
}

// describe says how the members stand.
func (s *sweep) describe() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for p := range s.parts {
		fmt.Fprintf(&b, "[%d: %d/%d]", p, s.parts[p].next, s.produced)
	}
	if group := s.k.Cluster().GroupInfo(sweepGroup); group != nil {
		fmt.Fprintf(&b, " group of %d", len(group.Members))
	}
	for _, member := range s.members {
		if member.left {
			fmt.Fprintf(&b, "; %s left (%v)", member.name, member.leaveErr)
			continue
		}
		fmt.Fprintf(&b, "; %s is %s, ready %v, healthy %v, failed %v", member.name, member.m.State().Phase, member.m.Ready(), member.m.Healthy(), member.failed)
		for _, p := range member.m.AppendPartitions(nil) {
			fmt.Fprintf(&b, ", %d %s at %d", p.Partition, p.State, p.Position)
		}
		for _, p := range member.m.State().Problems {
			fmt.Fprintf(&b, ", problem with %s: %v", p.With, p.Err)
		}
	}
	return b.String()
}
