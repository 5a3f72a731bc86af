package kafkatest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// StartChild starts a process that ends with this one, however this one ends,
// and calls exited when it has. The kernel counts the thread that started it
// as its parent, so that thread is kept.
func StartChild(cmd *exec.Cmd, exited func(error)) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			exited(cmd.Wait())
		}
	}()
	return <-started
}
