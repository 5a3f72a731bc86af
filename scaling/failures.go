package scaling

import "time"

const (
	failuresOf  = 10 // calls that are judged together,
	failuresIn  = 5 * time.Second
	failuresOld = 30 * time.Second
)

// failures is how many of the last calls failed.
type failures struct {
	calls, failed int64

	since            time.Time // of those that are not judged yet:
	completed, fails int64     // how many there were by then
}

func (f *failures) learn(in *Sample) {
	if f.since.IsZero() {
		f.since, f.completed, f.fails = in.At, in.Completed, in.Failed
		return
	}
	calls, ran := in.Completed-f.completed, in.At.Sub(f.since)
	switch {
	case calls >= failuresOf, calls > 0 && ran >= failuresIn:
		f.calls, f.failed = calls, in.Failed-f.fails
	case ran >= failuresOld:
		f.calls, f.failed = 0, 0 // that is old news
	default:
		return
	}
	f.since, f.completed, f.fails = in.At, in.Completed, in.Failed
}

// most reports whether most calls failed.
func (f *failures) most() bool { return 2*f.failed > f.calls }
