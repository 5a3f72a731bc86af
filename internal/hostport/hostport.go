// Package hostport judges the addresses of brokers.
package hostport

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/redact"
)

// Valid reports whether something is a host, or a host and a port of 1 to
// 65535. What has a user, a path or a query in it is none: it would be asked of a
// name server, and be read there and in errors.
func Valid(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return isHost(s) && !isNumber(s) && (!strings.Contains(s, ":") || net.ParseIP(s) != nil)
	}
	return isHost(host) && isPort(port)
}

// must is what an address has to be.
const must = "must be host:port, with a port of 1 to 65535, or host"

// Wrong says what an address must be that is not Valid, what is wrong with it and
// what to do; "" if it is. The text follows the name of the address, and says
// nothing of what is in it but the names of schemes that no secret is in.
func Wrong(s string) string {
	if Valid(s) {
		return ""
	}
	why := func(text string) string { return must + ": " + text }
	scheme, rest, isURL := strings.Cut(s, "://")
	host, port, err := net.SplitHostPort(s)
	switch {
	case s == "":
		return why("it is empty")
	case several(s) != nil:
		return why(fmt.Sprintf("it holds %d brokers; give each a string of its own", len(several(s))))
	case Valid(strings.Trim(s, ",; \t\r\n")):
		return why("leave out the space or the comma around it")
	case len(s) > 2 && strings.Trim(s, "\"'`") == s[1:len(s)-1]:
		return why("leave out the quotation marks")
	case isURL && strings.EqualFold(scheme, "http"), isURL && strings.EqualFold(scheme, "https"):
		return why("this is the address of a web server; give that of a broker, without " + strings.ToLower(scheme) + "://")
	case isURL && listenerSchemes[strings.ToUpper(scheme)] && Valid(rest):
		return why("leave out " + strings.ToUpper(scheme) + "://; TLS and logins are options for the client, kgo.DialTLSConfig and kgo.SASL")
	case isURL:
		return why("leave out what stands before the host")
	case strings.Contains(s, "@"):
		return why("it has a user in it; a login is an option for the client, kgo.SASL")
	case strings.ContainsAny(s, `/?#\`):
		return why("it has a path in it")
	case isNumber(s):
		return why("it is a port without a host")
	case strings.HasPrefix(s, ":"):
		return why("it has no host")
	case err == nil && isHost(host) && port == "":
		return why("it has no port after the colon")
	case err == nil && isHost(host):
		return why("the port is none")
	case net.ParseIP(strings.TrimSuffix(s, ":"+s[strings.LastIndexByte(s, ':')+1:])) != nil && strings.Count(s, ":") > 1:
		return why("an IPv6 address with a port is written [::1]:9092")
	}
	return must
}

// Entry is what may be said of the i-th address of a list that is not Valid.
func Entry(i int, s string) string {
	if several(s) != nil {
		return strconv.Quote(guard.Cut(s, 300))
	}
	return redact.Entry(i, s)
}

// listenerSchemes are what Kafka writes before the addresses of its listeners.
var listenerSchemes = map[string]bool{"PLAINTEXT": true, "SSL": true, "SASL_PLAINTEXT": true, "SASL_SSL": true, "KAFKA": true, "TCP": true}

// several lists the brokers in a string that holds more than one, as Kafka's own
// tools take them, and nothing else.
func several(s string) []string {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ';' || r <= ' ' })
	if len(parts) < 2 {
		return nil
	}
	for _, p := range parts {
		if !Valid(p) {
			return nil
		}
	}
	return parts
}

// isHost reports whether something may be the name or the address of a host. Names
// of other alphabets may.
func isHost(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune("@/?#\\\"'`<>=&,;", r)
	})
}

// isNumber reports whether something is digits only, which no host is.
func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
