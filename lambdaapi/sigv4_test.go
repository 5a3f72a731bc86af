package lambdaapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signedRequest is a request that was signed at a time, for a service of a region. with
// changes it before it is signed.
func signedRequest(t *testing.T, at time.Time, service, region, body string, with func(*http.Request)) *http.Request {
	t.Helper()
	r := httptest.NewRequest("POST", "http://localhost:9001/2015-03-31/event-source-mappings?b=2&a=1", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if with != nil {
		with(r)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, r, hex.EncodeToString(sum[:]), service, region, at); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSignatures: what is not signed as AWS's clients do, or was changed since, is refused.
func TestSignatures(t *testing.T) {
	now := time.Date(2026, 11, 27, 23, 59, 30, 0, time.UTC)
	logged := ""
	v := &verifier{now: func() time.Time { return now }, region: "eu-central-1", log: func(text string, err error) { logged += text + ": " + err.Error() + "\n" }, keys: func(_ context.Context, id string) (aws.Credentials, error) {
		switch id {
		case keys.AccessKeyID:
			return keys, nil
		case "PANIC":
			panic("oh")
		case "EMPTY":
			return aws.Credentials{AccessKeyID: id}, nil
		}
		return aws.Credentials{}, errors.New("wedding is no key")
	}}
	const body = `{"FunctionName": "billing"}`
	resign := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			is := r.Header.Get("Authorization")
			if !strings.Contains(is, from) {
				t.Fatalf("%s has no %s", is, from)
			}
			r.Header.Set("Authorization", strings.Replace(is, from, to, 1))
		}
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, tt := range []struct {
		name   string
		signed *http.Request
		after  func(*http.Request)
		body   string
		says   string // "" if it is taken
	}{
		{"as it is", signedRequest(t, now, "lambda", "eu-central-1", body, nil), nil, body, ""},
		{"five minutes ago", signedRequest(t, now.Add(-5*time.Minute), "lambda", "eu-central-1", body, nil), nil, body, ""},
		{"tomorrow, in a minute", signedRequest(t, now.Add(time.Minute), "lambda", "eu-central-1", body, nil), nil, body, ""},
		{"with its hash", signedRequest(t, now, "lambda", "eu-central-1", body, set("X-Amz-Content-Sha256", "5a2b6fb2e0fb0a0f1e0d2a0d4cb8f5f1")), nil, body, "X-Amz-Content-Sha256"},
		{"a header that proxies add", signedRequest(t, now, "lambda", "eu-central-1", body, nil), set("X-Request-Id", "1"), body, ""},
		{"a header that is signed", signedRequest(t, now, "lambda", "eu-central-1", body, set("X-Amz-Meta-A", " a  b ")), nil, body, ""},
		{"six minutes ago", signedRequest(t, now.Add(-6*time.Minute), "lambda", "eu-central-1", body, nil), nil, body, "5m0s apart"},
		{"in six minutes", signedRequest(t, now.Add(6*time.Minute), "lambda", "eu-central-1", body, nil), nil, body, "5m0s apart"},
		{"for another service", signedRequest(t, now, "s3", "eu-central-1", body, nil), nil, body, "for the service \"s3\""},
		{"for another region", signedRequest(t, now, "lambda", "us-east-1", body, nil), nil, body, "for the region \"us-east-1\""},
		{"another body", signedRequest(t, now, "lambda", "eu-central-1", body, nil), nil, body + " ", "not that of the request"},
		{"another method", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.Method = "PUT" }, body, "not that of the request"},
		{"another path", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.URL.Path += "/a" }, body, "not that of the request"},
		{"another query", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.URL.RawQuery = "a=1&b=3" }, body, "not that of the request"},
		{"the query in another order", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.URL.RawQuery = "a=1&b=2" }, body, ""},
		{"another host", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.Host = "localhost:9002" }, body, "not that of the request"},
		{"another kind", signedRequest(t, now, "lambda", "eu-central-1", body, nil), set("Content-Type", "text/plain"), body, "not that of the request"},
		{"another time", signedRequest(t, now, "lambda", "eu-central-1", body, nil), set("X-Amz-Date", now.Add(time.Minute).Format(dateFormat)), body, "another day"},
		{"a time of the same day", signedRequest(t, now, "lambda", "eu-central-1", body, nil), set("X-Amz-Date", now.Add(-time.Second).Format(dateFormat)), body, "not that of the request"},
		{"no time", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.Header.Del("X-Amz-Date") }, body, "X-Amz-Date"},
		{"another session", signedRequest(t, now, "lambda", "eu-central-1", body, nil), set("X-Amz-Security-Token", "other"), body, "not that of the request"},
		{"no session", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") }, body, "signed and not there"},
		{"a header less", signedRequest(t, now, "lambda", "eu-central-1", body, set("X-Amz-Meta-A", "a")), func(r *http.Request) { r.Header.Del("X-Amz-Meta-A") }, body, "signed and not there"},
		{"its host is not signed", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("SignedHeaders=content-length;content-type;host;", "SignedHeaders=content-length;content-type;"), body, "the header host must be signed"},
		{"its time is not signed", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("x-amz-date;", ""), body, "the header x-amz-date must be signed"},
		{"its session is not signed", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign(";x-amz-security-token", ""), body, "not that of the request"},
		{"headers in another order", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("content-length;content-type", "content-type;content-length"), body, "sorted"},
		{"another key", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("AKIDEXAMPLE", "AKIDOTHER"), body, "not that of the request"},
		{"a key that panics", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("AKIDEXAMPLE", "PANIC"), body, "not that of the request"},
		{"a key without a secret", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("AKIDEXAMPLE", "EMPTY"), body, "not that of the request"},
		{"another signature", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("Signature=", "Signature=00"), body, "cannot be read"},
		{"no signature", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.Header.Del("Authorization") }, body, "must be signed"},
		{"two of them", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.Header.Add("Authorization", "AWS4-HMAC-SHA256 a") }, body, "more than one"},
		{"another algorithm", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), body, "AWS4-HMAC-SHA256"},
		{"a bearer", signedRequest(t, now, "lambda", "eu-central-1", body, nil), set("Authorization", "Bearer token"), body, "AWS4-HMAC-SHA256"},
		{"nonsense", signedRequest(t, now, "lambda", "eu-central-1", body, nil), set("Authorization", "AWS4-HMAC-SHA256 a, b, c"), body, "cannot be read"},
		{"a part twice", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("SignedHeaders=", "Signature=00, SignedHeaders="), body, "cannot be read"},
		{"a scope of more", signedRequest(t, now, "lambda", "eu-central-1", body, nil), resign("/aws4_request", "/aws4_request/a"), body, "cannot be read"},
		{"a signed URL", signedRequest(t, now, "lambda", "eu-central-1", body, nil), func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=00" }, body, "signed URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.after != nil {
				tt.after(tt.signed)
			}
			err := v.verify(tt.signed, []byte(tt.body))
			switch {
			case tt.says == "" && err != nil, tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("it says %v, want %q", err, tt.says)
			case err != nil && strings.Contains(err.Error(), "wedding"):
				t.Errorf("a secret is in %v", err)
			}
		})
	}
	if !strings.Contains(logged, "Config.Keys failed: it panicked: oh") || !strings.Contains(logged, "wedding is no key") {
		t.Errorf("logged is %s", logged)
	}
}

// TestKeysAreNotGuessed: whether a key is known makes no difference, whatever else is wrong.
func TestKeysAreNotGuessed(t *testing.T) {
	at := time.Now()
	h := newHost(t, func(c *Config) {
		c.Keys = func(_ context.Context, id string) (aws.Credentials, error) {
			if id != keys.AccessKeyID {
				return aws.Credentials{}, errors.New("no such key")
			}
			return keys, nil
		}
	})
	for name, change := range map[string]func(*http.Request){
		"nothing":           func(r *http.Request) { r.Header.Set("Authorization", r.Header.Get("Authorization")+"0") },
		"a header less":     func(r *http.Request) { r.Header.Del("X-Amz-Meta-A") },
		"another body":      func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "00") },
		"another session":   func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "other") },
		"another signature": func(r *http.Request) { r.Method = "PUT" },
	} {
		var said []string
		for _, key := range []string{keys.AccessKeyID, "AKIDOTHER"} {
			r := signedRequest(t, at, "lambda", "us-east-1", "", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "a") })
			change(r)
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), keys.AccessKeyID, key, 1))
			is := send(t, h, r)
			if is.status != 403 {
				t.Errorf("%s: %d", name, is.status)
			}
			said = append(said, is.text())
		}
		if said[0] != said[1] {
			t.Errorf("%s: it says %q of a key that is there, and %q of another", name, said[0], said[1])
		}
	}
}

// FuzzSignatures: no header Authorization gets through, or ends the process.
func FuzzSignatures(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261127/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("00", 32))
	f.Add("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261127/us-east-1/lambda/aws4_request,SignedHeaders=content-type;host;x-amz-date;x-b,Signature=" + strings.Repeat("ff", 32))
	f.Add("Bearer a")
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	v := &verifier{now: func() time.Time { return at }, log: func(string, error) {}, keys: func(context.Context, string) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey}, nil
	}}
	f.Fuzz(func(t *testing.T, authorization string) {
		r := httptest.NewRequest("GET", "http://localhost/2015-03-31/event-source-mappings", nil)
		r.Header["Authorization"] = []string{authorization}
		r.Header.Set("X-Amz-Date", at.Format(dateFormat))
		if err := v.verify(r, nil); err == nil {
			t.Errorf("%q is taken", authorization)
		}
	})
}

// FuzzNames: a name that is taken apart and put together names the same function.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"billing", "billing:PROD", "billing:$LATEST", "123456789012:function:billing:3", "arn:aws:lambda:us-east-1:123456789012:function:billing", "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:billing:PROD", "arn:aws:lambda:eusc-de-east-1:123456789012:function:a.b:$LATEST.PUBLISHED", "::", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := nameOf(s)
		if !ok {
			return
		}
		whole := n.in("aws", "us-east-1", "123456789012")
		again, ok := nameOf(whole.String())
		if !ok || again != whole || !again.matches(n) {
			t.Errorf("%q is %+v, and %q is %+v", s, whole, whole.String(), again)
		}
	})
}
