package engine

// A Bell wakes a goroutine that looks at everything when it wakes, so that one
// ring is as good as many.
type Bell chan struct{}

func NewBell() Bell { return make(Bell, 1) }

func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// A signal wakes all that wait for it. It belongs to the engine's lock.
type signal struct{ ch chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
