package esm

import (
	"fmt"
	"time"
)

// problem notes a problem, or with a nil error its end. The error was kept by
// guard. The lock is held, so that two that look at the same lane note what they
// see in that order.
func (e *engine) problem(with string, err error, now time.Time) {
	if tell := e.watch.note(with, err, now); tell != nil {
		e.later(tell)
	}
}

// troubles lists the problems, the oldest first.
func (e *engine) troubles() []trouble { return e.watch.troubles() }

// trouble is the problem with something, or nil.
func (e *engine) trouble(with string) *trouble { return e.watch.trouble(with) }

// problemWith names a partition.
func problemWith(topic string, partition int32) string {
	return fmt.Sprintf("topic %s partition %d", topic, partition)
}

// readable notes that a lane can be read: records came, or its broker was asked
// and gave some.
func (e *engine) readable(l *lane, now time.Time) {
	l.said, l.unreadable = nil, nil
	if e.watch.anyTrouble() { // or names would be made for each poll and lane
		e.problem("topic "+l.Topic, nil, now)
		e.problem(problemWith(l.Topic, l.Partition), nil, now)
		l.named = false
	}
}
