package redact

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Secrets are texts that may not be said, wherever they come from: a server may
// say the URL or the header again that it was sent. The zero value has none.
type Secrets struct {
	replacer *strings.Replacer
	longest  int // how many bytes one has at most
}

// leastSecret is how long a secret is at least: what is shorter is in every
// other text by chance.
const leastSecret = 6

// NewSecrets makes Secrets of texts. Each is known in the forms, too, that it has
// in a URL, in JSON, in HTML and in Go.
func NewSecrets(texts ...string) *Secrets {
	forms := map[string]bool{}
	for _, text := range texts {
		if len(text) < leastSecret {
			continue
		}
		quoted := strconv.Quote(text)
		all := []string{text, url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text), quoted[1 : len(quoted)-1]}
		if plain, err := url.QueryUnescape(text); err == nil {
			all = append(all, plain)
		}
		if coded, err := json.Marshal(text); err == nil {
			all = append(all, string(coded[1:len(coded)-1]))
		}
		for _, form := range all {
			if len(form) >= leastSecret {
				forms[form] = true
			}
		}
	}
	if len(forms) == 0 {
		return &Secrets{}
	}
	// A replacer takes the first that fits: a longer one may hold a shorter one.
	longest := make([]string, 0, len(forms))
	for form := range forms {
		longest = append(longest, form)
	}
	slices.SortFunc(longest, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, form := range longest {
		pairs = append(pairs, form, "...")
	}
	return &Secrets{strings.NewReplacer(pairs...), len(longest[0])}
}

// OfURL lists what may be secret in a URL: the user, the path and the long parts
// of it, the query and its values.
func OfURL(u *url.URL) (texts []string) {
	if u.User != nil {
		password, _ := u.User.Password()
		texts = append(texts, u.User.String(), u.User.Username(), password,
			base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	texts = append(texts, u.RequestURI(), u.EscapedPath(), u.Path, u.RawQuery)
	for part := range strings.SplitSeq(u.Path, "/") {
		if len(part) >= longPart {
			texts = append(texts, part)
		}
	}
	for _, values := range u.Query() {
		texts = append(texts, values...)
	}
	return texts
}

// longPart is how long a part of a path is that may be a token.
const longPart = 16

// OfHeader lists what is secret in the header of a request: all but what tells
// nothing. The word before a token, such as Bearer, is none.
func OfHeader(h http.Header) (texts []string) {
	for name, values := range h {
		switch name {
		case "Accept", "Content-Type", "Host", "User-Agent":
			continue
		}
		for _, v := range values {
			texts = append(texts, v)
			if _, token, ok := strings.Cut(v, " "); ok {
				texts = append(texts, strings.TrimSpace(token))
			}
		}
	}
	return texts
}

// Hide is a text without the secrets.
func (s *Secrets) Hide(text string) string {
	if s == nil || s.replacer == nil {
		return text
	}
	return s.replacer.Replace(text)
}

// HideCut is Hide for a text of which the end was cut off. Half of a secret is
// not known for what it is, so what may be one goes with it.
func (s *Secrets) HideCut(text string) string {
	if s == nil || s.replacer == nil {
		return text
	}
	text = s.Hide(text)
	return text[:max(len(text)-s.longest, 0)]
}

// mostText is how much is looked at of a text.
const mostText = 64 << 10

// Text is [Text] without the secrets. A long text is cut.
func (s *Secrets) Text(text string) string {
	if len(text) <= mostText {
		return Text(s.Hide(text))
	}
	text = s.HideCut(text[:mostText])
	return Text(text[:len(text)*7/8]) // an address may be cut, too
}
