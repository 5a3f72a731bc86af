package scaling

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sync"
	"time"
)

// maxLine is how long a line of a trace may be: about that of 100,000 partitions.
const maxLine = 16 << 20

// Record returns a function that writes each decision that it gets to w, as one
// line of JSON each. It is for the hook Sampled of a Mapping:
//
//	esm.WithHooks(esm.Hooks{Sampled: scaling.Record(f, func(err error) { log.Print(err) })})
//
// A line has about 100 bytes for each partition, there is one a second or a few
// more, and it is written with one Write. [ReadTrace] reads what it wrote.
//
// Nothing is retried. At the first error, failed is called with it, once, and what
// was decided since is not written: so a trace has no hole. The Mapping goes on.
//
// The function may be called from several goroutines, and by the hooks of several
// Mappings. Record panics if one of its arguments is nil.
func Record(w io.Writer, failed func(error)) func(Decision) {
	if w == nil || failed == nil {
		panic("scaling: Record needs a writer, and a function for its error")
	}
	r := &recorder{w: w, failed: failed}
	return r.write
}

type recorder struct {
	w      io.Writer
	failed func(error)

	mu     sync.Mutex // over w and
	broken bool
}

func (r *recorder) write(d Decision) {
	if err := r.try(d); err != nil {
		r.failed(fmt.Errorf("scaling: the trace ends before the decision of %s: %w", d.Sample.At.Format(time.RFC3339Nano), err))
	}
}

// try writes a decision, unless an earlier one could not be written.
func (r *recorder) try(d Decision) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return nil
	}
	r.broken = true // even if the writer panics
	line, err := json.Marshal(d)
	if err != nil {
		return err
	}
	n, err := r.w.Write(append(line, '\n'))
	if err == nil && n <= len(line) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	r.broken = false
	return nil
}

// ReadTrace reads the decisions that [Record] wrote. After an error there are no
// more. It names the line, and says what is wrong with it: that it is no decision,
// that a number in it cannot be, or that its time lies before that of an earlier
// line of the same Mapping. Where the last line ends in the middle, as it does when
// the process was killed, the error is [io.ErrUnexpectedEOF].
//
// Decisions without a sample have nothing to replay and are passed over. A file may
// have those of several Mappings, which are told apart by Decision.Mapping.
func ReadTrace(r io.Reader) iter.Seq2[Decision, error] {
	return func(yield func(Decision, error) bool) {
		in := &traceReader{in: bufio.NewReaderSize(r, 64<<10), last: map[string]time.Time{}}
		for {
			d, err := in.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Decision{}, fmt.Errorf("scaling: line %d of the trace: %w", in.number, err))
				return
			}
			if !d.Sample.At.IsZero() && !yield(d, nil) {
				return
			}
		}
	}
}

type traceReader struct {
	in     *bufio.Reader
	number int // of the line
	last   map[string]time.Time
}

// next reads a decision, or returns io.EOF.
func (t *traceReader) next() (d Decision, err error) {
	line, whole, err := t.line()
	if err != nil {
		return d, err
	}
	err = json.Unmarshal(line, &d)
	var syntax *json.SyntaxError
	switch {
	case !whole && errors.As(err, &syntax):
		return d, io.ErrUnexpectedEOF
	case err != nil:
		return d, err
	}
	if err := d.check(); err != nil {
		return d, err
	}
	if at := d.Sample.At; !at.IsZero() {
		if last := t.last[d.Mapping]; at.Before(last) {
			return d, fmt.Errorf("its time, %s, is before %s, which an earlier line has", at.Format(time.RFC3339Nano), last.Format(time.RFC3339Nano))
		}
		t.last[d.Mapping] = at
	}
	return d, nil
}

// line returns the next line that is not empty, and whether its end was there.
func (t *traceReader) line() (line []byte, whole bool, err error) {
	for {
		line = line[:0]
		t.number++
		for {
			part, err := t.in.ReadSlice('\n')
			if len(line)+len(part) > maxLine {
				return nil, false, fmt.Errorf("it has more than %d bytes", maxLine)
			}
			line = append(line, part...)
			if err == nil {
				break
			}
			if err == bufio.ErrBufferFull {
				continue
			}
			if err == io.EOF && len(line) > 0 {
				return line, false, nil
			}
			return nil, false, err
		}
		if len(line) > 1 {
			return line, true, nil
		}
	}
}

// check says what of a decision cannot be.
func (d *Decision) check() error {
	if d.From < 0 || d.To < 0 {
		return fmt.Errorf("it goes from %d pollers to %d, and there are at least 0", d.From, d.To)
	}
	if d.Sample.At.IsZero() {
		return nil
	}
	in := &d.Sample
	for _, n := range []struct {
		name  string
		value int64
		least int64
	}{
		{"Pollers", int64(in.Pollers), 0}, {"Concurrency", int64(in.Concurrency), 1}, {"Least", int64(in.Least), 0}, {"Most", int64(in.Most), int64(in.Least)},
		{"ByteRate", int64(in.ByteRate), Unlimited}, {"MaxConcurrency", int64(in.MaxConcurrency), Unlimited},
		{"Busy", int64(in.Busy), 0}, {"Slots", int64(in.Slots), 0}, {"Waiting", int64(in.Waiting), 0}, {"BatchTime", int64(in.BatchTime), 0},
		{"Completed", in.Completed, 0}, {"Settled", in.Settled, 0}, {"Throttled", in.Throttled, 0}, {"Failed", in.Failed, 0},
		{"Round", in.Round, 0}, {"RoundTime", int64(in.RoundTime), 0}, {"RoundSpread", int64(in.RoundSpread), 0}, {"BusyTime", int64(in.BusyTime), 0},
	} {
		if n.value < n.least {
			return fmt.Errorf("field Sample.%s is %d, and must be %d or more", n.name, n.value, n.least)
		}
	}
	if in.BatchRecords < 0 || in.BatchBytes < 0 || math.IsInf(in.BatchRecords+in.BatchBytes, 0) {
		return fmt.Errorf("field Sample.BatchRecords is %v and Sample.BatchBytes %v, and both must be 0 or more", in.BatchRecords, in.BatchBytes)
	}
	for i, l := range in.Lanes {
		if l.Lag < -1 || l.End < -1 || l.Waiting < 0 || l.Partition < 0 {
			return fmt.Errorf("Sample.Lanes[%d] is of partition %d, with a lag of %d, an end of %d and %d waiting: a lag and an end are -1 or more, and the others 0", i, l.Partition, l.Lag, l.End, l.Waiting)
		}
	}
	return nil
}
