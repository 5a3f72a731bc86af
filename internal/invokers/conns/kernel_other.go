//go:build !linux

package conns

import (
	"net"
	"time"
)

// boundSilence does nothing: only Linux has such an option. The call's own time
// is the limit.
func boundSilence(*net.TCPConn, time.Duration) {}
