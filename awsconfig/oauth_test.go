package awsconfig

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
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
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), secret) || len(err.Error()) > 1000 {
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
