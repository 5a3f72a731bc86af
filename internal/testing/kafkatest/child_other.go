//go:build !linux

package kafkatest

import "os/exec"

// StartChild starts a process and calls exited when it has ended.
func StartChild(cmd *exec.Cmd, exited func(error)) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { exited(cmd.Wait()) }()
	return nil
}
