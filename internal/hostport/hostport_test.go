package hostport

import (
	"strings"
	"testing"
)

func TestValid(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "a:1": true, "a:65535": true, "10.0.0.1:9092": true, "[::1]:9092": true, "::1": true,
		"zażółć.test:9092": true,
		"user@a:1":         false, "user@a": false, "a/path": false, "a?sig=x:1": false, "a#b": false, "a b:1": false, "a\n:1": false, "a,b": false, "a;b:1": false,
		"sasl://user:password@a:1": false, "user:password@a:1": false, "user:password@a": false, "https://a:1": false,
		"": false, ":9092": false, "a:": false, "a:0": false, "a:65536": false, "a:x": false, "a:-1": false, "a:1:2": false,
		"9092": false,
	} {
		if got := Valid(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// TestWrong: what is wrong is said, what to do, and what may be a secret is not.
func TestWrong(t *testing.T) {
	for s, want := range map[string][2]string{ // what is said of the address, and of what is wrong
		"a:9092":                              {"", ""},
		"":                                    {`""`, "it is empty"},
		"a:9092,b:9092":                       {`"a:9092,b:9092"`, "it holds 2 brokers; give each a string of its own"},
		"a:9092, b:9092 ,c":                   {`"a:9092, b:9092 ,c"`, "it holds 3 brokers"},
		"a:9092 b:9092":                       {`"a:9092 b:9092"`, "it holds 2 brokers"},
		"a:9092;b:9092":                       {`"a:9092;b:9092"`, "it holds 2 brokers"},
		"a:9092,":                             {"number 3, ", "leave out the space or the comma around it"},
		"u:pa,ss@a:9092":                      {"...@a:9092", "it has a user"},
		" a:9092\n":                           {"number 3", "leave out the space or the comma around it"},
		`"a:9092"`:                            {"number 3 (", "leave out the quotation marks"},
		"PLAINTEXT://a:9092":                  {`"PLAINTEXT://a:9092"`, "leave out PLAINTEXT://; TLS and logins are options"},
		"sasl_ssl://a:9092":                   {`"sasl_ssl://a:9092"`, "leave out SASL_SSL://"},
		"http://a:8082":                       {`"http://a:8082"`, "this is the address of a web server"},
		"https://a/topics":                    {"a/...", "this is the address of a web server"},
		"kafka://a":                           {`"kafka://a"`, "leave out KAFKA://"},
		"hunter2://a:9092":                    {`"hunter2://a:9092"`, "leave out what stands before the host"},
		"user@a:9092":                         {"...@a:9092", "a login is an option for the client"},
		"a:9092/path":                         {"a:9092/...", "it has a path"},
		"9092":                                {`"9092"`, "it is a port without a host"},
		":9092":                               {`":9092"`, "it has no host"},
		"a:":                                  {`"a:"`, "it has no port after the colon"},
		"a:x":                                 {"a:...", "the port is none"},
		"a:70000":                             {`"a:70000"`, "the port is none"},
		"a:0":                                 {`"a:0"`, "the port is none"},
		"fe80:0:0:0:0:0:0:1:9092":             {`"fe80:0:0:0:0:0:0:1:9092"`, "an IPv6 address with a port is written [::1]:9092"},
		strings.Repeat("a:9092,", 1000) + "b": {"bytes more", "it holds 1001 brokers"},
	} {
		said, got := Entry(2, s), Wrong(s)
		if want[1] == "" {
			if got != "" {
				t.Errorf("%q: %s", s, got)
			}
			continue
		}
		if !strings.Contains(said, want[0]) || !strings.HasPrefix(got, "must be host:port") || !strings.Contains(got, want[1]) || len(said+got) > 1000 {
			t.Errorf("%q: it says\n%s %s, want\n%s ... %s", s, said, got, want[0], want[1])
		}
	}
}

// FuzzWrong: what is not valid is said to be wrong, and what is valid is not. No
// part that may be a secret is said.
func FuzzWrong(f *testing.F) {
	for _, s := range []string{"a:9092,b:9092", "sasl_ssl://u:p@h:1", ":", "\"", "1:2:3", "a: b", "[::1", "https://", "::1:", "'a'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if Valid(s) != (Wrong(s) == "") {
			t.Errorf("%q: %v, and %q", s, Valid(s), Wrong(s))
		}
		const secret = "q1w2e3r4t5"
		if strings.ContainsAny(s, "@/?#\\ \t\r\n") || strings.Contains(s, "q1w2") {
			return
		}
		for _, address := range []string{"user:" + secret + "@" + s, s + "," + secret + "@host:9092", "sasl_ssl://" + secret + "@" + s} {
			if said := Entry(0, address) + Wrong(address); strings.Contains(said, "q1w2") {
				t.Errorf("of %q it says %q", address, said)
			}
		}
	})
}
