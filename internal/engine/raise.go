package engine

import (
	"fmt"
	"time"
)

// problem notes a problem, or with a nil error its end. The error was kept by
// guard. The lock is held, so that two that look at the same lane note what they
// see in that order.
func (e *Engine) problem(with string, err error, now time.Time) {
	if tell := e.watch.Note(with, err, now); tell != nil {
		e.later(tell)
	}
}

// trouble is the problem with something, or nil.
func (e *Engine) trouble(with string) *Trouble { return e.watch.Trouble(with) }

// ProblemWith names a partition.
func ProblemWith(topic string, partition int32) string {
	return fmt.Sprintf("topic %s partition %d", topic, partition)
}

// readable notes that a lane can be read: records came, or its broker was asked
// and gave some.
func (e *Engine) readable(l *lane, now time.Time) {
	l.said, l.unreadable = nil, nil
	if e.watch.AnyTrouble() { // or names would be made for each poll and lane
		e.problem("topic "+l.Topic, nil, now)
		e.problem(ProblemWith(l.Topic, l.Partition), nil, now)
		l.named = false
	}
}
