package esm

import "time"

// watchAll looks at what may not get on: calls, partitions, the function. It is for
// once a second.
func (e *engine) watchAll(now time.Time) {
	e.mu.Lock()
	e.measure(now)
	e.watchCalls(now)
	e.watchBlockers(now)
	e.reviewFunction(now)
	e.unlock()
	e.watchLanes(now)
}
