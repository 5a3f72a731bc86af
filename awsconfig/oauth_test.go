package awsconfig

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// An issuer is a token endpoint.
type issuer struct {
	*httptest.Server
	asked  atomic.Int64
	answer func(w http.ResponseWriter, r *http.Request)
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.answer(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

// ca is who signed its certificate.
func (i *issuer) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
}

func gives(token string, seconds int) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": %d}`, token, seconds)
	}
}

// message is the first thing that a broker is told.
func message(t *testing.T, l *login) (string, error) {
	t.Helper()
	_, text, err := l.mechanism().Authenticate(t.Context(), "localhost")
	return string(text), err
}

// TestOAuthBearer logs in with a token of a client secret, which is kept for as long as it
// may be used.
func TestOAuthBearer(t *testing.T) {
	i := newIssuer(t)
	var secrets safe
	put := func(secret string) {
		secrets.put("grant", "oauthTokenEndpointUrl", i.URL+"/token", "oauthClientId", "billing", "oauthClientSecret", secret, "oauthIdpCaCertificate", i.ca())
	}
	put("wedding-of-1993")
	newLogin := func() *login {
		return &login{keeper: keeper{secrets: &secrets, kept: map[string]*kept{}}, of: map[string]string{
			oauthBearerAuth: "grant", oauthScope: "kafka", oauthAudience: "orders", oauthCluster: "lkc-1", oauthPool: "pool-1",
		}}
	}
	l := newLogin()
	i.answer = func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "billing" || password != "wedding-of-1993" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka" || r.FormValue("audience") != "orders" {
			t.Errorf("%s %v", user, r.Form)
		}
		gives("token-1", 3600)(w, r)
	}
	for range 3 {
		text, err := message(t, l)
		if err != nil || !strings.Contains(text, "auth=Bearer token-1") || !strings.Contains(text, "logicalCluster=lkc-1") || !strings.Contains(text, "identityPoolId=pool-1") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times for a token that is good for an hour", n)
	}
	// One that ends soon is not used again.
	l, i.answer = newLogin(), gives("token-2", 20)
	for range 2 {
		if text, err := message(t, l); err != nil || !strings.Contains(text, "token-2") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if n := i.asked.Load(); n != 3 {
		t.Errorf("it was asked %d times, and 3 would be right", n)
	}
	// Nor is that of a secret that was changed.
	l, i.answer = newLogin(), gives("token-3", 3600)
	if _, err := message(t, l); err != nil {
		t.Fatal(err)
	}
	put("funeral-of-1994")
	l.keeper.kept["grant"].at = time.Time{}
	i.answer = gives("token-4", 3600)
	if text, err := message(t, l); err != nil || !strings.Contains(text, "token-4") {
		t.Errorf("%q: %v", text, err)
	}
}

// TestATokenThatCannotBeHadIsSaid, without the secret, whatever the endpoint says.
func TestATokenThatCannotBeHadIsSaid(t *testing.T) {
	const secret = "wedding-of-1993"
	encoded := base64.StdEncoding.EncodeToString([]byte("billing:" + secret)) // as in the header
	says := func(status int, body string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	tests := map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		says   string
	}{
		"refused":        {says(401, `{"error": "invalid_client", "error_description": "`+secret+`"}`), "status 401: invalid_client"},
		"it repeats all": {says(400, `{"error": "`+secret+` is wrong"}`), "status 400: (it repeats the secret)"},
		"in base64":      {says(400, `{"error": "`+encoded+`"}`), "status 400"},
		"its end":        {says(400, `{"error": "`+secret[8:]+`"}`), "status 400"},
		"cut":            {says(400, `{"error": "`+strings.Repeat("x", 88)+secret+`"}`), "status 400"},
		"a long code":    {says(400, `{"error": "`+strings.Repeat("x", 100_000)+`"}`), "status 400"},
		"a page":         {says(500, "<html>"+secret+strings.Repeat("x", 100_000)), "status 500"},
		"no token":       {says(200, `{}`), "token"},
		"no JSON":        {says(200, secret), "no token can be had"},
		"it sends it elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com", http.StatusTemporaryRedirect)
		}, "status 307"},
	}
	for name, tt := range tests {
		i := newIssuer(t)
		i.answer = tt.answer
		var secrets safe
		secrets.put("grant", "oauthTokenEndpointUrl", i.URL, "oauthClientId", "billing", "oauthClientSecret", secret, "oauthIdpCaCertificate", i.ca())
		l := &login{keeper: keeper{secrets: &secrets, kept: map[string]*kept{}}, of: map[string]string{oauthBearerAuth: "grant"}}
		_, err := message(t, l)
		shown := err != nil && (strings.Contains(err.Error(), secret[:6]) || strings.Contains(err.Error(), secret[8:]) || strings.Contains(err.Error(), encoded))
		if err == nil || !strings.Contains(err.Error(), tt.says) || shown || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAGrantIsJudged before anything is asked.
func TestAGrantIsJudged(t *testing.T) {
	for text, says := range map[string]string{
		`{}`:                                     "oauthTokenEndpointUrl must be a URL with https",
		`{"oauthTokenEndpointUrl": "http://a"}`:  "must be a URL with https",
		`{"oauthTokenEndpointUrl": "https://a"}`: "oauthClientId is required",
		`{"oauthTokenEndpointUrl": "https://a", "oauthClientId": "b"}`:                                                             "it must have oauthClientSecret, or",
		`{"oauthTokenEndpointUrl": "https://a", "oauthClientId": "b", "oauthClientSecret": "c", "oauthClientEmail": "d"}`:          "and not both",
		`{"oauthTokenEndpointUrl": "https://a", "oauthClientId": "b", "oauthClientSecret": "c", "oauthIdpCaCertificate": "d"}`:     "no certificate in PEM",
		`{"oauthTokenEndpointUrl": "https://a", "oauthClientId": "b", "oauthClientSecret": "c", "oauthTokenExpirationSeconds": 0}`: "above 0",
	} {
		if _, err := grantOf([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestIAM logs in with a signed URL in place of a token.
func TestIAM(t *testing.T) {
	keys := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wedding", SessionToken: "session"}, nil
	})
	l := &login{host: Host{Credentials: keys, Region: "eu-central-1"}, of: map[string]string{iamAuth: ""}}
	text, err := message(t, l)
	if err != nil {
		t.Fatal(err)
	}
	_, token, _ := strings.Cut(text, "auth=Bearer ")
	token = strings.TrimRight(token, "\x01")
	is, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(string(is))
	if err != nil {
		t.Fatal(err)
	}
	q := at.Query()
	if at.Host != "kafka.eu-central-1.amazonaws.com" || q.Get("Action") != "kafka-cluster:Connect" || q.Get("X-Amz-Expires") != "900" ||
		!strings.Contains(q.Get("X-Amz-Credential"), "/eu-central-1/kafka-cluster/aws4_request") || q.Get("X-Amz-Security-Token") != "session" || len(q.Get("X-Amz-Signature")) != 64 {
		t.Errorf("%s", is)
	}
	if strings.Contains(string(is), "wedding") {
		t.Error("the token has the secret key")
	}
	for says, provider := range map[string]aws.CredentialsProviderFunc{
		"oh":       func(context.Context) (aws.Credentials, error) { panic("oh") },
		"no roles": func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("no roles") },
	} {
		l.host.Credentials = provider
		if _, err := message(t, l); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// TestWebIdentity logs in with a token of AWS for an audience.
func TestWebIdentity(t *testing.T) {
	l := &login{of: map[string]string{iamOAuthBearerAuth: "", oauthAudience: "orders"}}
	l.host.WebIdentity = func(_ context.Context, audience string) (string, time.Time, error) {
		return "for-" + audience, time.Time{}, nil
	}
	if text, err := message(t, l); err != nil || !strings.Contains(text, "auth=Bearer for-orders") {
		t.Errorf("%q: %v", text, err)
	}
	l.host.WebIdentity = func(context.Context, string) (string, time.Time, error) { panic("oh") }
	if _, err := message(t, l); err == nil || !strings.Contains(err.Error(), "oh") {
		t.Error(err)
	}
}

// TestTheBrokersOfAClusterFollowTheLogin: never those of a weaker one than is named.
func TestTheBrokersOfAClusterFollowTheLogin(t *testing.T) {
	all := Brokers{SASLIAM: "iam:9098", SASLSCRAM: "scram:9096,scram2:9096", TLS: "tls:9094", Plaintext: "plain:9092"}
	for _, tt := range []struct {
		has    Brokers
		access string
		want   string
	}{
		{all, "", "iam:9098"},
		{all, scram512Auth, "scram:9096 scram2:9096"},
		{all, certificateAuth, "tls:9094"},
		{Brokers{TLS: "tls:9094", Plaintext: "plain:9092"}, "", "tls:9094"},
		{Brokers{Plaintext: "plain:9092"}, "", "plain:9092"},
		{Brokers{Plaintext: "plain:9092"}, scram512Auth, ""},
		{Brokers{Plaintext: "plain:9092"}, certificateAuth, ""},
		{Brokers{}, "", ""},
	} {
		l := &login{of: map[string]string{}, host: Host{Cluster: func(context.Context, string) (Brokers, error) { return tt.has, nil }}}
		if tt.access != "" {
			l.of[tt.access] = "secret"
		}
		got, err := l.cluster(t.Context(), "arn:aws:kafka:eu-central-1:123456789012:cluster/orders/1")
		if strings.Join(got, " ") != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v with %q: %v, %v", tt.has, tt.access, got, err)
		}
	}
	l := &login{host: Host{Cluster: func(context.Context, string) (Brokers, error) { panic("oh") }}}
	if _, err := l.cluster(t.Context(), "arn"); err == nil || !strings.Contains(err.Error(), "oh") {
		t.Error(err)
	}
}

// TestWhatAClusterLacksIsSaid, and the Plan stays as it was.
func TestWhatAClusterLacksIsSaid(t *testing.T) {
	finds := func(b Brokers, err error) func(context.Context, string) (Brokers, error) {
		return func(context.Context, string) (Brokers, error) { return b, err }
	}
	iam := finds(Brokers{SASLIAM: "iam:9098"}, nil)
	for _, tt := range []struct {
		host   Host
		access []string
		says   string
	}{
		{Host{}, nil, "Host.Cluster is nil"},
		{Host{Cluster: finds(Brokers{}, errors.New("access denied"))}, nil, "access denied"},
		{Host{Cluster: func(context.Context, string) (Brokers, error) { panic("oh") }}, nil, "it panicked: oh"},
		{Host{Cluster: finds(Brokers{}, nil)}, nil, "has no brokers for this login"},
		{Host{Cluster: finds(Brokers{Plaintext: " , ,"}, nil)}, nil, "has no brokers for this login"},
		{Host{Cluster: iam}, nil, "Host.Credentials is nil"},
		{Host{Cluster: iam}, []string{iamAuth, ""}, "it needs Host.Credentials"},
		{Host{Cluster: iam, Credentials: aws.AnonymousCredentials{}}, []string{iamAuth, ""}, "it needs Host.Region"},
		{Host{Cluster: iam, Credentials: aws.AnonymousCredentials{}}, []string{iamOAuthBearerAuth, ""}, "it needs Host.WebIdentity"},
	} {
		p := accessTo(nil, tt.access...)
		p.Needs.Cluster = "arn:aws:kafka:eu-central-1:123456789012:cluster/orders/1"
		err := p.Connect(t.Context(), tt.host)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("it says %v, want %s", err, tt.says)
		}
		if p.Source.Brokers != nil || p.Source.Client != nil {
			t.Errorf("%s: the Plan has changed", tt.says)
		}
	}
}

// TestAClusterIsConnectedTo with TLS and IAM where it has them.
func TestAClusterIsConnectedTo(t *testing.T) {
	for _, tt := range []struct {
		is      Brokers
		brokers string
		options int
	}{
		{Brokers{SASLIAM: "b-1:9098, b-2:9098", TLS: "tls:9094"}, "b-1:9098 b-2:9098", 2},
		{Brokers{TLS: "tls:9094", Plaintext: "plain:9092"}, "tls:9094", 1},
		{Brokers{Plaintext: "plain:9092"}, "plain:9092", 0},
	} {
		p := accessTo(nil)
		p.Needs.Cluster = "arn:aws:kafka:eu-central-1:123456789012:cluster/orders/1"
		var asked string
		err := p.Connect(t.Context(), Host{Credentials: aws.AnonymousCredentials{}, Cluster: func(_ context.Context, arn string) (Brokers, error) {
			asked = arn
			return tt.is, nil
		}})
		if got := strings.Join(p.Source.Brokers, " "); err != nil || got != tt.brokers || len(p.Source.Client) != tt.options || asked != p.Needs.Cluster {
			t.Errorf("of %s they are %s, with %d options: %v", asked, got, len(p.Source.Client), err)
		}
	}
}

// TestMSKIAM logs in to a cluster that wants IAM, of the region that the broker's name says.
func TestMSKIAM(t *testing.T) {
	l := &login{iam: true}
	first := func() (string, error) {
		_, text, err := l.mechanism().Authenticate(t.Context(), "b-1.orders.kafka.eu-central-1.amazonaws.com:9098")
		return string(text), err
	}
	l.host.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wedding", SessionToken: "session"}, nil
	})
	text, err := first()
	var said map[string]string
	if err != nil || json.Unmarshal([]byte(text), &said) != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if said["host"] != "b-1.orders.kafka.eu-central-1.amazonaws.com" || said["action"] != "kafka-cluster:Connect" || said["x-amz-security-token"] != "session" ||
		!strings.Contains(said["x-amz-credential"], "/eu-central-1/kafka-cluster/") || len(said["x-amz-signature"]) != 64 || strings.Contains(text, "wedding") {
		t.Errorf("%v", said)
	}
	l.host.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { panic("oh") })
	if _, err := first(); err == nil || !strings.Contains(err.Error(), "Host.Credentials failed") {
		t.Error(err)
	}
}

// TestASignedAssertion gets a token by a private key, which stays here.
func TestASignedAssertion(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	i := newIssuer(t)
	login := func(key string) *login {
		var secrets safe
		secrets.put("grant", "oauthTokenEndpointUrl", i.URL, "oauthClientId", "billing", "oauthClientEmail", "billing@example.com",
			"oauthPrivateKey", key, "oauthTokenExpirationSeconds", "600", "oauthIdpCaCertificate", i.ca())
		return secrets.login(map[string]string{oauthBearerAuth: "grant", oauthAudience: "orders", oauthScope: "kafka"})
	}
	var assertion string
	i.answer = func(w http.ResponseWriter, r *http.Request) {
		assertion = r.FormValue("assertion")
		gives("token-1", 3600)(w, r)
	}
	if text, err := message(t, login(text)); err != nil || !strings.Contains(text, "auth=Bearer token-1") {
		t.Fatalf("%q: %v", text, err)
	}
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		t.Fatalf("it has %d parts", len(parts))
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		t.Error(err)
	}
	var claims struct {
		Iss, Aud, Scope string
		Iat, Exp        int64
	}
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if err := json.Unmarshal(body, &claims); err != nil {
		t.Fatal(err)
	}
	if lasts := time.Until(time.Unix(claims.Exp, 0)); claims.Iss != "billing@example.com" || claims.Aud != "orders" || claims.Scope != "kafka" || lasts < 9*time.Minute || lasts > 10*time.Minute {
		t.Errorf("%s", body)
	}
	i.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.FormValue("assertion"), http.StatusForbidden)
	}
	if _, err := message(t, login(text)); err == nil || !strings.Contains(err.Error(), "status 403") || strings.Contains(err.Error(), "ey") {
		t.Errorf("refused: %v", err)
	}
	i.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }
	if _, err := message(t, login(text)); err == nil || !strings.Contains(err.Error(), "gave no token") {
		t.Errorf("without a token: %v", err)
	}
	if _, err := message(t, login("wedding")); err == nil || strings.Contains(err.Error(), "wedding") {
		t.Errorf("with a key that is none: %v", err)
	}
}

// TestATokenEndpointIsTrustedByItsCertificate: nobody else is told the client secret.
func TestATokenEndpointIsTrustedByItsCertificate(t *testing.T) {
	i := newIssuer(t)
	i.Config.ErrorLog = log.New(io.Discard, "", 0) // it is refused
	i.answer = gives("token-1", 3600)
	for _, ca := range []string{"", newAuthority(t).pem} {
		var secrets safe
		secrets.put("grant", "oauthTokenEndpointUrl", i.URL, "oauthClientId", "billing", "oauthClientSecret", "wedding-of-1993", "oauthIdpCaCertificate", ca)
		_, err := message(t, secrets.login(map[string]string{oauthBearerAuth: "grant"}))
		if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "wedding") {
			t.Errorf("it says %v", err)
		}
	}
	if n := i.asked.Load(); n != 0 {
		t.Errorf("it was asked %d times", n)
	}
}

// TestATokenEndpointThatDoesNotAnswer holds up a connection until its context ends.
func TestATokenEndpointThatDoesNotAnswer(t *testing.T) {
	i := newIssuer(t)
	ctx, done := context.WithCancel(t.Context())
	i.answer = func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server sees that its client has gone after that only
		done()
		<-r.Context().Done()
	}
	var secrets safe
	secrets.put("grant", "oauthTokenEndpointUrl", i.URL, "oauthClientId", "billing", "oauthClientSecret", "wedding-of-1993", "oauthIdpCaCertificate", i.ca())
	l := secrets.login(map[string]string{oauthBearerAuth: "grant"})
	if _, _, err := l.mechanism().Authenticate(ctx, "localhost"); err == nil || strings.Contains(err.Error(), "wedding") {
		t.Errorf("it says %v", err)
	}
}
