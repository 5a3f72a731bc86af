package awsconfig

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"

	"github.com/seed429fd032/esm/internal/guard"
)

// A grant is the secret of OAUTHBEARER_AUTH: how to get a token, by a client secret or by
// a signed assertion.
type grant struct {
	TokenEndpoint string      `json:"oauthTokenEndpointUrl"`
	ClientID      string      `json:"oauthClientId"`
	ClientSecret  string      `json:"oauthClientSecret"`
	ClientEmail   string      `json:"oauthClientEmail"`
	PrivateKey    string      `json:"oauthPrivateKey"`
	Seconds       json.Number `json:"oauthTokenExpirationSeconds"`
	CA            string      `json:"oauthIdpCaCertificate"`
}

// grantOf reads a grant, and says what is wrong with it.
func grantOf(text []byte) (g grant, err error) {
	if !holds(text, &g) {
		return g, errors.New(`it must be JSON: {"oauthTokenEndpointUrl": "https://...", "oauthClientId": "...", "oauthClientSecret": "..."}`)
	}
	at, err := url.Parse(g.TokenEndpoint)
	secret, signed := g.ClientSecret != "", g.ClientEmail != "" || g.PrivateKey != ""
	switch {
	case err != nil || at.Scheme != "https" || at.Host == "":
		return g, errors.New("oauthTokenEndpointUrl must be a URL with https")
	case g.ClientID == "":
		return g, errors.New("oauthClientId is required")
	case secret && signed:
		return g, errors.New("it must have oauthClientSecret, or oauthClientEmail and oauthPrivateKey, and not both")
	case !secret && (g.ClientEmail == "" || g.PrivateKey == ""):
		return g, errors.New("it must have oauthClientSecret, or oauthClientEmail and oauthPrivateKey")
	}
	if n, ok := integer(g.Seconds); g.Seconds != "" && (!ok || n < 1) {
		return g, errors.New("oauthTokenExpirationSeconds must be a whole number above 0")
	}
	if g.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(g.CA)) {
		return g, errors.New("oauthIdpCaCertificate has no certificate in PEM")
	}
	return g, nil
}

// tokenEarly is how long before its end a token is not used any more.
const tokenEarly = 30 * time.Second

// A tokens keeps the token of a grant for as long as it may be used.
type tokens struct {
	mu    sync.Mutex // guards the rest
	of    [sha256.Size]byte
	token *oauth2.Token
}

// get returns a token of the grant that a secret has.
func (t *tokens) get(ctx context.Context, text []byte, scope, audience string) (string, error) {
	of := sha256.Sum256(text)
	t.mu.Lock()
	token := t.token
	fresh := token != nil && t.of == of && (token.Expiry.IsZero() || time.Until(token.Expiry) > tokenEarly)
	t.mu.Unlock()
	if fresh {
		return token.AccessToken, nil
	}
	g, err := grantOf(text)
	if err != nil {
		return "", err
	}
	token, err = g.fetch(ctx, scope, audience)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	t.of, t.token = of, token
	t.mu.Unlock()
	return token.AccessToken, nil
}

// fetch asks for a token.
func (g *grant) fetch(ctx context.Context, scope, audience string) (*oauth2.Token, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	if g.CA != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(g.CA))
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	ctx, done := context.WithTimeout(ctx, secretWithin)
	defer done()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Transport: transport,
		// It has a secret, which is for that host alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	var scopes []string
	if scope != "" {
		scopes = []string{scope}
	}
	var token *oauth2.Token
	var err error
	if g.ClientSecret != "" {
		c := clientcredentials.Config{ClientID: g.ClientID, ClientSecret: g.ClientSecret, TokenURL: g.TokenEndpoint, Scopes: scopes}
		if audience != "" {
			c.EndpointParams = url.Values{"audience": {audience}}
		}
		token, err = c.Token(ctx)
	} else {
		c := jwt.Config{Email: g.ClientEmail, PrivateKey: []byte(g.PrivateKey), TokenURL: g.TokenEndpoint, Scopes: scopes, Audience: audience}
		if n, ok := integer(g.Seconds); ok {
			c.Expires = time.Duration(n) * time.Second
		}
		token, err = c.TokenSource(ctx).Token()
	}
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		// Its body may say anything, secrets too.
		code := guard.Cut(answer.ErrorCode, 100)
		if g.ClientSecret != "" && strings.Contains(code, g.ClientSecret[:min(8, len(g.ClientSecret))]) {
			code = "(it repeats the secret)"
		} else if strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" { // OAuth's are words, and a part or another form of the secret seldom is
			code = "(an error that is no code of OAuth)"
		}
		return nil, fmt.Errorf("the token endpoint answered with status %d: %s", answer.Response.StatusCode, code)
	}
	if err != nil {
		return nil, fmt.Errorf("no token can be had: %s", guard.Text(err))
	}
	if token.AccessToken == "" {
		return nil, errors.New("the token endpoint gave no token")
	}
	return token, nil
}

// grant reads the secret of OAUTHBEARER_AUTH.
func (l *login) grant(ctx context.Context) (grant, error) {
	text, err := l.keeper.get(ctx, l.of[oauthBearerAuth])
	if err != nil {
		return grant{}, err
	}
	return grantOf(text)
}

// bearer logs in with the token of a grant.
func (l *login) bearer(ctx context.Context) (a oauth.Auth, err error) {
	text, err := l.keeper.get(ctx, l.of[oauthBearerAuth])
	if err != nil {
		return a, err
	}
	a.Token, err = l.tokens.get(ctx, text, l.of[oauthScope], l.of[oauthAudience])
	a.Extensions = map[string]string{}
	for kind, name := range map[string]string{oauthCluster: "logicalCluster", oauthPool: "identityPoolId"} {
		if v := l.of[kind]; v != "" {
			a.Extensions[name] = v
		}
	}
	return a, err
}

// identity logs in with a token of AWS for an audience.
func (l *login) identity(ctx context.Context) (oauth.Auth, error) {
	token, err := guard.Ask(ctx, hostWithin, "awsconfig: Host.WebIdentity", func(ctx context.Context) (string, error) {
		token, _, err := l.host.WebIdentity(ctx, l.of[oauthAudience])
		return token, err
	})
	return oauth.Auth{Token: token}, err
}

// signedFor is for how long a signed login is good: what MSK takes.
const signedFor = 15 * time.Minute

// signed logs in with a URL of MSK that is signed, in place of a token. The broker's name
// does not have to say the region, as in AWS_MSK_IAM.
func (l *login) signed(ctx context.Context) (a oauth.Auth, err error) {
	c, err := l.credentials(ctx)
	if err != nil {
		return a, err
	}
	query := url.Values{"Action": {"kafka-cluster:Connect"}, "X-Amz-Expires": {fmt.Sprint(int(signedFor.Seconds()))}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://kafka."+l.host.Region+".amazonaws.com/?"+query.Encode(), nil)
	if err != nil {
		return a, err
	}
	nothing := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, c, r, hex.EncodeToString(nothing[:]), "kafka-cluster", l.host.Region, time.Now())
	if err != nil {
		return a, err
	}
	a.Token = base64.RawURLEncoding.EncodeToString([]byte(signed + "&User-Agent=esm"))
	return a, nil
}
