package lambdaapi

import (
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/seed429fd032/esm/internal/guard"
)

// admit says why a request is not for us: it is of a web page, or of another machine. A page
// can give a name of its own the address 127.0.0.1, and is of the same site then: so the name
// of the host counts too.
func (h *Host) admit(r *http.Request) error {
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case r.Header.Get("Origin") != "" || site != "" && site != "none":
		return denied("requests of web pages are not taken")
	case !h.hosts(r.Host):
		return denied("the host %q is not one of this endpoint", guard.Cut(r.Host, 100))
	}
	if h.verifier != nil || h.config.AllowRemote {
		return nil
	}
	if from, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !net.ParseIP(from).IsLoopback() {
		return denied("this endpoint checks no signature, and takes requests of its own machine only")
	}
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if len(r.Header.Values(name)) > 0 {
			return denied("this endpoint checks no signature, and takes no request that a proxy passed on (%s)", name)
		}
	}
	return nil
}

// admitBody says why the body of a request is not for us: a web page can send it without
// being asked whether it may, or it is not signed.
func (h *Host) admitBody(r *http.Request, body []byte) error {
	if len(body) > 0 {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return denied("a body must be application/json")
		}
	}
	if h.verifier == nil {
		return nil
	}
	if err := h.verifier.verify(r, body); err != nil {
		return &problem{http.StatusForbidden, "InvalidSignatureException", err.Error()}
	}
	return nil
}

// hosts reports whether a request may name this host.
func (h *Host) hosts(name string) bool {
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	if ip := net.ParseIP(name); ip != nil {
		return ip.IsLoopback() || h.config.AllowRemote || h.verifier != nil
	}
	return name == "localhost" || slices.ContainsFunc(h.config.Hostnames, func(own string) bool { return strings.EqualFold(own, name) })
}
