package redact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://billing.test:8443/records?code=hunter2": "https://billing.test:8443/...",
		"https://billing.test":                           "https://billing.test",
		"https://billing.test/":                          "https://billing.test/",
		"https://billing.test?sig=hunter2":               "https://billing.test/...",
		"https://billing.test/hunter2":                   "https://billing.test/...",
		"https://billing.test#hunter2":                   "https://billing.test/...",
		"https://u:hunter2@billing.test/":                "https://...@billing.test/",
		"https://hunter2@billing.test:1":                 "https://...@billing.test:1",
		"https://u:hun@ter2@billing.test":                "https://...@billing.test",
		"sasl://u:hunter2@kafka.test:9092":               "sasl://...@kafka.test:9092",
		"u:hunter2@kafka.test:9092":                      "...@kafka.test:9092",
		"u:hunter2":                                      "u:...",
		"kafka.test:0":                                   "kafka.test:0",
		"kafka.test:65536":                               "kafka.test:65536",
		"kafka.test:":                                    "kafka.test:",
		":9092":                                          ":9092",
		"[::1]:9092":                                     "[::1]:9092",
		"[::1]":                                          "[::1]",
		"::1":                                            "::1",
		"host:80/hunter2":                                "host:80/...",
		"ftp://host":                                     "ftp://host",
		"http://":                                        "http://",
		"":                                               "",
		"https://u:hun/ter2@billing.test":                hidden,
		"https://u:hun?ter2@billing.test":                hidden,
		"https://u:hun#ter2@billing.test":                hidden,
		`https://u:hun\ter2@billing.test`:                hidden,
		"https://billing.test/?to=a@hunter2":             hidden,
		"//u:hunter2@billing.test":                       hidden,
		"u:hunter2@x://billing.test":                     hidden,
		"hunter2 is://billing.test":                      hidden,
		"https://hun ter2":                               hidden,
		"https://u:hunter2":                              "https://u:...",
		"https://hunter2=":                               hidden,
		"https://" + strings.Repeat("a", 300):            hidden,
		"https://u:hunter2@" + strings.Repeat("a", 300) + "": hidden,
	} {
		if got := Address(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestEntry(t *testing.T) {
	for in, want := range map[string]string{
		"kafka.test:0":                `"kafka.test:0"`,
		"":                            `""`,
		"u:hunter2@kafka.test":        `number 3, "...@kafka.test" (what is left out may be a secret),`,
		"https://u:hun/ter2@h.test:1": "number 3 " + hidden,
	} {
		if got := Entry(2, in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// FuzzAddress: nothing that stands before the last @, nor after the first / or ?,
// is said, wherever people put these.
func FuzzAddress(f *testing.F) {
	f.Add("https://", "u", "hunter2", "kafka.test:9092", "/path?code=hunter2")
	f.Add("", "", "hun@ter/2", "kafka.test", "#x")
	f.Fuzz(func(t *testing.T, scheme, user, password, host, rest string) {
		const secret = "q1w2e3r4t5"
		if strings.Contains(scheme+user+host, "q1w2") || !strings.HasSuffix(scheme, "://") && scheme != "" {
			return
		}
		if strings.ContainsAny(host, "@/?#\\") || strings.ContainsAny(scheme[:max(len(scheme)-3, 0)], ":/") {
			return
		}
		for _, address := range []string{
			scheme + user + ":" + password + secret + "@" + host + rest,
			scheme + secret + password + "@" + host + rest,
			scheme + host + "/" + rest + secret,
			scheme + host + "?" + rest + "=" + secret + password,
		} {
			if scheme == "" && strings.Contains(address, "://") {
				continue // the parts have made a scheme, so they are others than they were to be
			}
			if said := Address(address); strings.Contains(said, "q1w2") {
				t.Errorf("of %q it says %q", address, said)
			}
			if said := Text("parse \"" + url.PathEscape(address) + "\" or " + address + " it is"); scheme == "http://" && host == "billing.test" && strings.Contains(said, secret) && !strings.ContainsAny(password+user+rest, " \t\r\n\v\f\"'`<>") {
				t.Errorf("of %q the text is %q", address, said)
			}
		}
	})
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`Post "https://h.test/p?code=hunter2": dial tcp 10.0.0.1:443: connect: connection refused`:                                   `Post "https://h.test/...": dial tcp 10.0.0.1:443: connect: connection refused`,
		`invalid proxy address "http://u:hunter2@proxy.test:x": parse "http://u:hunter2@proxy.test:x": invalid port ":x" after host`: `invalid proxy address "http://...@proxy.test:...": parse "http://...@proxy.test:...": invalid port after host`,
		`parse "http://u:hunter2": invalid port ":hunter2" after host`:                                                               `parse "http://u:...": invalid port after host`,
		`failed to parse Location header "/p?code=hunter2%zz": parse "/p?code=hunter2%zz": invalid URL escape "%zz"`:                 `failed to parse Location header "(a path that is not shown)?...": parse "(a path that is not shown)?...": invalid URL escape "%zz"`,
		"lookup u:hunter2@kafka.test: no such host":                                                                                  "lookup ...@kafka.test: no such host",
		"see https://h.test/a/b.": "see https://h.test/....",
		"is SASL missing? a=b":    "is SASL missing? a=b",
		"orders/0 offset 5: a@b":  "orders/0 offset 5: a@b",
	} {
		if got := Text(in); got != want {
			t.Errorf("%s:\n%s, want\n%s", in, got, want)
		}
	}
}

func TestSecrets(t *testing.T) {
	u, err := url.Parse("https://someone:pass%22word@h.test/services/T0123456789ABCDEF0/x?code=hun%2Fter2%3D&n=1")
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Authorization": {"Bearer t0k3n-t0k3n"}, "X-Api-Key": {`k"e<y-1`}, "User-Agent": {"billing/2"}}
	s := NewSecrets(append(OfURL(u), OfHeader(header)...)...)
	for _, in := range []string{
		"cannot POST /services/T0123456789ABCDEF0/x?code=hun%2Fter2%3D&n=1", `{"code":"hun\/ter2=","is":"hun/ter2="}`, "hun%2Fter2%3D", "user someone", `the password is pass"word`,
		`{"p":"pass\"word"}`, "pass%22word", "c29tZW9uZTpwYXNzIndvcmQ=", "Bearer t0k3n-t0k3n", "token t0k3n-t0k3n, not Bearer", `k"e<y-1`, `k&#34;e&lt;y-1`, `k\"e<y-1`, "of T0123456789ABCDEF0",
	} {
		out := s.Hide(in)
		for _, secret := range []string{"hun%2", "hun/", "someone", "word", "c29tZW", "t0k3n", "y-1", "T0123", "services"} {
			if strings.Contains(out, secret) && !strings.Contains(in, "password is") {
				t.Errorf("%s: %s", in, out)
			}
		}
		if out == in {
			t.Errorf("%s is said", in)
		}
	}
	if in := "billing/2 at h.test: n=1"; s.Hide(in) != in {
		t.Error(s.Hide(in))
	}
	var none *Secrets
	for _, s := range []*Secrets{none, {}, NewSecrets("", "short")} {
		if got := s.Hide("short"); got != "short" {
			t.Error(got)
		}
	}
	// A text is cut, but no secret in two.
	for n := range 30 {
		if out := s.Text(strings.Repeat("x", mostText-n) + "t0k3n-t0k3n"); strings.Contains(out, "t0k") || len(out) < mostText/2 {
			t.Fatalf("%d: %d bytes, %q", n, len(out), out[len(out)-20:])
		}
		if out := s.Text(strings.Repeat("x", mostText-n-10) + " https://hunter2@h.test"); strings.Contains(out, "hunt") {
			t.Fatalf("%d: %q", n, out[len(out)-20:])
		}
	}
}

// panics is an error of which every method does.
type panics struct{}

func (panics) Error() string   { panic("no") }
func (panics) Unwrap() []error { panic("no") }

// circle holds itself.
type circle struct{}

func (c circle) Error() string { return "round" }
func (c circle) Unwrap() error { return c }

// several cannot be compared.
type several []error

func (s several) Error() string   { return fmt.Sprint([]error(s)) }
func (s several) Unwrap() []error { return s }

func TestError(t *testing.T) {
	inner := &net.OpError{Op: "dial", Net: "tcp", Err: io.ErrUnexpectedEOF}
	of := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://u:***@h.test/hunter2?code=hunter2", Err: err}
	}
	secrets := NewSecrets("hunter2")
	for name, err := range map[string]error{
		"plain":       of(inner),
		"wrapped":     fmt.Errorf("sending: %w", of(inner)),
		"twice":       of(of(inner)),
		"with secret": of(fmt.Errorf("hunter2: %w", inner)),
		"long":        of(fmt.Errorf("%s: %w", strings.Repeat("x", 1<<20), inner)),
		"several":     several{of(inner), context.Canceled},
	} {
		got := Error(err, secrets)
		if text := got.Error(); strings.Contains(text, "hunter2") || name != "long" && !strings.Contains(text, "h.test") || len(text) > 5000 {
			t.Errorf("%s: %.500s", name, text)
		}
		var op *net.OpError
		var held *url.Error
		if !errors.Is(got, io.ErrUnexpectedEOF) || !errors.As(got, &op) || errors.As(got, &held) {
			t.Errorf("%s: it holds %#v", name, got)
		}
		if text, err := json.Marshal(map[string]error{"err": got}); err != nil || strings.Contains(string(text), "hunter2") || !strings.HasPrefix(string(text), `{"err":"`) {
			t.Errorf("%s: as JSON %.500s, %v", name, text, err)
		}
	}
	if Error(nil, nil) != nil {
		t.Error("nil became an error")
	}
	if got := Error(of(context.Canceled), nil); got.Error() != "Post https://...@h.test/...: context canceled" || !errors.Is(got, context.Canceled) {
		t.Error(got)
	}
	for _, err := range []error{panics{}, circle{}, of(panics{}), of(circle{}), (*url.Error)(nil)} {
		if got := Error(err, secrets); got.Error() == "" || errors.Is(got, io.EOF) {
			t.Error(got)
		}
	}
}

// TestCertificatesOfStrangersAreNotKept: those of an honest server are.
func TestCertificatesOfStrangersAreNotKept(t *testing.T) {
	for _, size := range []int{1000, 100_000} {
		c := &x509.Certificate{Raw: make([]byte, size)}
		for _, err := range []error{
			&tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{c}, Err: io.EOF},
			x509.UnknownAuthorityError{Cert: c}, x509.HostnameError{Certificate: c, Host: "h.test"}, x509.CertificateInvalidError{Cert: c},
		} {
			got := Error(&url.Error{Op: "Post", URL: "https://h.test", Err: err}, nil)
			if kept := errors.Is(got, err); kept != (size == 1000) || !strings.Contains(got.Error(), err.Error()) {
				t.Errorf("%T of %d bytes: kept %t: %v", err, size, kept, got)
			}
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	var record tls.RecordHeaderError
	if got := Error(tls.RecordHeaderError{Msg: "no TLS", Conn: a}, nil); errors.As(got, &record) || got.Error() != "tls: no TLS" {
		t.Error(got)
	}
}

func TestParse(t *testing.T) {
	if u, err := Parse("https://u:p@h.test/x"); err != nil || u.Host != "h.test" {
		t.Error(u, err)
	}
	for in, want := range map[string]string{
		"https://u:hunter2@h.test:x": "a part of it is malformed", "https://u:hun ter2@h.test": "net/url: invalid userinfo", "://hunter2": "missing protocol scheme",
		"https://h.test/%zzhunter2": "a part of it is malformed", "https://u:hunter2\x00@h.test": "net/url: invalid control character in URL",
	} {
		if _, err := Parse(in); err == nil || err.Error() != want {
			t.Errorf("%q: %v", in, err)
		}
	}
}
