//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// peak is the most memory that a process had, in bytes. On Linux it is not less
// than what its parent had when it started it, which is little: see fill.
func peak(s *os.ProcessState) int64 {
	u, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	rss := int64(u.Maxrss) // which has another type elsewhere
	if runtime.GOOS == "darwin" {
		return rss
	}
	return rss << 10
}
