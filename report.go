package esm

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// raise notes a problem, and clear its end. They do not wait for the engine, and
// must not be called with its lock: they tell it, too.
func (c *consumer) raise(with string, err error) {
	err = guard.Keep(err) // a dialer, say, may be the user's
	if tell := c.watch.note(with, err, time.Now()); tell != nil {
		tell()
	}
}

// over ends a problem, unless it was seen again since it was listed.
func (c *consumer) over(p trouble) {
	if tell := c.watch.over(p); tell != nil {
		tell()
	}
}

func (c *consumer) clear(with string) { c.raise(with, nil) }

// connectionProblem is what problems with connections begin with.
const connectionProblem = "connection to "

// disconnected reports whether a problem with a connection is known: what comes
// of that need not be told beside it.
func (c *consumer) disconnected() bool {
	for _, p := range c.watch.troubles() {
		if strings.HasPrefix(p.with, connectionProblem) {
			return true
		}
	}
	return false
}

// lastProblem is the problem that was seen last, or nil.
func (c *consumer) lastProblem() error {
	var last trouble
	for _, p := range c.watch.troubles() {
		if last.err == nil || p.last.After(last.last) {
			last = p
		}
	}
	if last.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", last.with, last.err)
}
