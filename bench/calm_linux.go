package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	calmShare = 0.85 // of the processors' time that has to be idle
	calmFor   = 2 * time.Second
	calmLimit = 20 * time.Second
)

// calm waits until the machine has little to do, so that a run does not pay for
// what the one before it has left: the broker tidies up after a group that
// ended. It does not wait for ever.
func calm(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < calmLimit; {
		idle, all := processorTime()
		if err := wait(ctx, calmFor); err != nil {
			return err
		}
		idleNow, allNow := processorTime()
		if all == allNow || (idleNow-idle)/(allNow-all) >= calmShare {
			return nil
		}
	}
	return nil
}

// processorTime is how long all processors had nothing to do, and how long
// there were any, in ticks. Both are 0 if that is not known.
func processorTime() (idle, all float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		switch {
		case i == 0: // "cpu"
		case err != nil:
			return 0, 0
		case i == 4 || i == 5: // idle, and waiting for disks
			idle += ticks
			all += ticks
		case i <= 8: // guests' time is counted already
			all += ticks
		}
	}
	return idle, all
}
