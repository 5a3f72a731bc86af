// Package job is what all contenders of the benchmark share, so that they do
// and count the same: the function that they call, the check of what came, and
// the report. It needs nothing but the standard library, so that it adds
// nothing to what a contender links, and decides no version of its modules.
//
// A contender gets a [Spec] as flags. It writes "started" to its standard
// output at its first call, ends when [Job.Done] says so, as gracefully as it
// can, and then writes its [Report].
package job

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

// ErrPoison is what a call fails with that has a poison record.
var ErrPoison = errors.New("there is a poison record in this call")

// Handled is the line that a contender writes at the end of each call, where that
// is asked for.
const Handled = "handled"

// Started is the line that a contender writes at its first call.
const Started = "started"

// lastCall is how long a contender may take to end.
const lastCall = time.Minute

// A Job is one run of one contender.
type Job struct {
	Spec
	// About is what the contender tells of itself in its report.
	About Report

	began time.Time
	out   io.Writer
	done  chan struct{}
	end   func()
	lanes []lane

	first, assigned               atomic.Pointer[time.Time]
	calls, failed, count, givenUp atomic.Int64

	mu        sync.Mutex // guards all below
	late      []float64
	ended     time.Time
	endCount  int64
	endedFull bool
}

// New makes a Job that writes to out.
func New(s Spec, out io.Writer) *Job {
	j := &Job{Spec: s, began: time.Now(), out: out, done: make(chan struct{}), lanes: make([]lane, s.Partitions)}
	for i := range j.lanes {
		j.lanes[i].highest = -1
	}
	j.end = sync.OnceFunc(func() {
		j.mu.Lock()
		j.ended, j.endCount = time.Now(), j.count.Load()
		j.endedFull = j.Records > 0 && j.endCount >= j.Records
		j.mu.Unlock()
		close(j.done)
	})
	return j
}

// Main is the main function of a contender. run works until ctx ends, and then
// ends what it began.
func Main(run func(ctx context.Context, j *Job) error) {
	var s Spec
	s.Flags(flag.CommandLine)
	flag.Parse()
	if err := main(s, run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main(s Spec, run func(ctx context.Context, j *Job) error) error {
	j := New(s, os.Stdout)
	if s.CPUProfile != "" {
		f, err := os.Create(s.CPUProfile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	// The parent says stop with a line, or by closing the input, which also
	// happens when it dies.
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		j.end()
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	context.AfterFunc(ctx, j.end)
	go func() {
		<-j.done
		cancel()
	}()
	over := make(chan error, 1)
	go func() { over <- run(ctx, j) }()
	var err error
	select {
	case err = <-over:
		j.end()
	case <-j.done:
		select {
		case err = <-over:
		case <-time.After(lastCall):
			j.About.Note = fmt.Sprintf("did not end within %s", lastCall)
		}
	}
	if err != nil {
		return err
	}
	if s.HeapProfile != "" {
		f, err := os.Create(s.HeapProfile)
		if err != nil {
			return err
		}
		defer f.Close()
		runtime.GC()
		if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
			return err
		}
	}
	r := j.Report()
	_, err = os.Stdout.Write(r.line())
	return err
}

// Done is closed when the run is over: all is handled, it is cut, or the
// parent says so.
func (j *Job) Done() <-chan struct{} { return j.done }

// Assigned notes that the contender got its first partitions.
func (j *Job) Assigned() {
	now := time.Now()
	j.assigned.CompareAndSwap(nil, &now)
}

// GiveUp counts a record that is given up.
func (j *Job) GiveUp() { j.givenUp.Add(1) }

// Try makes a call until it succeeds, with a pause between, and reports whether
// it did: it does not if ctx ended. It is what code does that is written by
// hand and must not lose a record.
func (j *Job) Try(ctx context.Context, call func() error) bool {
	for call() != nil {
		t := time.NewTimer(j.Retry)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
	return true
}

// Call is the function that all contenders call: with records of one or of
// several partitions, and with what a record is.
func Call[R any](j *Job, records []R, is func(R) (partition int32, offset int64, value []byte)) error {
	j.calls.Add(1)
	if j.first.Load() == nil {
		j.begin()
	}
	if j.Latency {
		j.arrived(len(records), func(i int) []byte {
			_, _, value := is(records[i])
			return value
		})
	}
	if j.Function > 0 {
		time.Sleep(j.Function)
	}
	if j.Poison >= 0 {
		for _, r := range records {
			if _, offset, _ := is(r); offset == j.Poison {
				j.failed.Add(1)
				return ErrPoison
			}
		}
	}
	now := time.Now()
	var fresh int64
	for i := 0; i < len(records); {
		partition, offset, _ := is(records[i])
		l := &j.lanes[partition]
		l.mu.Lock()
		for p := partition; p == partition; {
			if l.mark(offset) {
				fresh++
			}
			if i++; i == len(records) {
				break
			}
			p, offset, _ = is(records[i])
		}
		l.worked(now, j.Detail)
		l.mu.Unlock()
	}
	if n := j.count.Add(fresh); j.Records > 0 && n >= j.Records {
		j.end()
	}
	if j.Echo {
		fmt.Fprintln(j.out, Handled)
	}
	return nil
}

// begin notes the first call.
func (j *Job) begin() {
	now := time.Now()
	if !j.first.CompareAndSwap(nil, &now) {
		return
	}
	fmt.Fprintln(j.out, Started)
	if j.Cut > 0 {
		time.AfterFunc(j.Cut, j.end)
	}
}

// arrived notes how late records are. Those that were sent to warm up have no
// send time.
func (j *Job) arrived(n int, value func(int) []byte) {
	now := time.Now().UnixNano()
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range n {
		if sent := int64(binary.BigEndian.Uint64(value(i))); sent > 0 {
			j.late = append(j.late, float64(now-sent)/1e6)
		}
	}
}

// Report is what the run came to.
func (j *Job) Report() Report {
	r := j.About
	j.mu.Lock()
	defer j.mu.Unlock()
	r.Records, r.Cut = j.endCount, !j.endedFull
	r.Calls, r.FailedCalls, r.GivenUp = j.calls.Load(), j.failed.Load(), r.GivenUp+j.givenUp.Load()
	first := j.first.Load()
	if first == nil {
		return r
	}
	r.WaitSeconds = first.Sub(j.began).Seconds()
	var last time.Time
	for i := range j.lanes {
		l := &j.lanes[i]
		l.mu.Lock()
		r.Duplicates += l.again
		r.OutOfOrder += l.late
		if l.last.After(last) {
			last = l.last
		}
		if j.Detail {
			p := Partition{Handled: append(Set(nil), l.handled...), Spans: append([]Span(nil), l.spans...), Moves: append([]Move(nil), l.moves...)}
			if l.count > 0 {
				p.LastSeconds = l.last.Sub(*first).Seconds()
			}
			r.Partitions = append(r.Partitions, p)
		}
		l.mu.Unlock()
	}
	if r.Cut {
		last = j.ended
	}
	r.Seconds = last.Sub(*first).Seconds()
	if a := j.assigned.Load(); a != nil {
		r.AssignedSeconds = last.Sub(*a).Seconds()
	}
	if j.Latency {
		r.Latency = summary(append([]float64(nil), j.late...))
	}
	return r
}
