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
// most. What is not known is nil.
func usage() (cpu *float64, rss *int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return nil, nil
	}
	seconds := time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	most := int64(u.Maxrss) // which has another type elsewhere
	switch runtime.GOOS {
	case "linux", "android":
		// Maxrss counts what the parent had when it started this process.
		return &seconds, highWater()
	case "darwin", "ios":
	default:
		most <<= 10 // elsewhere it counts in KiB
	}
	return &seconds, &most
}

func highWater() *int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(status) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), "VmHWM: %d kB", &kib); n == 1 {
			kib <<= 10
			return &kib
		}
	}
	return nil
}
