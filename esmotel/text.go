package esmotel

import (
	"fmt"
	"strings"
)

const (
	// maxName is how many bytes of a name are told, of a topic, a group or a Mapping.
	maxName = 256
	// maxText is how many bytes of the text of an error are told.
	maxText = 1024
)

// clean is at most so many bytes of a text, and valid UTF-8: an exporter refuses all that it
// has because of one text that is not.
func clean(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// textOf is what an error says. Its method is the user's, and may panic.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("%T, whose Error panicked", err)
		}
	}()
	return clean(err.Error(), maxText)
}
