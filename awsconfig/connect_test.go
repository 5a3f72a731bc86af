package awsconfig

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	is := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, is, is, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// sign makes a certificate for localhost and its key, as PEM.
func (a *authority) sign(t *testing.T, name string) (cert, key string) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	is := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, is, a.cert, own.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
}

// server is the TLS of a broker.
func (a *authority) server(t *testing.T) *tls.Config {
	t.Helper()
	cert, key := a.sign(t, "broker")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients}
}

// A safe has secrets that change.
type safe struct {
	mu sync.Mutex
	of map[string]string
}

func (s *safe) put(uri string, fields ...string) {
	shape := map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		shape[fields[i]] = fields[i+1]
	}
	text, _ := json.Marshal(shape)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string]string{}
	}
	s.of[uri] = string(text)
}

func (s *safe) Secret(_ context.Context, uri string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.of[uri]
	if !ok {
		return nil, errors.New("there is no such secret")
	}
	return []byte(text), nil
}

// accessTo is a Plan that logs in with these, which are type and URI in turn.
func accessTo(brokers []string, access ...string) *Plan {
	p := &Plan{}
	p.Source.Brokers = brokers
	for i := 0; i < len(access); i += 2 {
		p.Needs.Access = append(p.Needs.Access, SourceAccessConfiguration{Type: access[i], URI: access[i+1]})
	}
	return p
}

// ping connects once, as a new client does.
func ping(t *testing.T, p *Plan) error {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(p.Source.Brokers...), kgo.RequestRetries(0)}, p.Source.Client...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, done := context.WithTimeout(t.Context(), 10*time.Second)
	defer done()
	return cl.Ping(ctx)
}

// TestLogins: each way to log in with a password, with TLS, and with the secret that there
// is when a connection is made.
func TestLogins(t *testing.T) {
	for kind, mechanism := range map[string]string{basicAuth: "PLAIN", scram256Auth: "SCRAM-SHA-256", scram512Auth: "SCRAM-SHA-512"} {
		t.Run(kind, func(t *testing.T) {
			ca := newAuthority(t)
			k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.TLS(ca.server(t)), kfake.Superuser(mechanism, "billing", "wedding"))
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			var secrets safe
			secrets.put("login", "username", "billing", "password", "wedding")
			secrets.put("ca", "certificate", ca.pem)
			p := accessTo(k.ListenAddrs(), kind, "login", rootCA, "ca")
			if err := p.Connect(t.Context(), Host{Secrets: &secrets}); err != nil {
				t.Fatal(err)
			}
			if err := ping(t, p); err != nil {
				t.Errorf("with its password: %v", err)
			}
			other := accessTo(k.ListenAddrs(), kind, "login", rootCA, "ca")
			secrets.put("login", "username", "billing", "password", "funeral")
			if err := other.Connect(t.Context(), Host{Secrets: &secrets}); err != nil {
				t.Fatal(err)
			}
			if err := ping(t, other); err == nil || strings.Contains(err.Error(), "funeral") {
				t.Errorf("with another password: %v", err)
			}
			// Without the authority of the broker, nobody is told a password.
			stranger := accessTo(k.ListenAddrs(), kind, "login")
			if err := stranger.Connect(t.Context(), Host{Secrets: &secrets}); err != nil {
				t.Fatal(err)
			}
			var unknown x509.UnknownAuthorityError
			if err := ping(t, stranger); !errors.As(err, &unknown) {
				t.Errorf("without its authority: %v", err)
			}
			for text := range strings.SplitSeq(fmt.Sprintf("%v|%+v", other, p), "|") {
				if strings.Contains(text, "wedding") || strings.Contains(text, "funeral") {
					t.Errorf("a Plan shows its password: %s", text)
				}
			}
		})
	}
}

// TestCertificates: who has one that the broker trusts is let in.
func TestCertificates(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	config := ca.server(t)
	config.ClientAuth = tls.RequireAndVerifyClientCert
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(config))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for name, signer := range map[string]*authority{"its own": ca, "a stranger": stranger} {
		var secrets safe
		cert, key := signer.sign(t, "billing")
		secrets.put("mine", "certificate", cert, "privateKey", key)
		secrets.put("ca", "certificate", ca.pem)
		p := accessTo(k.ListenAddrs(), certificateAuth, "mine", rootCA, "ca")
		if err := p.Connect(t.Context(), Host{Secrets: &secrets}); err != nil {
			t.Fatal(err)
		}
		if err := ping(t, p); (err == nil) != (signer == ca) {
			t.Errorf("signed by %s: %v", name, err)
		}
	}
}

// TestAChangedSecretIsUsedByTheNextConnection, without another Connect; and while the
// store of secrets does not answer, the one of before.
func TestAChangedSecretIsUsedByTheNextConnection(t *testing.T) {
	ca := newAuthority(t)
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.TLS(ca.server(t)),
		kfake.Superuser("PLAIN", "billing", "wedding"), kfake.Superuser("PLAIN", "billing-2", "funeral"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	var secrets safe
	secrets.put("login", "username", "billing", "password", "wedding")
	secrets.put("ca", "certificate", ca.pem)
	l := &login{keeper: keeper{secrets: &secrets, kept: map[string]*kept{}}, of: map[string]string{basicAuth: "login", rootCA: "ca"}}
	p := accessTo(k.ListenAddrs())
	p.Source.Client = l.options()
	user := func() string {
		if err := ping(t, p); err != nil {
			t.Fatal(err)
		}
		is, err := l.password(t.Context(), basicAuth)
		if err != nil {
			t.Fatal(err)
		}
		return is.Username
	}
	later := func() { // the time in which a secret is not asked for again is over
		l.keeper.mu.Lock()
		defer l.keeper.mu.Unlock()
		for _, s := range l.keeper.kept {
			s.at = s.at.Add(-secretFor)
		}
	}
	if got := user(); got != "billing" {
		t.Errorf("it is %s", got)
	}
	secrets.put("login", "username", "billing-2", "password", "funeral")
	later()
	if got := user(); got != "billing-2" {
		t.Errorf("it is %s", got)
	}
	secrets.mu.Lock()
	secrets.of = nil
	secrets.mu.Unlock()
	later()
	if got := user(); got != "billing-2" {
		t.Errorf("it is %s", got)
	}
}

// TestWhatIsWrongWithSecretsIsSaidAtOnce, of all of them, and without what they hold.
func TestWhatIsWrongWithSecretsIsSaidAtOnce(t *testing.T) {
	tests := map[string]struct {
		secret func(context.Context, string) ([]byte, error)
		says   string
	}{
		"it panics":     {func(context.Context, string) ([]byte, error) { panic("oh") }, "oh"},
		"it fails":      {func(context.Context, string) ([]byte, error) { return nil, errors.New("access denied") }, "access denied"},
		"it is empty":   {func(context.Context, string) ([]byte, error) { return nil, nil }, "it is empty"},
		"it is large":   {func(context.Context, string) ([]byte, error) { return bytes.Repeat([]byte("wedding"), 10_000), nil }, "more than 65,536 bytes"},
		"it is no JSON": {func(context.Context, string) ([]byte, error) { return []byte("wedding"), nil }, "it must be JSON"},
	}
	for name, tt := range tests {
		p := accessTo([]string{"localhost:9092"}, scram512Auth, "login", rootCA, "ca", certificateAuth, "mine", oauthBearerAuth, "grant")
		err := p.Connect(t.Context(), Host{Secrets: SecretsFunc(tt.secret)})
		if all := Mistakes(err); len(all) != 4 {
			t.Errorf("%s: %d mistakes: %v", name, len(all), err)
		}
		for _, m := range Mistakes(err) {
			if !strings.Contains(m.Error(), tt.says) || strings.Contains(m.Error(), "wedding") {
				t.Errorf("%s: %v", name, m)
			}
		}
		if len(p.Source.Client) != 0 {
			t.Errorf("%s: the Plan has changed", name)
		}
	}
	p := accessTo(nil, basicAuth, "login")
	if err := p.Connect(t.Context(), Host{}); err == nil || !strings.Contains(err.Error(), "the host has no Secrets") {
		t.Errorf("without Secrets: %v", err)
	}
}

// login logs in with these secrets.
func (s *safe) login(access map[string]string) *login {
	return &login{keeper: keeper{secrets: s, kept: map[string]*kept{}}, of: access}
}

// age ends the time in which secrets are not asked for again.
func (l *login) age() {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	for _, s := range l.keeper.kept {
		s.at = s.at.Add(-secretFor)
	}
}

// A gate is a server that says who came in.
type gate struct {
	net.Listener
	came chan string
}

func newGate(t *testing.T, config *tls.Config) *gate {
	t.Helper()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	listener, err := tls.Listen("tcp", "localhost:0", config)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener, make(chan string, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			is := c.(*tls.Conn)
			if err := is.HandshakeContext(t.Context()); err != nil {
				g.came <- "nobody"
			} else {
				g.came <- is.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-ended })
	return g
}

// TestAChangedCertificateIsUsedByTheNextConnection, and so is a changed authority.
func TestAChangedCertificateIsUsedByTheNextConnection(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	g := newGate(t, ca.server(t))
	var secrets safe
	become := func(signer *authority, name string) {
		cert, key := signer.sign(t, name)
		secrets.put("mine", "certificate", cert, "privateKey", key)
	}
	l := secrets.login(map[string]string{certificateAuth: "mine", rootCA: "ca"})
	dial := func() (string, error) {
		l.age()
		c, err := l.dial(t.Context(), "tcp", g.Addr().String())
		if err == nil {
			defer c.Close()
		}
		return <-g.came, err
	}
	secrets.put("ca", "certificate", ca.pem)
	for _, name := range []string{"billing", "billing-2"} {
		become(ca, name)
		if came, err := dial(); came != name || err != nil {
			t.Errorf("%s came in, want %s: %v", came, name, err)
		}
	}
	become(stranger, "billing-3")
	if came, _ := dial(); came != "nobody" { // TLS 1.3 tells the client with its first read
		t.Errorf("%s came in, of a stranger", came)
	}
	become(ca, "billing-4")
	secrets.put("ca", "certificate", stranger.pem)
	var unknown x509.UnknownAuthorityError
	if came, err := dial(); came != "nobody" || !errors.As(err, &unknown) {
		t.Errorf("%s came in to a server of a stranger: %v", came, err)
	}
	// What a secret became can be of no use.
	for _, uri := range []string{"mine", "ca"} {
		secrets.put(uri, "certificate", "wedding", "privateKey", "wedding")
		l.age()
		c, err := l.dial(t.Context(), "tcp", g.Addr().String())
		if c != nil || err == nil || strings.Contains(err.Error(), "wedding") {
			t.Errorf("with a %s that is none: %v", uri, err)
		}
		secrets.put("ca", "certificate", ca.pem)
		become(ca, "billing")
	}
}

// TestTheSecretOfBeforeIsUsed while Secrets misbehave, however they do.
func TestTheSecretOfBeforeIsUsed(t *testing.T) {
	for what, later := range map[string]SecretsFunc{
		"an error": func(context.Context, string) ([]byte, error) { return nil, errors.New("access denied") },
		"a panic":  func(context.Context, string) ([]byte, error) { panic("oh") },
		"nothing":  func(context.Context, string) ([]byte, error) { return nil, nil },
		"too much": func(context.Context, string) ([]byte, error) { return make([]byte, 70_000), nil },
		"a wait": func(ctx context.Context, _ string) ([]byte, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var secrets safe
			secrets.put("login", "username", "billing", "password", "wedding")
			l := secrets.login(map[string]string{basicAuth: "login"})
			if _, err := l.password(t.Context(), basicAuth); err != nil {
				t.Fatal(err)
			}
			l.keeper.secrets = later
			l.age()
			if p, err := l.password(t.Context(), basicAuth); err != nil || p.Password != "wedding" {
				t.Errorf("%s: it is not that of before: %v", what, err)
			}
		})
	}
}

// TestPlansLogInApart: Plans that began with the same options keep logins of their own.
func TestPlansLogInApart(t *testing.T) {
	ca := newAuthority(t)
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.TLS(ca.server(t)), kfake.Superuser("PLAIN", "billing", "wedding"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	var secrets safe
	secrets.put("login", "username", "billing", "password", "wedding")
	secrets.put("other", "username", "billing", "password", "funeral")
	secrets.put("ca", "certificate", ca.pem)
	common := append(make([]kgo.Opt, 0, 8), kgo.ClientID("billing"))
	var plans []*Plan
	for _, uri := range []string{"login", "other"} {
		p := accessTo(k.ListenAddrs(), basicAuth, uri, rootCA, "ca")
		p.Source.Client = common
		if err := p.Connect(t.Context(), Host{Secrets: &secrets}); err != nil {
			t.Fatal(err)
		}
		plans = append(plans, p)
	}
	if err := ping(t, plans[0]); err != nil {
		t.Errorf("with the login of its own: %v", err)
	}
	if err := ping(t, plans[1]); err == nil {
		t.Error("it logs in as the other one")
	}
}

// TestNothingShowsASecret: no text of a Plan that is connected, nor its JSON.
func TestNothingShowsASecret(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.sign(t, "billing")
	var secrets safe
	secrets.put("login", "username", "billing", "password", "wedding")
	secrets.put("mine", "certificate", cert, "privateKey", key)
	secrets.put("grant", "oauthTokenEndpointUrl", "https://localhost", "oauthClientId", "billing", "oauthClientSecret", "funeral")
	body := strings.Split(key, "\n")[1] // a line of the key
	for kind, uri := range map[string]string{basicAuth: "login", scram256Auth: "login", scram512Auth: "login", certificateAuth: "mine", oauthBearerAuth: "grant"} {
		p := accessTo([]string{"localhost:9092"}, kind, uri)
		if err := p.Connect(t.Context(), Host{Secrets: &secrets}); err != nil {
			t.Fatal(err)
		}
		c := Config{SourceAccessConfigurations: p.Needs.Access}
		plan, _ := json.Marshal(p) // it may be none
		config, err := json.Marshal(c)
		if err != nil {
			t.Error(err)
		}
		for _, text := range []string{fmt.Sprintf("%v %+v %#v", *p, *p, *p), fmt.Sprintf("%v %+v %#v", c, c, c), string(plan), string(config)} {
			for _, secret := range []string{"wedding", "funeral", body} {
				if strings.Contains(text, secret) {
					t.Errorf("%s: a secret is in %s", kind, text)
				}
			}
		}
	}
}
