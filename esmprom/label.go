package esmprom

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostLabel is how many bytes of a name are in a label. The name of a topic is never longer.
const mostLabel = 256

// labelOf makes a label of a name. Prometheus takes UTF-8 only, and one label that is none
// would fail the whole scrape. Control characters are escaped too: not all that reads the
// format takes them.
func labelOf(name string) string {
	if len(name) > mostLabel {
		cut := mostLabel
		for cut > mostLabel-utf8.UTFMax && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + "..."
	}
	if utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl) {
		return name
	}
	quoted := strconv.Quote(name)
	return quoted[1 : len(quoted)-1]
}
