package scaling

import "iter"

// Replay decides again on the samples of a trace, in their order, as a new Scaler
// would: for a trace from its beginning, what was decided then. With samples that
// were changed, or in another mode, it says what would have been decided. The
// samples stay as they were recorded: more pollers in one decision do not settle
// more records in the next.
func Replay(trace iter.Seq[Sample], m Mode) iter.Seq[Decision] {
	return func(yield func(Decision) bool) {
		s := New(m)
		for in := range trace {
			if !yield(s.Decide(in)) {
				return
			}
		}
	}
}
