package esmemf

import (
	"fmt"
	"strings"
)

// longestDimension is how many characters a value of a dimension may have.
const longestDimension = 1024

// dimension is the value of one: CloudWatch takes 1 to 1,024 characters of ASCII, and not
// spaces alone. What else is in it is written as in a URL, so that two names stay two.
func dimension(s string) string {
	if strings.TrimSpace(s) == "" {
		return "unnamed"
	}
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < longestDimension; i++ {
		if c := s[i]; c >= ' ' && c <= '~' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()[:min(b.Len(), longestDimension)]
}
