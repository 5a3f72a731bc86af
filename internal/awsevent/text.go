package awsevent

import (
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/emmansun/base64"
)

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string, byte by byte as encoding/json does
// without its escapes for HTML: these documents go to a queue, not into a web
// page. What is no UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	return append(appendChars(append(dst, '"'), s), '"')
}

// appendChars appends s as it stands in a JSON string.
func appendChars(dst []byte, s string) []byte {
	start := 0 // what is not copied yet
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(append(dst, s[start:i]...), `\ufffd`...)
				start = i + size
			case r == '\u2028' || r == '\u2029':
				dst = append(append(dst, s[start:i]...), `\u202`...)
				dst = append(dst, hexDigits[r&0xf])
				start = i + size
			}
			i += size
			continue
		}
		i++
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i-1]...)
		start = i
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	return append(dst, s[start:]...)
}

// AppendBase64 appends bytes as a JSON string in standard base64, and null for
// none.
func AppendBase64(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	n := base64.StdEncoding.EncodedLen(len(b))
	dst = append(slices.Grow(dst, n+2), '"')
	at := len(dst)
	dst = dst[:at+n]
	base64.StdEncoding.Encode(dst[at:], b)
	return append(dst, '"')
}

// appendInt8s appends bytes as the array of numbers that they are in Java,
// where a byte is -128 to 127.
func appendInt8s(dst, b []byte) []byte {
	dst = append(dst, '[')
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(int8(c)), 10)
	}
	return append(dst, ']')
}

// appendTime appends a time as a JSON string: ISO 8601 in UTC, with
// milliseconds.
func appendTime(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	dst = t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	return append(dst, '"')
}
