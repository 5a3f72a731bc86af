package lambdaapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/seed429fd032/esm/internal/guard"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	// skew is how far the clock of a client may be from ours: as in AWS.
	skew = 5 * time.Minute
	// dateFormat is how X-Amz-Date says a time.
	dateFormat = "20060102T150405Z"
)

// A verifier checks the signatures of requests (SigV4). It signs a copy of the request
// with the keys that the host has, and compares.
type verifier struct {
	keys   func(ctx context.Context, accessKeyID string) (aws.Credentials, error)
	region string // "" for any
	now    func() time.Time
	log    func(text string, err error)
}

// A signature is what the header Authorization says.
type signature struct {
	key, date, region, service string
	headers                    []string
	sum                        []byte
}

// errSignature is what a client is told that has not signed well, or with a key that is not
// known: who guesses keys learns nothing.
var errSignature = errors.New("the signature is not that of the request, by a key of this host")

// verify returns why a request is refused. body is what it sent.
func (v *verifier) verify(r *http.Request, body []byte) error {
	if r.URL.Query().Has("X-Amz-Signature") {
		return errors.New("a signed URL is not taken: sign the header Authorization")
	}
	s, err := signatureOf(r.Header.Values("Authorization"))
	if err != nil {
		return err
	}
	at, err := time.Parse(dateFormat, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return errors.New("the header X-Amz-Date must be there, as 20060102T150405Z")
	}
	switch is := v.now(); {
	case at.Sub(is).Abs() > skew:
		return fmt.Errorf("it was signed at %s, and it is %s: they may be %s apart", at.Format(time.RFC3339), is.UTC().Format(time.RFC3339), skew)
	case s.date != at.Format("20060102"):
		return errors.New("the scope of the signature is of another day than X-Amz-Date")
	case s.service != "lambda":
		return fmt.Errorf("it is signed for the service %q, and must be for lambda", guard.Cut(s.service, 50))
	case v.region != "" && s.region != v.region:
		return fmt.Errorf("it is signed for the region %q, and must be for %s", guard.Cut(s.region, 50), v.region)
	}
	for _, name := range []string{"host", "x-amz-date"} {
		if !slices.Contains(s.headers, name) {
			return fmt.Errorf("the header %s must be signed", name)
		}
	}
	// All that needs no key is looked at before the key.
	hash, err := s.whole(r, body)
	if err != nil {
		return err
	}
	keys, err := guard.Ask(r.Context(), hostWithin, "Config.Keys", func(ctx context.Context) (aws.Credentials, error) { return v.keys(ctx, s.key) })
	switch {
	case err != nil:
		v.log("a request was refused: its key cannot be had", err)
		return errSignature
	case keys.AccessKeyID != s.key || keys.SecretAccessKey == "":
		return errSignature
	}
	if subtle.ConstantTimeCompare([]byte(keys.SessionToken), []byte(r.Header.Get("X-Amz-Security-Token"))) != 1 {
		return errSignature
	}
	want, err := s.again(r, hash, len(body), keys, at)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want, s.sum) != 1 {
		return errSignature
	}
	return nil
}

// signatureOf reads the header Authorization.
func signatureOf(headers []string) (s signature, err error) {
	if len(headers) != 1 {
		return s, errors.New("it must be signed: there is no header Authorization, or more than one")
	}
	rest, ok := strings.CutPrefix(headers[0], algorithm+" ")
	if !ok || len(rest) > 4096 {
		return s, errors.New("it must be signed with " + algorithm)
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parts[name]; !ok || twice {
			return s, errors.New("the header Authorization cannot be read")
		}
		parts[name] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	sum, err := hex.DecodeString(parts["Signature"])
	if len(parts) != 3 || len(scope) != 5 || scope[0] == "" || scope[4] != "aws4_request" || err != nil || len(sum) != sha256.Size || parts["SignedHeaders"] == "" {
		return s, errors.New("the header Authorization cannot be read")
	}
	headerNames := strings.Split(parts["SignedHeaders"], ";")
	if !slices.IsSorted(headerNames) || len(slices.Compact(slices.Clone(headerNames))) != len(headerNames) {
		return s, errors.New("the signed headers must be sorted, each once")
	}
	return signature{scope[0], scope[1], scope[2], scope[3], headerNames, sum}, nil
}

// whole looks whether what was signed is there, and returns the hash of the body.
func (s *signature) whole(r *http.Request, body []byte) (hash string, err error) {
	for _, name := range s.headers {
		switch name {
		case "host", "content-length": // Go has them elsewhere
		default:
			if len(r.Header.Values(name)) == 0 {
				return "", fmt.Errorf("the header %s is signed and not there", guard.Cut(name, 50))
			}
		}
	}
	sum := sha256.Sum256(body)
	hash = hex.EncodeToString(sum[:])
	if said := r.Header.Get("X-Amz-Content-Sha256"); said != "" && said != hash {
		return "", errors.New("the header X-Amz-Content-Sha256 is not that of the body")
	}
	return hash, nil
}

// again signs a copy of a request that has no header but those that were signed.
func (s *signature) again(r *http.Request, hash string, length int, keys aws.Credentials, at time.Time) ([]byte, error) {
	signed := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for _, name := range s.headers {
		switch name {
		case "host", "x-amz-date", "x-amz-security-token": // the signer sets them
		case "content-length":
			signed.ContentLength = int64(length)
		default:
			signed.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, signed, hash, s.service, s.region, at); err != nil {
		return nil, errSignature
	}
	again, err := signatureOf(signed.Header.Values("Authorization"))
	if err != nil || !slices.Equal(again.headers, s.headers) {
		return nil, errSignature // a header that nobody signs, as User-Agent
	}
	return again.sum, nil
}
