package esmemf

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// An alarm tells a logger that something fails, once until it works again. A logger that does
// not return holds nobody up for long, and is not called again before it has.
type alarm struct {
	logger       *slog.Logger
	fails, works string // what it is told

	telling atomic.Bool
	mu      sync.Mutex // guards failing
	failing bool
}

// sayWithin is how long is waited for the logger.
const sayWithin = time.Second

// note takes how it went, and returns what is to be told, or nil.
func (a *alarm) note(err error) (tell func()) {
	a.mu.Lock()
	news := a.failing != (err != nil)
	a.failing = err != nil
	a.mu.Unlock()
	if !news || a.telling.Swap(true) {
		return nil
	}
	return func() {
		guard.Within(sayWithin, func() {
			defer a.telling.Store(false)
			if err != nil {
				a.logger.Error(a.fails, "error", guard.Text(err))
			} else {
				a.logger.Info(a.works)
			}
		})
	}
}

// tell takes how it went, and tells it if that is news.
func (a *alarm) tell(err error) {
	if tell := a.note(err); tell != nil {
		tell()
	}
}
