package lambdapool

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps a Ctrl-C from a process that is started: it is the host's. What
// that process starts is not ended with it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func killGroup(p *os.Process) { _ = p.Kill() }

func terminateGroup(p *os.Process) { _ = p.Kill() }

func endGroup(*os.Process) {}
