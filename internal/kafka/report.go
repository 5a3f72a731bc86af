package kafka

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
)

// raise notes a problem, and clear its end. They do not wait for the engine, and
// must not be called with its lock: they tell it, too.
func (c *Consumer) raise(with string, err error) {
	err = guard.Keep(err) // a dialer, say, may be the user's
	if tell := c.watch.Note(with, err, time.Now()); tell != nil {
		tell()
	}
}

// over ends a problem, unless it was seen again since it was listed.
func (c *Consumer) over(p engine.Trouble) {
	if tell := c.watch.Over(p); tell != nil {
		tell()
	}
}

func (c *Consumer) clear(with string) { c.raise(with, nil) }

// connectionProblem is what problems with connections begin with.
const connectionProblem = "connection to "

// disconnected reports whether a problem with a connection is known: what comes
// of that need not be told beside it.
func (c *Consumer) disconnected() bool {
	for _, p := range c.watch.Troubles() {
		if strings.HasPrefix(p.With, connectionProblem) {
			return true
		}
	}
	return false
}

// lastProblem is the problem that was seen last, or nil.
func (c *Consumer) lastProblem() error {
	var last engine.Trouble
	for _, p := range c.watch.Troubles() {
		if last.Err == nil || p.Last.After(last.Last) {
			last = p
		}
	}
	if last.Err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", last.With, last.Err)
}
