package engine

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A Permit says what the poll loop may do.
type Permit struct {
	// Poll: poll, with Ctx, and enqueue what comes.
	Poll bool
	// Back: set the client to these positions, which evict says, and ask again.
	// Those that are to be nudged are to be set elsewhere before: the client does
	// nothing about a partition that is where it is told to go.
	Nudged, Back map[string]map[int32]kgo.EpochOffset
	// Ctx ends when the poll is to be cut short. It is nil if nothing may be done.
	Ctx context.Context
	// Again is when to ask again although nothing rings, if it is not 0.
	Again time.Duration

	engine *Engine
}

// Permit says whether the poll loop may poll now, or is to set the client back.
// buffered is how much memory the client's records take that are ready. If
// something may be done, a poll is under way until End is called.
//
// # The order
//
// That it is allowed and that it is under way are decided under one hold of the
// lock. Otherwise a pause, a halt or an assignment could come in between: it would
// find no poll to cut, and the poll that begins then would bring records that it
// must not bring.
func (e *Engine) Permit(ctx context.Context, buffered int64, now time.Time) Permit {
	e.mu.Lock()
	defer e.unlock()
	a := e.admit(buffered, now)
	p := Permit{Poll: a.poll, Again: a.again, engine: e}
	if a.poll {
		e.polling = now
	}
	if a.poll || len(a.evict) > 0 {
		p.Ctx, e.cancelPoll = context.WithCancel(ctx)
		p.Nudged, p.Back = e.evict(a.evict)
	}
	return p
}

// End says that what a permit allowed is over: all that a poll brought has been
// handed over.
func (p Permit) End() {
	e := p.engine
	e.mu.Lock()
	defer e.unlock()
	e.cancelPoll()
	e.cancelPoll = nil
	e.polled.fire()
}

// cutPoll cuts the poll short that is under way, if there is one. The lock is held.
func (e *Engine) cutPoll() {
	if e.cancelPoll != nil {
		e.cancelPoll()
	}
}

// EndPoll cuts the poll short that is under way, and waits until all that it
// brought has been handed over. It waits for this one poll: the next may begin
// before it returns.
func (e *Engine) EndPoll() {
	var ended <-chan struct{}
	e.mu.Lock()
	if e.cancelPoll != nil {
		e.cancelPoll()
		ended = e.polled.wait()
	}
	e.unlock()
	if ended != nil {
		<-ended
	}
}

// evict gives back what lanes have queued, and says from where lanes are to be
// read again. Lanes to nudge are to be set elsewhere before: see Permit.
func (e *Engine) evict(lanes []*lane) (nudged, back map[string]map[int32]kgo.EpochOffset) {
	if len(lanes) == 0 {
		return nil, nil
	}
	nudged, back = map[string]map[int32]kgo.EpochOffset{}, map[string]map[int32]kgo.EpochOffset{}
	set := func(in map[string]map[int32]kgo.EpochOffset, l *lane, at int64) {
		if in[l.Topic] == nil {
			in[l.Topic] = map[int32]kgo.EpochOffset{}
		}
		in[l.Topic][l.Partition] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	for _, l := range lanes {
		if !l.rewinding {
			e.counts.Evicted += int64(l.count)
			e.freeQueue(l)
			l.next, l.unreadable = l.taken, nil // that is met again behind what is read again
		}
		l.rewinding = false // what is polled from now on is from there
		if l.nudge {
			set(nudged, l, l.next+1)
			l.nudge = false
		}
		set(back, l, l.next)
	}
	return nudged, back
}
