package lambdaapi

import (
	"context"
	"maps"
	"sync"
)

// A Store keeps mappings. It must not lose a change that it has acknowledged, nor keep half
// of one. One for this process only is [Memory]; [File] is for one host.
type Store interface {
	// All returns all mappings by their UUIDs, with every change that any host was
	// acknowledged before the call. The map is the caller's; what it points to is not.
	All(ctx context.Context) (map[string]Record, error)
	// Change writes what decide says, which is given all mappings as they are when it is
	// written: no other change comes in between. It may be called again, and must only
	// look. Its error is returned, and nothing is written.
	Change(ctx context.Context, decide func(all map[string]Record) (Change, error)) error
	// Changed is rung after a change of another host, or of this one. One ring may stand
	// for several. It wakes one Host; others of the same process look every five seconds.
	Changed() <-chan struct{}
}

// A Change is one mapping as it is to be, or that there is none. The zero Change changes
// nothing.
type Change struct {
	UUID   string
	Record *Record // nil to remove it
}

// apply makes a change.
func (c Change) apply(all map[string]Record) {
	switch {
	case c.UUID == "":
	case c.Record == nil:
		delete(all, c.UUID)
	default:
		all[c.UUID] = *c.Record
	}
}

// Memory is a Store for tests, and for mappings that end with the process. The zero Memory
// is empty.
type Memory struct {
	mu   sync.Mutex
	all  map[string]Record
	bell bell
}

// All returns all mappings.
func (m *Memory) All(context.Context) (map[string]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cloned(m.all), nil
}

// Change writes what decide says.
func (m *Memory) Change(_ context.Context, decide func(all map[string]Record) (Change, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := cloned(m.all)
	c, err := decide(cloned(all))
	if err != nil || c.UUID == "" {
		return err
	}
	c.apply(all)
	m.all = all
	m.bell.ring()
	return nil
}

// Changed is rung after each change.
func (m *Memory) Changed() <-chan struct{} { return m.bell.rung() }

// named has each Record have the UUID that it is kept under.
func named(all map[string]Record) map[string]Record {
	is := cloned(all)
	for uuid, r := range is {
		r.UUID = uuid
		is[uuid] = r
	}
	return is
}

func cloned(all map[string]Record) map[string]Record {
	if all == nil {
		return map[string]Record{}
	}
	return maps.Clone(all)
}

// A bell wakes one that looks at everything when it wakes.
type bell struct {
	once sync.Once
	c    chan struct{}
}

func (b *bell) rung() <-chan struct{} {
	b.once.Do(func() { b.c = make(chan struct{}, 1) })
	return b.c
}

func (b *bell) ring() {
	b.rung()
	select {
	case b.c <- struct{}{}:
	default:
	}
}
