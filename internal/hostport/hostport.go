// Package hostport judges the addresses of brokers.
package hostport

import (
	"net"
	"strconv"
	"strings"
)

// Valid reports whether something is a host, or a host and a port of 1 to
// 65535. What has a user, a path or a query in it is none: it would be asked of a
// name server, and be read there and in errors.
func Valid(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return isHost(s) && (!strings.Contains(s, ":") || net.ParseIP(s) != nil)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return isHost(host) && err == nil && n > 0
}

// isHost reports whether something may be the name or the address of a host. Names
// of other alphabets may.
func isHost(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune("@/?#\\\"'`<>=&,;", r)
	})
}
