//go:build !unix

package kafkatest

import (
	"errors"
	"os"
)

// Freeze needs a system that can stop a process and let it go on.
func Freeze(*os.Process) error { return errors.ErrUnsupported }

// Thaw lets a process go on that was frozen.
func Thaw(*os.Process) error { return errors.ErrUnsupported }
