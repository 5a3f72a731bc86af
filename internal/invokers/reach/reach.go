// Package reach says of a request that failed whether it can have reached its
// server. Where it cannot, nothing was called, and no attempt is to be counted.
package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// A Trace watches one request.
type Trace struct {
	connected atomic.Bool
}

// Watch returns a context for the request.
func (t *Trace) Watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.connected.Store(true) }})
}

// Reached reports whether a request that failed with err may have reached the
// server: it had a connection, with TLS where there is TLS. That is known of a
// transport of net/http (plain); of another one only what its errors tell.
func (t *Trace) Reached(err error, plain bool) bool {
	if t.connected.Load() {
		return true
	}
	return !plain && !refused(err)
}

// refused reports whether an error says that there was no connection.
func refused(err error) bool {
	for e := err; e != nil; {
		var op *net.OpError
		if !errors.As(e, &op) {
			break
		}
		if op.Op == "dial" || op.Op == "proxyconnect" {
			return true
		}
		e = op.Err
	}
	var dns *net.DNSError
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.As(err, &dns) || errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host)
}
