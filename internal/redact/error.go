package redact

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"

	"github.com/seed429fd032/esm/internal/guard"
)

// said is what is kept of an error.
type said struct {
	text string
	kept []error
}

// Error is the text.
func (s *said) Error() string { return s.text }

// Unwrap returns what was kept.
func (s *said) Unwrap() []error { return s.kept }

// MarshalText is the text, for JSON and logs.
func (s *said) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// Error makes an error of one of a library that sends requests, such as the
// *url.Error of an http.Client, which has the whole URL in it. The text names
// hosts only, has none of the secrets, and is cut to guard.TextLimit or so.
// errors.Is and errors.As find what the error holds, as far as that has nothing
// to hide in its text either, and does not hold much more than that: neither a
// *url.Error, nor the chain of certificates that a stranger has sent.
func Error(err error, secrets *Secrets) error {
	if err == nil {
		return nil
	}
	s := &said{text: guard.Cut(clean(err, secrets), guard.TextLimit)}
	left := maxParts
	s.kept, _ = keep(err, secrets, maxDepth, &left)
	if left < 0 {
		s.kept = nil
	}
	return s
}

// An error may hold itself: of one that is deeper or larger than this only the
// text is kept.
const (
	maxDepth = 100
	maxParts = 1000
)

// clean is the text of an error without what is secret.
func clean(err error, secrets *Secrets) string {
	if of, ok := err.(*url.Error); ok && of != nil && of.Err != nil {
		return of.Op + " " + Address(of.URL) + ": " + clean(of.Err, secrets)
	}
	return secrets.Text(raw(err))
}

// raw is what an error says. It survives an Error method that panics.
func raw(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = guard.Text(err)
		}
	}()
	return err.Error()
}

// keep lists what is kept of an error: it, which is whole, or the parts of it
// that can be kept.
func keep(err error, secrets *Secrets, depth int, left *int) (kept []error, whole bool) {
	if *left--; *left < 0 {
		return nil, false
	}
	parts, ok := guard.Parts(err)
	if depth == 0 || !ok {
		*left = -1
		return nil, false
	}
	whole = keepable(err, secrets)
	for _, part := range parts {
		of, all := keep(part, secrets, depth-1, left)
		whole = whole && all // it would keep what its part does not
		kept = append(kept, of...)
	}
	if whole {
		return []error{err}, true
	}
	return kept, false
}

// maxCertificates is how many bytes of certificates an error may hold.
const maxCertificates = 16 << 10

// keepable reports whether an error has nothing to hide and is small.
func keepable(err error, secrets *Secrets) bool {
	size := 0
	switch e := err.(type) {
	case *url.Error:
		return false
	case *tls.CertificateVerificationError:
		for _, c := range e.UnverifiedCertificates {
			size += len(c.Raw)
		}
	case tls.RecordHeaderError:
		return e.Conn == nil
	case x509.UnknownAuthorityError:
		if e.Cert != nil {
			size = len(e.Cert.Raw)
		}
	case x509.HostnameError:
		if e.Certificate != nil {
			size = len(e.Certificate.Raw)
		}
	case x509.CertificateInvalidError:
		if e.Cert != nil {
			size = len(e.Cert.Raw)
		}
	}
	text := raw(err)
	return size <= maxCertificates && len(text) <= guard.TextLimit && secrets.Text(text) == text
}

// Parse is url.Parse, with an error that has nothing of the URL.
func Parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err == nil {
		return u, nil
	}
	reason := "a part of it is malformed"
	if of := (*url.Error)(nil); errors.As(err, &of) && of.Err != nil && !strings.Contains(of.Err.Error(), `"`) {
		reason = of.Err.Error()
	}
	return nil, errors.New(reason)
}
