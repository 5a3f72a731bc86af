package proof_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// The tests in this file say what a real broker with logins, TLS and rights
// does to a Mapping: what trouble_test.go says in virtual time, with the words
// and the habits of the real one.

// A vault is a topic of the secure cluster, and a way to it.
type vault struct {
	*anyKafka // who may do everything
	security  *kafkatest.Security
	topic     string
	source    esm.Source
	principal string
}

// A right is what one may do to a topic or a group, which have the same name.
type right struct {
	group bool
	op    kadm.ACLOperation
}

var (
	topicDescribe = right{false, kadm.OpDescribe}
	topicReading  = right{false, kadm.OpRead} // Describe comes with it
	groupDescribe = right{true, kadm.OpDescribe}
	groupReading  = right{true, kadm.OpRead}
)

// newVault makes a topic, and gives some rights to who logs in with SCRAM.
func newVault(t *testing.T, rights ...right) *vault {
	t.Helper()
	cluster := secureKafka.Get(t)
	v := &vault{anyKafka: connectTo(t, cluster.Addrs), security: cluster.Security}
	v.topic = v.anyKafka.topic(2)
	v.come(v.security.SASL, "User:"+kafkatest.User, rights, kgo.DialTLSConfig(v.security.Config()), withScram(kafkatest.Password))
	return v
}

// come is the way into the vault: where to, as whom, and with what rights.
func (v *vault) come(brokers []string, principal string, rights []right, opts ...kgo.Opt) {
	v.t.Helper()
	v.principal = principal
	v.source = v.anyKafka.source(v.topic, opts...)
	v.source.Brokers = brokers
	v.grant(rights...)
}

func withScram(password string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: kafkatest.User, Pass: password}.AsSha512Mechanism())
}

func withPlain(password string) kgo.Opt {
	return kgo.SASL(plain.Auth{User: kafkatest.User, Pass: password}.AsMechanism())
}

// acl is a right of the vault's visitor as the cluster names it.
func (v *vault) acl(r right) *kadm.ACLBuilder {
	b := kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral).Operations(r.op)
	if r.group {
		return b.Groups(v.topic)
	}
	return b.Topics(v.topic)
}

// grant and deny return when the broker goes by it.
func (v *vault) grant(rights ...right) {
	v.t.Helper()
	for _, r := range rights {
		made, err := v.admin.CreateACLs(v.t.Context(), v.acl(r).Allow(v.principal).AllowHosts())
		for _, m := range made {
			err = errors.Join(err, m.Err)
		}
		if err != nil {
			v.t.Fatal(err)
		}
		v.await(r, 1)
	}
}

func (v *vault) deny(rights ...right) {
	v.t.Helper()
	for _, r := range rights {
		gone, err := v.admin.DeleteACLs(v.t.Context(), v.acl(r).Allow(v.principal).AllowHosts())
		for _, g := range gone {
			err = errors.Join(err, g.Err)
		}
		if err != nil {
			v.t.Fatal(err)
		}
		v.await(r, 0)
	}
}

// await waits until the broker knows a right, or does not.
func (v *vault) await(r right, want int) {
	v.t.Helper()
	ctx, done := context.WithTimeout(v.t.Context(), time.Minute)
	defer done()
	for {
		found, err := v.admin.DescribeACLs(ctx, v.acl(r).Allow(v.principal).AllowHosts())
		if err != nil {
			v.t.Fatal(err)
		}
		if len(found) == 1 && len(found[0].Described) == want {
			return
		}
		pause(20 * time.Millisecond)
	}
}

// setPassword changes the password for SCRAM.
func (v *vault) setPassword(password string) {
	v.t.Helper()
	altered, err := v.admin.AlterUserSCRAMs(context.Background(), nil, []kadm.UpsertSCRAM{{
		User: kafkatest.User, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: password,
	}})
	if err = errors.Join(err, altered.Error()); err != nil {
		v.t.Fatal(err)
	}
}

func TestRecordsComeThroughLoginsAndTLS(t *testing.T) {
	t.Parallel()
	for name, come := range map[string]func(v *vault){
		"SCRAM in TLS": func(*vault) {},
		"PLAIN in TLS": func(v *vault) {
			v.come(v.security.SASL, v.principal, nil, kgo.DialTLSConfig(v.security.Config()), withPlain(kafkatest.Password))
		},
		"TLS": func(v *vault) {
			v.come(v.security.TLS, v.principal, nil, kgo.DialTLSConfig(v.security.Config()))
		},
		"mutual TLS": func(v *vault) {
			v.come(v.security.MutualTLS, "User:CN="+kafkatest.User, []right{topicReading, groupReading},
				kgo.DialTLSConfig(v.security.Config(v.security.Client)))
		},
		"KIP-848": func(v *vault) {
			v.source.Client = append(v.source.Client, kgo.ServerSideBalancer())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, topicReading, groupReading)
			come(v)
			v.fill(v.topic, 2, 0, 500)
			c := newCrew(t, 1000)
			m := c.join("m", v.source)
			c.wait()
			stop(t, m)
			c.judge(v.topic, 2, 500)
			v.wantCommitted(v.topic, v.topic, 2, 500)
			if s := m.Stats(); s.CommitErrorCount != 0 {
				t.Errorf("%d commits failed", s.CommitErrorCount)
			}
		})
	}
}

// TestWhoIsNotLetInIsToldAtOnce: Start returns the broker's words, and does
// not try again what will not change.
func TestWhoIsNotLetInIsToldAtOnce(t *testing.T) {
	t.Parallel()
	all := []right{topicReading, groupReading}
	for _, tt := range []struct {
		name   string
		rights []right
		come   func(*vault)
		doing  string
		want   string
	}{
		{"wrong password for SCRAM", all, func(v *vault) {
			v.come(v.security.SASL, v.principal, nil, kgo.DialTLSConfig(v.security.Config()), withScram("guess"))
		}, "read the topics", "SASL_AUTHENTICATION_FAILED"},
		{"wrong password for PLAIN", all, func(v *vault) {
			v.come(v.security.SASL, v.principal, nil, kgo.DialTLSConfig(v.security.Config()), withPlain("guess"))
		}, "read the topics", "SASL_AUTHENTICATION_FAILED"},
		{"no login", all, func(v *vault) {
			v.come(v.security.SASL, v.principal, nil, kgo.DialTLSConfig(v.security.Config()))
		}, "read the topics", "it wants a login, or is no Kafka; give kgo.SASL in Source.Client"},
		{"a mechanism that is not spoken", all, func(v *vault) {
			v.come(v.security.SASL, v.principal, nil, kgo.DialTLSConfig(v.security.Config()),
				kgo.SASL(scram.Auth{User: kafkatest.User, Pass: kafkatest.Password}.AsSha256Mechanism()))
		}, "read the topics", "does not know this kind of login"},
		{"a certificate that is not trusted", all, func(v *vault) {
			v.come(v.security.TLS, v.principal, nil, kgo.DialTLSConfig(&tls.Config{RootCAs: x509.NewCertPool()}))
		}, "read the topics", "certificate signed by unknown authority"},
		{"a certificate for another name", all, func(v *vault) {
			elsewhere := v.security.Config()
			elsewhere.ServerName = "elsewhere.test"
			v.come(v.security.TLS, v.principal, nil, kgo.DialTLSConfig(elsewhere))
		}, "read the topics", "not elsewhere.test"},
		{"no certificate of one's own", all, func(v *vault) {
			v.come(v.security.MutualTLS, v.principal, nil, kgo.DialTLSConfig(v.security.Config()))
		}, "read the topics", "certificate"},
		{"no TLS where it is wanted", all, func(v *vault) {
			v.come(v.security.TLS, v.principal, nil)
		}, "read the topics", "give kgo.DialTLSConfig in Source.Client"},
		{"TLS where there is none", all, func(v *vault) {
			v.come(v.brokers, v.principal, nil, kgo.DialTLSConfig(v.security.Config()))
		}, "read the topics", "ends connections when TLS begins: it does not speak TLS, or is no Kafka; leave kgo.DialTLSConfig out"},
		{"a login where there is none", all, func(v *vault) {
			v.come(v.brokers, v.principal, nil, withScram(kafkatest.Password))
		}, "read the topics", "takes no login; leave kgo.SASL out of Source.Client"},
		{"no right to the topic", []right{groupReading}, nil, "read the topics", "TOPIC_AUTHORIZATION_FAILED"},
		{"no right to read the topic", []right{topicDescribe, groupReading}, nil, "read the topics", "TOPIC_AUTHORIZATION_FAILED"},
		{"no right to the group", []right{topicReading}, nil, "find the group", "GROUP_AUTHORIZATION_FAILED"},
		{"no right to join the group", []right{topicReading, groupDescribe}, nil, "join the group", "GROUP_AUTHORIZATION_FAILED"},
		{"no right to join the group by KIP-848", []right{topicReading, groupDescribe}, func(v *vault) {
			v.source.Client = append(v.source.Client, kgo.ServerSideBalancer())
		}, "join the group", "GROUP_AUTHORIZATION_FAILED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, tt.rights...)
			if tt.come != nil {
				tt.come(v)
			}
			m := esmtest.New(t, v.source, esmtest.NewInvoker(t), quiet())
			began := time.Now()
			err := m.Start(t.Context())
			t.Logf("after %s: %v", time.Since(began).Round(time.Millisecond), err)
			var se *esm.StartError
			if !errors.As(err, &se) || se.Doing != tt.doing || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant %q and %q", err, tt.doing, tt.want)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestABrokerThatAdvertisesWhatCannotBeReachedFromHere: a real one, whose seed is
// behind another address, as a container's port is.
func TestABrokerThatAdvertisesWhatCannotBeReachedFromHere(t *testing.T) {
	t.Parallel()
	v := newVault(t, topicReading, groupReading)
	inside := v.brokers[0]
	v.come([]string{"seed.test:29092"}, v.principal, nil, kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "seed.test:29092" {
			return new(net.Dialer).DialContext(ctx, network, inside)
		}
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}))
	err := esmtest.New(t, v.source, esmtest.NewInvoker(t), quiet(), esm.WithStartTimeout(5*time.Second)).Start(t.Context())
	want := "the seed seed.test:29092 answers and says that broker 1 is at " + inside + ", which is this machine itself: set advertised.listeners"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant %q", err, want)
	}
}

// TestCommitsNeedNoRoomForMetadata: this cluster takes none, whatever the
// protocol.
func TestCommitsNeedNoRoomForMetadata(t *testing.T) {
	t.Parallel()
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, topicReading, groupReading)
			v.source.Client = append(v.source.Client, opts...)
			v.fill(v.topic, 2, 0, 10)
			c := newCrew(t, 20)
			m := c.join("m", v.source)
			c.wait()
			stop(t, m)
			v.wantCommitted(v.topic, v.topic, 2, 10)
			if s := m.Stats(); s.CommitErrorCount != 0 {
				t.Errorf("%d commits failed: %+v", s.CommitErrorCount, m.State())
			}
		})
	}
}

// TestRightsTakenAwayAreNamedAndNothingIsLost: what is taken away while it
// runs is said in the broker's words, and when it is given back the Mapping
// goes on by itself.
func TestRightsTakenAwayAreNamedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(*vault)
		heal  func(*vault)
		with  string
		want  string
		opts  []kgo.Opt
	}{
		{name: "to read the topic", with: "topic ", want: "TOPIC_AUTHORIZATION_FAILED",
			spoil: func(v *vault) { v.deny(topicReading) },
			heal:  func(v *vault) { v.grant(topicReading) }},
		{name: "to read the topic, while it may be seen", with: "topic ", want: "TOPIC_AUTHORIZATION_FAILED",
			spoil: func(v *vault) { v.grant(topicDescribe); v.deny(topicReading) },
			heal:  func(v *vault) { v.grant(topicReading) }},
		{name: "to the group", with: "group", want: "GROUP_AUTHORIZATION_FAILED",
			spoil: func(v *vault) { v.deny(groupReading) },
			heal:  func(v *vault) { v.grant(groupReading) }},
		{name: "to the group, with KIP-848", with: "group", want: "GROUP_AUTHORIZATION_FAILED",
			opts:  []kgo.Opt{kgo.ServerSideBalancer()},
			spoil: func(v *vault) { v.deny(groupReading) },
			heal:  func(v *vault) { v.grant(groupReading) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, topicReading, groupReading)
			v.source.Client = append(v.source.Client, tt.opts...)
			v.spoilAndHeal(func() { tt.spoil(v) }, func() { tt.heal(v) }, tt.with, tt.want)
		})
	}
}

// TestPasswordChangedWhileRunningIsNamed: a broker asks again for the login
// now and then, and a connection that breaks has to log in anew.
func TestPasswordChangedWhileRunningIsNamed(t *testing.T) {
	v := newVault(t, topicReading, groupReading)
	t.Cleanup(func() { v.setPassword(kafkatest.Password) }) // even if the test fails
	_, port, err := net.SplitHostPort(v.security.SASL[0])
	if err != nil {
		t.Fatal(err)
	}
	v.spoilAndHeal(func() { v.setPassword("another") }, func() { v.setPassword(kafkatest.Password) },
		"connection to 127.0.0.1:"+port, "SASL_AUTHENTICATION_FAILED")
}

// spoilAndHeal runs a Mapping through a trouble, and judges it. What was
// settled while the session was lost may be repeated, as after a crash.
func (v *vault) spoilAndHeal(spoil, heal func(), with, want string) {
	t := v.t
	t.Helper()
	raised, committed := make(chan esm.Problem, 1000), make(chan esm.Commit, 1000)
	var revoked list[esm.Rebalance]
	v.fill(v.topic, 2, 0, 50)
	c := newCrew(t, 200)
	begun := c.after(100)
	m := c.join("m", v.source, esm.WithHooks(esm.Hooks{
		ProblemRaised: func(i esm.Problem) { raised <- i },
		Committed:     func(i esm.Commit) { committed <- i },
		Revoked:       revoked.add,
	}))
	c.waitFor(begun)
	at := map[int32]int64{}
	commits := func(want int64) {
		for at[0] != want || at[1] != want {
			select {
			case i := <-committed:
				for tp, o := range i.Offsets {
					at[tp.Partition] = o
				}
			case <-time.After(time.Minute):
				t.Fatalf("committed %v, want %d: %+v", at, want, m.State())
			}
		}
	}
	commits(50)
	began := time.Now()
	spoil()
	v.fill(v.topic, 2, 50, 100)
	for found := false; !found; {
		select {
		case p := <-raised:
			t.Logf("after %s raised: %s: %v", time.Since(began).Round(time.Millisecond), p.With, p.Err)
			found = strings.HasPrefix(p.With, with) && strings.Contains(p.Err.Error(), want)
		case <-time.After(time.Minute):
			t.Fatalf("a minute after the trouble began: %+v", m.State())
		}
	}
	began = time.Now()
	heal()
	c.wait()
	commits(100)
	t.Logf("it was over after %s, %d repeats", time.Since(began).Round(time.Millisecond), c.ledger.repeated())
	if err := errors.Join(m.Healthy(), m.Ready()); err != nil {
		t.Error(err)
	}
	lost := revoked.all()
	for _, l := range lost {
		if !l.Lost {
			t.Errorf("revoked without a reason: %+v", l)
		}
	}
	stop(t, m)
	if n := c.ledger.missing(v.topic, 2, 100); n != 0 || c.ledger.backward != 0 || c.ledger.repeated() > 0 && len(lost) == 0 {
		t.Errorf("%d missing: %s", n, c.ledger)
	}
	v.wantCommitted(v.topic, v.topic, 2, 100)
}
