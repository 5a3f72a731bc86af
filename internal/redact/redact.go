// Package redact has what may be said of addresses, and of errors that hold
// them, where somebody reads it who may not know the secrets of this process: a
// log, a State, a dead letter. People put passwords and tokens into the user, the
// path and the query of a URL, so of an address only the host is named.
package redact

import (
	"regexp"
	"strconv"
	"strings"
)

// hidden is said in place of an address of which nobody can tell where the host
// is.
const hidden = "(an address that is not shown, since it may hold a secret)"

// Address is what may be said of the address of a server, which may be wrong: a
// URL, or a host and a port. It has the scheme, the host and the port, and "..."
// for each part that was left out:
//
//	https://billing.test:8443/records?code=x   https://billing.test:8443/...
//	sasl://user:password@kafka.test:9092       sasl://...@kafka.test:9092
//
// If it cannot be told what the host is, as in https://user:pass/word@host, it
// says only that.
func Address(s string) string {
	scheme, rest, isURL := strings.Cut(s, "://")
	switch {
	case !isURL:
		rest = s
	case !isScheme(scheme):
		return hidden
	}
	authority, more := rest, ""
	if end := strings.IndexAny(rest, `/?#\`); end >= 0 {
		authority, more = rest[:end], rest[end:]
	}
	if strings.Contains(more, "@") {
		return hidden // what stands before it may be a password
	}
	said := ""
	if isURL {
		said = scheme + "://"
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = authority[at+1:]
		said += "...@"
	}
	host, port, hasPort := authority, "", false
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && (strings.Count(authority, ":") == 1 || strings.HasSuffix(authority[:i], "]")) {
		host, port, hasPort = authority[:i], authority[i+1:], true
	}
	if !isHost(host) {
		return hidden
	}
	said += host
	switch {
	case hasPort && isPort(port):
		said += ":" + port
	case hasPort:
		said += ":..." // it may be a password: user:password
	}
	switch more {
	case "", "/":
		return said + more
	}
	return said + "/..."
}

// URL is what may be said of what should be a URL. What is none may be anything.
func URL(s string) string {
	if !strings.Contains(s, "://") {
		return hidden
	}
	return Address(s)
}

// Entry is what may be said of the i-th address of a list, with a number if
// something was left out.
func Entry(i int, s string) string {
	switch said := Address(s); said {
	case s:
		return strconv.Quote(s)
	case hidden:
		return "number " + strconv.Itoa(i+1) + " " + hidden
	default:
		return "number " + strconv.Itoa(i+1) + ", " + strconv.Quote(said) + " (what is left out may be a secret),"
	}
}

// Program is what may be said of what should be a program. It may be a line of a
// shell: then the rest of it is arguments.
func Program(s string) string {
	if end := strings.IndexAny(s, " \t\r\n="); end >= 0 {
		return s[:end] + "..."
	}
	return s
}

// isScheme reports whether something looks like the beginning of a URL.
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '+' && c != '.' && c != '-' && c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 20
}

// isHost reports whether something looks like the name or the address of a host.
func isHost(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_:[]", rune(c)) {
			return false
		}
	}
	return len(s) <= 255
}

// isPort reports whether something may be a number of a port, if a wrong one.
func isPort(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) <= 6
}

var (
	// inText are addresses in a text. A quotation mark ends one.
	inText = regexp.MustCompile("[A-Za-z][A-Za-z0-9+.-]*://[^\\s\"'`<>]*")
	// login is what stands before a host without a scheme.
	login = regexp.MustCompile("[^\\s\"'`@/]+:[^\\s\"'`@]*@")
	// query is that of a URL without a scheme and a host.
	query = regexp.MustCompile("[^\\s\"'`<>]*\\?[^\\s\"'`<>=]+=[^\\s\"'`<>]*")
	// port is what url.Parse says of a password without a host after it.
	port = regexp.MustCompile(`invalid port ".*?" after host`)
)

// Text is a text of a library with only the hosts of the addresses in it.
func Text(s string) string {
	if strings.Contains(s, "://") {
		s = inText.ReplaceAllStringFunc(s, func(found string) string {
			// What ends the sentence is not of the address.
			address := strings.TrimRight(found, ":.,;)]}")
			return Address(address) + found[len(address):]
		})
	}
	if strings.Contains(s, "@") {
		s = login.ReplaceAllStringFunc(s, func(found string) string {
			if strings.HasSuffix(found, "://...@") {
				return found
			}
			return "...@"
		})
	}
	if strings.Contains(s, "invalid port") {
		s = port.ReplaceAllString(s, "invalid port after host")
	}
	if strings.Contains(s, "?") {
		s = query.ReplaceAllString(s, "(a path that is not shown)?...")
	}
	return s
}
