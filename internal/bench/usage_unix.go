//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// usage is what this process has used: seconds of CPU, and bytes of memory at
// most.
func usage() (cpu float64, rss int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	rss = int64(u.Maxrss) // which has another type elsewhere
	if runtime.GOOS == "linux" {
		// Maxrss counts what the parent had when it started this process.
		rss = highWater()
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds(), rss
}

func highWater() (bytesUsed int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		if n, _ := fmt.Sscanf(string(line), "VmHWM: %d kB", &bytesUsed); n == 1 {
			return bytesUsed << 10
		}
	}
	return 0
}
