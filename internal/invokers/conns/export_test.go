package conns

import (
	"testing"
	"time"
)

// SetSilence says for a test how long the kernel waits.
func SetSilence(t testing.TB, d time.Duration) {
	before := silence
	silence = d
	t.Cleanup(func() { silence = before })
}
