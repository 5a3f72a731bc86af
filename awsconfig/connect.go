package awsconfig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	mskiam "github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// A Host has what a Plan needs for its Kafka. What a Plan does not need may be nil.
type Host struct {
	Secrets Secrets
	// Cluster finds the brokers of an MSK cluster by its ARN: see [Brokers].
	Cluster func(ctx context.Context, arn string) (Brokers, error)
	// Credentials are those of AWS, for a login by IAM.
	Credentials aws.CredentialsProvider
	// Region is AWS's, for IAM_AUTH.
	Region string
	// WebIdentity returns a token of AWS for an audience, and when it ends: what
	// sts:GetWebIdentityToken says. For IAM_OAUTHBEARER_AUTH.
	WebIdentity func(ctx context.Context, audience string) (token string, expires time.Time, err error)
	// Destination finds what takes the records that are given up of what OnFailure names,
	// such as kafka://failed or the ARN of a queue. It is asked by each Connect: make one
	// once, and return it each time.
	Destination func(ctx context.Context, name string) (esm.Destination, error)
}

// Brokers are those of an MSK cluster, by how they are spoken to. Each is what
// kafka:GetBootstrapBrokers says: host:port, separated by commas, or "" if the cluster has
// none of these.
type Brokers struct {
	SASLIAM   string // BootstrapBrokerStringSaslIam
	SASLSCRAM string // BootstrapBrokerStringSaslScram
	TLS       string // BootstrapBrokerStringTls
	Plaintext string // BootstrapBrokerString
}

// Connect finds what a Plan needs but for its function. It puts the brokers of an MSK
// cluster and the options of the client that log in into Source, and the destination into
// Options. It reads each secret once, so that what is wrong with one is said now; it says
// everything that is wrong at once, and changes nothing then.
//
// Each connection takes the secrets anew, so that one that was changed is used from the
// next connection on, and nothing has to be restarted. If a secret cannot be had then, the
// one of before is used.
func (p *Plan) Connect(ctx context.Context, h Host) error {
	l := &login{keeper: keeper{secrets: h.Secrets, kept: map[string]*kept{}}, host: h, of: map[string]string{}}
	for _, a := range p.Needs.Access {
		l.of[a.Type] = a.URI
	}
	var said []*Mistake
	brokers := p.Source.Brokers
	if arn := p.Needs.Cluster; arn != "" {
		var err error
		if brokers, err = l.cluster(ctx, arn); err != nil {
			said = append(said, &Mistake{Path: "EventSourceArn", Field: "EventSourceArn", Value: fmt.Sprintf("%q", arn), Bound: err.Error()})
		}
	}
	said = append(said, l.check(ctx, p.Needs.Access)...)
	options := p.Options
	if name := p.Needs.Destination; name != "" {
		d, err := h.destination(ctx, name)
		if err != nil {
			field := "DestinationConfig.OnFailure.Destination"
			said = append(said, &Mistake{Path: field, Field: field, Value: fmt.Sprintf("%q", name), Bound: err.Error()})
		}
		options = append(options[:len(options):len(options)], esm.WithDestination(d))
	}
	if err := join(said); err != nil {
		return err
	}
	client := p.Source.Client // others may have the same
	p.Source.Brokers, p.Source.Client, p.Options = brokers, append(client[:len(client):len(client)], l.options()...), options
	return nil
}

// destination asks the host for a destination.
func (h *Host) destination(ctx context.Context, name string) (esm.Destination, error) {
	if h.Destination == nil {
		return nil, errors.New("names a destination, and Host.Destination is nil: nobody would take the records that are given up")
	}
	found, err := guard.Ask(ctx, hostWithin, "Host.Destination", func(ctx context.Context) (esm.Destination, error) { return h.Destination(ctx, name) })
	switch {
	case err != nil:
		return nil, fmt.Errorf("has no destination: %s", guard.Text(err))
	case found == nil || guard.IsNil(found):
		return nil, errors.New("has no destination: Host.Destination returned nil")
	}
	return found, nil
}

// hostWithin is how long the host may take to find something.
const hostWithin = 30 * time.Second

// A login is how one Mapping logs in to its Kafka.
type login struct {
	keeper keeper
	host   Host
	of     map[string]string // the URI of each type
	iam    bool              // of MSK, where no type says it
	secure bool              // of MSK: it has TLS even without a login
	tokens tokens
}

func (l *login) has(name string) bool {
	_, ok := l.of[name]
	return ok
}

// cluster finds the brokers of an MSK cluster: those of the strongest login that there is,
// as AWS does, and never of a weaker one than the configuration names.
func (l *login) cluster(ctx context.Context, arn string) ([]string, error) {
	if l.host.Cluster == nil {
		return nil, errors.New("names an MSK cluster, and Host.Cluster is nil: nobody knows its brokers")
	}
	found, err := guard.Ask(ctx, hostWithin, "Host.Cluster", func(ctx context.Context) (Brokers, error) { return l.host.Cluster(ctx, arn) })
	if err != nil {
		return nil, fmt.Errorf("has brokers that nobody knows: %s", guard.Text(err))
	}
	var which string
	switch {
	case l.has(certificateAuth):
		which, l.secure = found.TLS, true
	case l.has(scram512Auth):
		which, l.secure = found.SASLSCRAM, true
	case found.SASLIAM != "":
		which, l.iam, l.secure = found.SASLIAM, true, true
	case found.TLS != "":
		which, l.secure = found.TLS, true
	default:
		which = found.Plaintext
	}
	var brokers []string
	for b := range strings.SplitSeq(which, ",") {
		if b = strings.TrimSpace(b); b != "" {
			brokers = append(brokers, b)
		}
	}
	if len(brokers) == 0 {
		return nil, errors.New("has no brokers for this login")
	}
	return brokers, nil
}

// check reads each secret, and says what is wrong with any.
func (l *login) check(ctx context.Context, access []SourceAccessConfiguration) (said []*Mistake) {
	for i, a := range access {
		var err error
		switch a.Type {
		case basicAuth, scram256Auth, scram512Auth:
			_, err = l.password(ctx, a.Type)
		case certificateAuth:
			_, err = l.certificate(ctx)
		case rootCA:
			_, err = l.roots(ctx)
		case oauthBearerAuth:
			_, err = l.grant(ctx)
		case iamAuth:
			switch {
			case l.host.Credentials == nil:
				err = errors.New("it needs Host.Credentials, which is nil")
			case l.host.Region == "":
				err = errors.New("it needs Host.Region, which is empty")
			}
		case iamOAuthBearerAuth:
			if l.host.WebIdentity == nil {
				err = errors.New("it needs Host.WebIdentity, which is nil")
			}
		}
		if err != nil {
			field := member(element("SourceAccessConfigurations", i), "URI")
			said = append(said, &Mistake{Path: field, Field: field, Value: fmt.Sprintf("%s %q", a.Type, a.URI), Bound: "cannot be used: " + guard.Text(err)})
		}
	}
	if l.iam && l.host.Credentials == nil {
		said = append(said, &Mistake{Path: "EventSourceArn", Field: "EventSourceArn", Bound: "is a cluster that wants IAM, and Host.Credentials is nil"})
	}
	return said
}

// options are those of the client.
func (l *login) options() (opts []kgo.Opt) {
	if m := l.mechanism(); m != nil {
		opts = append(opts, kgo.SASL(m))
		l.secure = true
	}
	if l.secure || l.has(rootCA) || l.has(certificateAuth) {
		opts = append(opts, kgo.Dialer(l.dial))
	}
	return opts
}

// mechanism is how it logs in, or nil. Each asks for the secret when a connection is made.
func (l *login) mechanism() sasl.Mechanism {
	withPassword := func(kind string) func(ctx context.Context) (scram.Auth, error) {
		return func(ctx context.Context) (scram.Auth, error) {
			p, err := l.password(ctx, kind)
			return scram.Auth{User: p.Username, Pass: p.Password}, err
		}
	}
	switch {
	case l.has(basicAuth):
		return plain.Plain(func(ctx context.Context) (plain.Auth, error) {
			p, err := l.password(ctx, basicAuth)
			return plain.Auth{User: p.Username, Pass: p.Password}, err
		})
	case l.has(scram256Auth):
		return scram.Sha256(withPassword(scram256Auth))
	case l.has(scram512Auth):
		return scram.Sha512(withPassword(scram512Auth))
	case l.has(oauthBearerAuth):
		return oauth.Oauth(l.bearer)
	case l.has(iamAuth):
		return oauth.Oauth(l.signed)
	case l.has(iamOAuthBearerAuth):
		return oauth.Oauth(l.identity)
	case l.iam:
		return mskiam.ManagedStreamingIAM(func(ctx context.Context) (mskiam.Auth, error) {
			c, err := l.credentials(ctx)
			return mskiam.Auth{AccessKey: c.AccessKeyID, SecretKey: c.SecretAccessKey, SessionToken: c.SessionToken}, err
		})
	}
	return nil
}

// credentials are those of AWS.
func (l *login) credentials(ctx context.Context) (aws.Credentials, error) {
	return guard.Ask(ctx, hostWithin, "awsconfig: Host.Credentials", l.host.Credentials.Retrieve)
}

func (l *login) password(ctx context.Context, kind string) (password, error) {
	text, err := l.keeper.get(ctx, l.of[kind])
	if err != nil {
		return password{}, err
	}
	return passwordOf(text)
}

func (l *login) certificate(ctx context.Context) (tls.Certificate, error) {
	text, err := l.keeper.get(ctx, l.of[certificateAuth])
	if err != nil {
		return tls.Certificate{}, err
	}
	return clientCertificate(text)
}

func (l *login) roots(ctx context.Context) (*x509.CertPool, error) {
	text, err := l.keeper.get(ctx, l.of[rootCA])
	if err != nil {
		return nil, err
	}
	return rootCAs(text)
}

// dialTimeout is how long a connection may take to be there, as of the client itself.
const dialTimeout = 10 * time.Second

// dial connects with TLS, with the certificates that the secrets have now.
func (l *login) dial(ctx context.Context, network, host string) (net.Conn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.has(rootCA) {
		roots, err := l.roots(ctx)
		if err != nil {
			return nil, fmt.Errorf("awsconfig: %s: %w", rootCA, err)
		}
		config.RootCAs = roots
	}
	if l.has(certificateAuth) {
		pair, err := l.certificate(ctx)
		if err != nil {
			return nil, fmt.Errorf("awsconfig: %s: %w", certificateAuth, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: config} // it takes the name of the server from the address
	ctx, done := context.WithTimeout(ctx, dialTimeout)
	defer done()
	return d.DialContext(ctx, network, host)
}
