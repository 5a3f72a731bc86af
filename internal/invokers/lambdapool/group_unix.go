//go:build unix

package lambdapool

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup has a process that is started begin a group, so that what it starts
// can be ended with it, and so that a Ctrl-C is the host's alone.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup ends a process and its group at once.
func killGroup(p *os.Process) { signalGroup(p, syscall.SIGKILL) }

// terminateGroup asks a process and its group to end.
func terminateGroup(p *os.Process) { signalGroup(p, syscall.SIGTERM) }

func signalGroup(p *os.Process, s syscall.Signal) {
	// Whether the process is still there: after that its number may be
	// another's.
	if p.Signal(syscall.Signal(0)) == nil {
		_ = syscall.Kill(-p.Pid, s)
	}
}

// endGroup ends what is left of the group of a process that has ended just now:
// its number is not given to another one while the group has members.
func endGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
