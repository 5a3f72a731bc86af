//go:build !unix && !windows

package lambdapool

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

func killGroup(p *os.Process) { _ = p.Kill() }

func terminateGroup(p *os.Process) { _ = p.Kill() }

func endGroup(*os.Process) {}
