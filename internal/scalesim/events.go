package scalesim

import "time"

type kind int

const (
	wake kind = iota // only so that what waits is looked at
	laneDue
	throttledCall
	functionChanges
	tokens
	leave
	back
)

type event struct {
	at     time.Duration
	order  uint64
	kind   kind
	n      int
	lane   *lane
	ticket uint64
	call   *call
}

// at adds an event.
func (s *sim) at(t time.Duration, e event) {
	s.order++
	e.at, e.order = t, s.order
	s.events.push(e)
}

// events is a heap, by time and then in the order in which they were added.
type events []event

func (h events) less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}

func (h events) next() time.Duration {
	if len(h) == 0 {
		return forever
	}
	return h[0].at
}

func (h *events) push(e event) {
	a := append(*h, e)
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if !a.less(i, up) {
			break
		}
		a[i], a[up] = a[up], a[i]
		i = up
	}
	*h = a
}

func (h *events) pop() event {
	a := *h
	e := a[0]
	n := len(a) - 1
	a[0] = a[n]
	a[n] = event{}
	a = a[:n]
	for i := 0; ; {
		small := i
		for _, down := range []int{2*i + 1, 2*i + 2} {
			if down < n && a.less(down, small) {
				small = down
			}
		}
		if small == i {
			break
		}
		a[i], a[small] = a[small], a[i]
		i = small
	}
	*h = a
	return e
}
