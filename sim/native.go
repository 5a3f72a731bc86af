package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

var (
	errHang   = errors.New("it hangs")
	errEnough = errors.New("enough was seen")
)

// process runs the simulation as a process, and hands over each run until one
// returns false.
func (h *host) process(ctx context.Context, file string, env []string, each func(run) bool) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hang := time.AfterFunc(h.hang, func() { cancel(errHang) })
	defer hang.Stop()
	r := &reader{news: func() { hang.Reset(h.hang) }}
	r.each = func(v run) {
		if context.Cause(inner) != errEnough && !each(v) {
			cancel(errEnough)
		}
	}
	// Not testing's own limit: that is of the process, and the runs are many.
	cmd := exec.CommandContext(inner, file, "-test.run", "^TestSeed$", "-test.timeout", "0")
	cmd.Dir = h.temp
	cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = r, r
	cmd.WaitDelay = 10 * time.Second
	cmd.Cancel = func() error {
		if context.Cause(inner) == errHang && cmd.Process.Signal(syscall.SIGQUIT) == nil {
			return nil // it shows where its goroutines are, and ends
		}
		return cmd.Process.Kill()
	}
	err := cmd.Run()
	how := ""
	switch cause := context.Cause(inner); {
	case cause == errEnough:
		return nil
	case cause == errHang:
		how = fmt.Sprintf("no verdict came for %s", h.hang)
	case err != nil:
		// A Ctrl-C reaches the process too, and perhaps earlier.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		how = err.Error()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.end(how)
}

// nativeOne does one work as a process.
func (h *host) nativeOne(ctx context.Context, file string, w work) (v run, err error) {
	n := 0
	err = h.process(ctx, file, w.env(), func(r run) bool { v = r; n++; return true })
	if err == nil && n != 1 {
		err = fmt.Errorf("one run was asked for, and %d came", n)
	}
	return v, err
}

// nativeSeeds runs consecutive seeds, in one process and, after one that crashes,
// in another.
func (h *host) nativeSeeds(ctx context.Context, file string, from, n uint64, each func(run) bool) error {
	more := true
	for next, end := from, from+n; next < end && more; {
		began := next
		env := []string{"ESM_SIM_FROM=" + strconv.FormatUint(next, 10), "ESM_SIM_SEEDS=" + strconv.FormatUint(end-next, 10)}
		err := h.process(ctx, file, env, func(v run) bool {
			next = v.Seed + 1
			more = each(v)
			return more
		})
		switch {
		case err != nil:
			return err
		case next <= began:
			return fmt.Errorf("seeds from %d were asked for, and none came", began)
		}
	}
	return nil
}
