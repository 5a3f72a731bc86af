//go:build unix

package lambdapool

import (
	"net"
	"syscall"
)

// pending reports whether a connection has something that was not read. It does
// not wait for who reads it.
func pending(c net.Conn) (is bool) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		is = err == nil && n > 0
	})
	return is && err == nil
}
