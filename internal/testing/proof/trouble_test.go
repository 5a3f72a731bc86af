package proof_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// A secured is a cluster with logins and rights, and one application that may
// do just what a Mapping needs.
type secured struct {
	k       *esmtest.Kafka
	admin   *kadm.Client
	network *cutNetwork
	source  esm.Source

	refusing   atomic.Bool
	refuseOnce sync.Once
}

// cutNetwork is a network that can be cut.
type cutNetwork struct {
	k     *esmtest.Kafka
	mu    sync.Mutex
	conns []net.Conn
	down  bool
	none  string // an address that cannot be reached
}

// refuse cuts what there is with an address, and keeps new connections to it, and
// only it, from being made.
func (n *cutNetwork) refuse(address string) {
	n.mu.Lock()
	n.none = address
	n.mu.Unlock()
	if address != "" {
		n.cut(false)
	}
}

func (n *cutNetwork) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down || n.none == address {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	c, err := n.k.Dial(ctx, network, address)
	if err == nil {
		n.conns = append(n.conns, c)
	}
	return c, err
}

// cut closes every connection, and keeps new ones from being made if down.
func (n *cutNetwork) cut(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	for _, c := range n.conns {
		_ = c.Close() // it may be closed already
	}
	n.conns = nil
}

const appUser = "User:app"

func rights() []kfake.ACL {
	return []kfake.ACL{
		{Resource: kmsg.ACLResourceTypeTopic, Name: "orders", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationDescribe, Allow: true},
		{Resource: kmsg.ACLResourceTypeTopic, Name: "orders", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationRead, Allow: true},
		{Resource: kmsg.ACLResourceTypeGroup, Name: "billing", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationDescribe, Allow: true},
		{Resource: kmsg.ACLResourceTypeGroup, Name: "billing", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationRead, Allow: true},
	}
}

func newSecured(t *testing.T, acls []kfake.ACL) *secured {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 2), esmtest.With(
		kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("SCRAM-SHA-256", "admin", "admin"), kfake.User("SCRAM-SHA-256", "app", "secret", acls...)))
	login := func(user, pass string) kgo.Opt {
		return kgo.SASL(scram.Auth{User: user, Pass: pass}.AsSha256Mechanism())
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), login("admin", "admin"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	s := &secured{k: k, admin: kadm.NewClient(cl), network: &cutNetwork{k: k}, source: quick(k.Source("orders", "billing"))}
	s.source.Client = append(s.source.Client, kgo.Dialer(s.network.dial), login("app", "secret"))
	return s
}

func (s *secured) produce(t *testing.T, values ...string) {
	t.Helper()
	for _, v := range values {
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.k.Brokers()...), s.k.Dialer(), kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism()), kgo.ProducerLinger(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		cl.Close()
	}
}

// acl makes or deletes the application's right to do something.
func (s *secured) acl(t *testing.T, create bool, resource func(*kadm.ACLBuilder) *kadm.ACLBuilder) {
	t.Helper()
	b := resource(kadm.NewACLs()).ResourcePatternType(kadm.ACLPatternLiteral)
	var err error
	if create {
		_, err = s.admin.CreateACLs(t.Context(), b.Allow(appUser).AllowHosts())
	} else {
		_, err = s.admin.DeleteACLs(t.Context(), b.Allow(appUser).AllowHosts())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func topicRead(b *kadm.ACLBuilder) *kadm.ACLBuilder {
	return b.Topics("orders").Operations(kadm.OpRead)
}

func groupRead(b *kadm.ACLBuilder) *kadm.ACLBuilder {
	return b.Groups("billing").Operations(kadm.OpRead)
}

// TestTroubleWhileStarting is the first half of the table in the documentation
// of Start.
func TestTroubleWhileStarting(t *testing.T) {
	for _, tt := range []struct {
		name  string
		acls  []kfake.ACL
		spoil func(*secured)
		doing string
		want  string
		soon  time.Duration
	}{
		{name: "missing topic", acls: rights(), spoil: func(s *secured) { s.source.Topics = []string{"orders", "nope"}; s.grantAllTopics() }, doing: "read the topics", want: `topic "nope": UNKNOWN_TOPIC_OR_PARTITION`, soon: 2 * time.Second},
		{name: "unreachable", acls: rights(), spoil: func(s *secured) { s.network.down = true }, doing: "read the topics", want: "connection refused"},
		{name: "refused login", acls: rights(), spoil: func(s *secured) {
			s.refuseLogin(true)
		}, doing: "read the topics", want: "SASL_AUTHENTICATION_FAILED", soon: time.Second},
		{name: "no login", acls: rights(), spoil: func(s *secured) { s.source.Client = s.source.Client[:len(s.source.Client)-1] }, doing: "read the topics", want: "is SASL missing?", soon: 2 * time.Second},
		{name: "no right to the topic", acls: rights()[2:], doing: "read the topics", want: `topic "orders": TOPIC_AUTHORIZATION_FAILED`, soon: time.Second},
		{name: "no right to read the topic", acls: append(rights()[:1], rights()[2:]...), doing: "read the topics", want: `topic "orders": TOPIC_AUTHORIZATION_FAILED`, soon: time.Second},
		{name: "no right to the group", acls: rights()[:2], doing: "find the group", want: "GROUP_AUTHORIZATION_FAILED", soon: time.Second},
		{name: "no right to join the group", acls: rights()[:3], doing: "join the group", want: "GROUP_AUTHORIZATION_FAILED", soon: time.Second},
		{name: "session too long", acls: rights(), spoil: func(s *secured) { s.source.Client = append(s.source.Client, kgo.SessionTimeout(time.Hour)) }, doing: "join the group", want: "INVALID_SESSION_TIMEOUT", soon: time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				s := newSecured(t, tt.acls)
				if tt.spoil != nil {
					tt.spoil(s)
				}
				m := esmtest.New(t, s.source, esmtest.NewInvoker(t), quiet(), esm.WithStartTimeout(20*time.Second))
				began := time.Now()
				err := m.Start(t.Context())
				var se *esm.StartError
				if !errors.As(err, &se) || se.Doing != tt.doing || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v\nwant %q and %q", err, tt.doing, tt.want)
				}
				if took := time.Since(began); tt.soon > 0 && took > tt.soon || took > 30*time.Second {
					t.Errorf("it took %s", took)
				}
				if st := m.State(); st.Phase != esm.PhaseNew {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// grantAllTopics lets the application see topics that are not there.
func (s *secured) grantAllTopics() {
	_, _ = s.admin.CreateACLs(context.Background(), kadm.NewACLs().Topics("nope").Operations(kadm.OpDescribe, kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral).Allow(appUser).AllowHosts())
}

// TestTroubleWhileRunning is the second half: what goes wrong is said, and when
// it is put right the Mapping goes on by itself.
func TestTroubleWhileRunning(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*testing.T, *secured)
		heal  func(*testing.T, *secured)
		with  string
		want  string
		ready bool // it may still be called ready
		again bool // a call ended before the trouble was noticed, and its commit was refused
	}{
		{name: "unreachable", with: "connection to", want: "connection refused",
			spoil: func(_ *testing.T, s *secured) { s.network.cut(true) },
			heal:  func(_ *testing.T, s *secured) { s.network.cut(false) }},
		{name: "refused login", with: "connection to", want: "SASL_AUTHENTICATION_FAILED",
			spoil: func(_ *testing.T, s *secured) { s.refuseLogin(true); s.network.cut(false) },
			heal:  func(_ *testing.T, s *secured) { s.refuseLogin(false) }},
		{name: "no right to read the topic", with: "topic orders", want: "TOPIC_AUTHORIZATION_FAILED", ready: true,
			spoil: func(t *testing.T, s *secured) { s.acl(t, false, topicRead) },
			heal:  func(t *testing.T, s *secured) { s.acl(t, true, topicRead) }},
		{name: "no right to the group", with: "group", want: "GROUP_AUTHORIZATION_FAILED", again: true,
			spoil: func(t *testing.T, s *secured) { s.acl(t, false, groupRead) },
			heal:  func(t *testing.T, s *secured) { s.acl(t, true, groupRead) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				s := newSecured(t, rights())
				var raised, cleared list[esm.Problem]
				inv := esmtest.NewInvoker(t)
				m := esmtest.Start(t, s.source, inv, quiet(), esm.WithHooks(esm.Hooks{
					ProblemRaised:  func(i esm.Problem) { raised.add(i) },
					ProblemCleared: func(i esm.Problem) { cleared.add(i) },
				}))
				s.produce(t, "before")
				time.Sleep(5 * time.Second)
				if got := len(inv.Values()); got != 1 || len(m.State().Problems) != 0 {
					t.Fatalf("handled %d: %+v", got, m.State())
				}
				tt.spoil(t, s)
				s.produce(t, "meanwhile")
				time.Sleep(30 * time.Second)
				said := ""
				for _, p := range m.State().Problems {
					said += p.With + ": " + p.Err.Error() + "\n"
				}
				if !strings.Contains(said, tt.with) || !strings.Contains(said, tt.want) {
					t.Errorf("State says %q, want %q: %q", said, tt.with, tt.want)
				}
				if n := len(raised.all()); n == 0 || n > 6 {
					t.Errorf("%d problems were raised in half a minute: %+v", n, raised.all())
				}
				if err := m.Ready(); (err != nil) == tt.ready {
					t.Errorf("ready: %v", err)
				}
				if lag, known := m.Stats().OffsetLag.Sum(); tt.name == "unreachable" && known {
					t.Errorf("the lag of an unreachable cluster is said to be %d", lag)
				}
				time.Sleep(10 * time.Minute)
				if err := m.Healthy(); err == nil && tt.name == "unreachable" {
					t.Error("healthy after ten minutes without a broker")
				}
				tt.heal(t, s)
				time.Sleep(2 * time.Minute)
				want := "before meanwhile"
				if tt.again {
					want += " meanwhile"
				}
				if got := strings.Join(inv.Values(), " "); got != want {
					t.Errorf("handled %q, want %q", got, want)
				}
				if ps := m.State().Problems; len(ps) != 0 {
					t.Errorf("problems that are over: %+v", ps)
				}
				if len(cleared.all()) == 0 {
					t.Error("no problem was cleared")
				}
				if err := m.Healthy(); err != nil {
					t.Error(err)
				}
				if err := m.Ready(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// refuseLogin makes the cluster refuse the application's login in the way that
// Kafka does: the fake one hangs up.
func (s *secured) refuseLogin(refuse bool) {
	s.refusing.Store(refuse)
	s.refuseOnce.Do(func() {
		s.k.Cluster().ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			s.k.Cluster().KeepControl()
			req := kreq.(*kmsg.SASLAuthenticateRequest)
			if !s.refusing.Load() || !strings.Contains(string(req.SASLAuthBytes), "n=app,") {
				return nil, nil, false
			}
			resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
			resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
			resp.ErrorMessage = kmsg.StringPtr("Authentication failed during authentication due to invalid credentials")
			return resp, nil, true
		})
	})
}
