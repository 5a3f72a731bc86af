// Package hostport judges the addresses of brokers.
package hostport

import (
	"net"
	"strconv"
	"strings"
)

// Valid reports whether something is a host, or a host and a port of 1 to
// 65535.
func Valid(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return s != "" && (!strings.Contains(s, ":") || net.ParseIP(s) != nil)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host != "" && err == nil && n > 0
}
