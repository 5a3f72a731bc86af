package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// What the function says at the end of a call, of all that it has not handled,
// or of some records. What is not said of a record, or of the whole, is that it
// was handled.
const (
	saysHandled   = "handled"
	saysFailed    = "failed"
	saysPanic     = "panic"
	saysGoexit    = "goexit"
	saysThrottled = "throttled"
	saysHalt      = "halt"
	saysPermanent = "permanent"
	saysTooLarge  = "too large"
	saysPartial   = "partial" // see what it says of some
	saysUntried   = "untried" // and not of all of a partition
	saysCut       = "cut"     // its context ended
	// What a destination says.
	saysTaken   = "taken"
	saysRefused = "refused"
)

// tooMany is how many bytes the function takes with several records.
const tooMany = 256 << 10

// An answer is what the function makes of a call.
type answer struct {
	handled []*kgo.Record
	says    string
	some    []some
	err     error
}

// invoke is the function: it looks at each byte, takes its time, and fails in
// each way there is.
func (h *host) invoke(ctx context.Context, b *esm.Batch) error {
	h.tell(line{Kind: lineCall, Call: b.ID, Parts: partsOf(b.Records), Share: h.share()})
	h.verify(b.Records)
	a := h.answer(ctx, b)
	h.verify(b.Records) // nobody may have written there meanwhile
	h.tell(line{Kind: lineEnd, Call: b.ID, Parts: partsOf(a.handled), Outcome: a.says, Some: a.some, Ended: ctx.Err() != nil})
	switch a.says {
	case saysPanic:
		panic(a.err)
	case saysGoexit:
		runtime.Goexit()
	}
	return a.err
}

// verify tells what is wrong with records, of each once.
func (h *host) verify(records []*kgo.Record) {
	for _, r := range records {
		err := differs(h.Seed, r)
		if err == nil {
			continue
		}
		if _, told := h.corrupt.LoadOrStore(fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset), true); !told {
			l := line{Kind: lineCorrupt, Err: err.Error()}
			l.add(numberOf(r), r.Offset, -1)
			h.tell(l)
		}
	}
}

func (h *host) answer(ctx context.Context, b *esm.Batch) answer {
	// Not by the records: what is no attempt would come again for ever.
	rng := rand.New(rand.NewPCG(h.Seed, uint64(h.calls.Add(1))))
	took := between(rng, 5*time.Millisecond, 25*time.Millisecond)
	switch rng.IntN(300) {
	case 0:
		took = 2 * time.Second
	case 1: // one that does not look at its context
		time.Sleep(2 * time.Second)
	}
	if !sleep(ctx, took) && rng.IntN(2) == 0 {
		return answer{says: saysCut, err: context.Cause(ctx)}
	}
	// Otherwise it goes on although its context has ended, as functions do
	// that have written already.
	now := time.Now().UnixNano()
	switch {
	case h.halting.Load():
		return answer{says: saysHalt, err: esm.Halt(errLuck)}
	case now < h.throttled.Load(), rng.IntN(500) == 0:
		return answer{says: saysThrottled, err: esm.Throttled(between(rng, 50*time.Millisecond, 500*time.Millisecond), errLuck)}
	}
	if a, ok := h.fated(b.Records); ok {
		return a
	}
	some := b.Records[rng.IntN(len(b.Records))]
	switch n := rng.IntN(1000); {
	case n < 8:
		return answer{says: saysFailed, err: errLuck}
	case n < 14:
		return answer{says: saysPanic, err: errLuck}
	case n < 18:
		return answer{says: saysGoexit}
	case n < 30:
		return partial(b.Records, []*kgo.Record{some}, saysFailed, errLuck)
	case n < 40:
		var few []*kgo.Record
		for _, r := range b.Records {
			if rng.IntN(5) == 0 {
				few = append(few, r)
			}
		}
		return partial(b.Records, few, saysFailed, errLuck)
	case n < 55:
		return stopAt(b.Records, some)
	case n < 60:
		return partial(b.Records, []*kgo.Record{some}, saysThrottled, esm.Throttled(20*time.Millisecond, errLuck))
	case n < 64:
		return answer{says: saysPermanent, err: esm.Permanent(errLuck)}
	}
	return answer{says: saysHandled, handled: b.Records}
}

var errLuck = errors.New("no luck")

// fated is what comes of a batch that holds records with a fate.
func (h *host) fated(records []*kgo.Record) (answer, bool) {
	is := map[fate][]*kgo.Record{}
	bytes := 0
	for _, r := range records {
		bytes += len(r.Key) + len(r.Value)
		if seq, err := seqOf(r); err == nil {
			f := fateOf(h.Seed, numberOf(r), seq)
			is[f] = append(is[f], r)
		}
	}
	switch {
	case len(is[tooLargeFate]) > 0, len(records) > 1 && bytes > tooMany:
		return answer{says: saysTooLarge, err: esm.TooLarge(fmt.Errorf("%d bytes", bytes))}, true
	case len(is[poisonFate]) > 0:
		return answer{says: saysFailed, err: errors.New("poison")}, true
	case len(is[permanentFate]) > 0:
		return partial(records, is[permanentFate], saysPermanent, esm.Permanent(errors.New("for good"))), true
	}
	return answer{}, false
}

// partial says that some records failed, and that the others were handled.
func partial(records, failed []*kgo.Record, says string, err error) answer {
	if len(failed) == 0 {
		return answer{says: saysHandled, handled: records}
	}
	a := answer{says: saysPartial}
	var f esm.Failures
	for _, r := range records {
		if slices.Contains(failed, r) {
			f.Add(r, err)
		} else {
			a.handled = append(a.handled, r)
		}
	}
	a.some, a.err = []some{{says, partsOf(failed)}}, f.Err()
	return a
}

// stopAt says that a record failed, and that what comes after it in its
// partition was not tried.
func stopAt(records []*kgo.Record, at *kgo.Record) answer {
	a := answer{says: saysPartial}
	var untried []*kgo.Record
	for _, r := range records {
		switch {
		case r == at:
		case numberOf(r) == numberOf(at) && r.Offset > at.Offset:
			untried = append(untried, r)
		default:
			a.handled = append(a.handled, r)
		}
	}
	a.some = []some{{saysFailed, partsOf([]*kgo.Record{at})}, {saysUntried, partsOf(untried)}}
	var f esm.Failures
	f.StopAt(at, errLuck)
	a.err = f.Err()
	return a
}

// deliver is the destination: it takes a record, or not, and for some time
// none.
func (h *host) deliver(ctx context.Context, d *esm.Discard) error {
	n := h.deliveries.Add(1)
	call := fmt.Sprintf("d%d", n)
	record := partsOf([]*kgo.Record{d.Record})
	h.tell(line{Kind: lineDeliver, Call: call, Parts: record, Reason: d.Reason.String(), Attempts: d.Attempts})
	h.verify([]*kgo.Record{d.Record})
	rng := rand.New(rand.NewPCG(h.Seed, uint64(n)))
	refuse := func() {
		h.tell(line{Kind: lineEnd, Call: call, Outcome: saysRefused, Ended: ctx.Err() != nil})
	}
	switch {
	case !sleep(ctx, between(rng, time.Millisecond, 5*time.Millisecond)):
		refuse()
		return context.Cause(ctx)
	case time.Now().UnixNano() < h.refusing.Load() || rng.IntN(20) == 0:
		refuse()
		return errLuck
	case rng.IntN(20) == 0:
		refuse()
		panic(errLuck)
	}
	h.tell(line{Kind: lineEnd, Call: call, Parts: record, Outcome: saysTaken, Ended: ctx.Err() != nil})
	return nil
}
