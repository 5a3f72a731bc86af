package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// The one login that a secure cluster knows, for SCRAM-SHA-512 and for PLAIN.
// The cluster calls it "User:app", and who shows Security.Client "User:CN=app".
// Neither may do anything until an ACL says so. Whoever comes without a login,
// to Cluster.Addrs or to Security.TLS, may do everything.
const (
	User     = "app"
	Password = "secret"
)

// Security is how to come into a cluster that was started with Config.Secure.
type Security struct {
	// The addresses of each broker's other listeners: SASL is SCRAM-SHA-512 or
	// PLAIN inside of TLS, TLS asks for no certificate of the client, and
	// MutualTLS for one that CA has signed. Login is PLAIN without TLS, and a
	// login lasts as long as its connection there.
	SASL, TLS, MutualTLS, Login []string
	// CA has signed the certificates of the brokers.
	CA *x509.CertPool
	// Client is a certificate that CA has signed.
	Client tls.Certificate
}

// Config is for a client that trusts the cluster and shows these certificates.
func (s *Security) Config(show ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: s.CA, Certificates: show, MinVersion: tls.VersionTLS12}
}

// reauthenticate is how long a login lasts: short, so that a password that was
// changed is missed while connections last.
const reauthenticate = 2 * time.Second

// secure makes certificates and finds ports for n brokers.
func (k *Cluster) secure(n int) error {
	const listeners = 4
	ports, err := freePorts(listeners * n)
	if err != nil {
		return err
	}
	s := &Security{CA: x509.NewCertPool()}
	for i := range n {
		at := func(listener int) string { return "127.0.0.1:" + strconv.Itoa(ports[listeners*i+listener]) }
		s.SASL, s.TLS, s.MutualTLS, s.Login = append(s.SASL, at(0)), append(s.TLS, at(1)), append(s.MutualTLS, at(2)), append(s.Login, at(3))
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	s.CA.AddCert(ca.cert)
	broker, chain, err := ca.sign("broker")
	if err != nil {
		return err
	}
	if s.Client, _, err = ca.sign(User); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(broker.PrivateKey)
	if err != nil {
		return err
	}
	identity := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), chain...)
	if err := os.WriteFile(filepath.Join(k.dir, "broker.pem"), identity, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(k.dir, "ca.pem"), ca.pem(), 0o600); err != nil {
		return err
	}
	k.Security = s
	return nil
}

// secured adds what makes the i-th broker secure to its properties.
func (k *Cluster) secured(i int, props map[string]string) {
	s := k.Security
	more := fmt.Sprintf(",SASL://%s,TLS://%s,MUTUAL://%s,LOGIN://%s", s.SASL[i], s.TLS[i], s.MutualTLS[i], s.Login[i])
	props["listeners"] += more
	props["advertised.listeners"] += more
	props["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,TLS:SSL,MUTUAL:SSL,LOGIN:SASL_PLAINTEXT"
	module := fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required user_%s="%s";`, User, Password)
	maps.Copy(props, map[string]string{
		"ssl.keystore.type":                    "PEM",
		"ssl.keystore.location":                filepath.Join(k.dir, "broker.pem"),
		"ssl.truststore.type":                  "PEM",
		"ssl.truststore.location":              filepath.Join(k.dir, "ca.pem"),
		"listener.name.mutual.ssl.client.auth": "required",

		"listener.name.sasl.sasl.enabled.mechanisms":        "SCRAM-SHA-512,PLAIN",
		"listener.name.sasl.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.sasl.plain.sasl.jaas.config":         module,
		"listener.name.login.sasl.enabled.mechanisms":       "PLAIN",
		"listener.name.login.plain.sasl.jaas.config":        module,
		"listener.name.sasl.connections.max.reauth.ms":      strconv.FormatInt(reauthenticate.Milliseconds(), 10),

		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                    "User:ANONYMOUS",
		"allow.everyone.if.no.acl.found": "false",
	})
}

// logins are what the formatter is told of those who may log in.
func (k *Cluster) logins() []string {
	if k.Security == nil {
		return nil
	}
	return []string{"--add-scram", fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", User, Password)}
}

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{template("authority"), key}
	a.cert.IsCA, a.cert.BasicConstraintsValid = true, true
	a.cert.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a.cert, err = x509.ParseCertificate(der)
	return a, err
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// sign makes a certificate for this machine. It returns the chain too.
func (a *authority) sign(name string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	t := template(name)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.IPAddresses, t.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.pem()...)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, chain, nil
}

// template is a certificate for a day, from an hour ago in case that the clock
// is set back.
func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails: see its documentation
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
}
