package hostport

import "testing"

func TestValid(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "a:1": true, "a:65535": true, "10.0.0.1:9092": true, "[::1]:9092": true, "::1": true,
		"zażółć.test:9092": true,
		"user@a:1":         false, "user@a": false, "a/path": false, "a?sig=x:1": false, "a#b": false, "a b:1": false, "a\n:1": false, "a,b": false, "a;b:1": false,
		"sasl://user:password@a:1": false, "user:password@a:1": false, "user:password@a": false, "https://a:1": false,
		"": false, ":9092": false, "a:": false, "a:0": false, "a:65536": false, "a:x": false, "a:-1": false, "a:1:2": false,
	} {
		if got := Valid(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
