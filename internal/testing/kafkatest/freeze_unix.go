//go:build unix

package kafkatest

import (
	"os"
	"syscall"
)

// Freeze stops a process where it is: its connections stay open, and it does
// not answer.
func Freeze(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// Thaw lets a process go on that was frozen.
func Thaw(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
