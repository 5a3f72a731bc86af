package esm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// corrupt says that a lane cannot be read from an offset to another one.
func (e *engine) corrupt(from, to int64) {
	e.mu.Lock()
	defer e.unlock()
	e.unread(e.lanes[onlyPartition], &UnreadableError{onlyPartition, from, to, errors.New("corrupt")}, time.Now())
}

// TestWhatIsPassedOverKeepsItsPlace: what comes before it is still being handled
// when that is asked for. What comes after it is not even fetched until then.
func TestWhatIsPassedOverKeepsItsPlace(t *testing.T) {
	order, release := make(chan string, 10), make(chan struct{})
	e := engineOf(func(_ context.Context, b *Batch) error {
		<-release
		order <- fmt.Sprint("handled ", b.Records[0].Offset)
		return nil
	}, WithBatchSize(5), WithDestination(DestinationFunc(func(_ context.Context, d *Discard) error {
		order <- fmt.Sprint("discarded ", d.Record.Offset)
		return nil
	})))
	e.enqueue(brings(0, numbered(0, 5)...), time.Now())
	e.until(func(l *lane) bool { return l.state == laneLeased })
	e.corrupt(5, 7)
	if err := e.skip(onlyPartition, 5, time.Now()); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	e.evict(e.rewound())
	e.unlock()
	e.enqueue(brings(0, numbered(7, 10)...), time.Now())
	if !e.pauses()[onlyPartition] {
		t.Error("it is fetched")
	}
	close(release)
	e.until(func(l *lane) bool { return l.rewinding })
	e.mu.Lock()
	nudged, back := e.evict(e.rewound())
	e.unlock()
	if at := back["orders"][0].Offset; at != 7 || nudged["orders"][0].Offset == at {
		t.Fatalf("the client is set to %d, and to %d before", at, nudged["orders"][0].Offset)
	}
	e.enqueue(brings(0, numbered(7, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 17 })
	e.idle()
	close(order)
	var got []string
	for o := range order {
		got = append(got, o)
	}
	if got, want := strings.Join(got, ", "), "handled 0, discarded 5, handled 7, handled 12"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
