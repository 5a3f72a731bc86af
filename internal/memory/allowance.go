package memory

import (
	"errors"
	"sync/atomic"
	"time"
)

// An allowance bounds what one poll may become when it is decompressed.
//
// # The invariant
//
// What the client has made of responses that were not polled is at most the
// allowance and one batch of each broker, however far anything compresses. The
// allowance is two fifths of the budget, the size for which fetches are made
// when all goes well; while a poll is admitted, it is no more than there is room
// for. So what is held passes the budget by one batch of each broker at most, or
// by what brokers send uncompressed.
//
// # How
//
// Nothing tells what a batch becomes before it was decompressed. So the client's
// decompressor is wrapped, and refuses while the allowance is used up. The
// client then hands out what it has of that partition, stays at the batch, and
// fetches it again. A goroutine of the client, one for each broker, asks before
// each batch, and counts the batch before it asks again: hence the one batch of
// each broker. If nothing waits to be polled, the first batch of a response is
// never refused, whatever its size. A limit of one batch is the client's own
// (kgo.MaxDecompressBatchBytes).
//
// # What is counted
//
// Each batch counts, with what its records cost, in the tally of the broker that
// sent it. The client has one response of a broker at a time. It asks for the
// next when that was taken: by a poll, or because it is thrown away (a
// rebalance, a pause). So a tally is closed when a poll brings something of its
// broker, and when the next response of its broker comes. If neither happens,
// because none of the broker's partitions is read any more, the first poll that
// comes a second after its last batch closes it: a poll takes all that is ready.
// Nothing leaks.
//
// A poll can be handed over late, when the next response comes in already, and
// must not close the tally of that one. So responses are numbered, and a poll
// takes the one that was there when it began, or else the next. If that one was
// thrown away meanwhile, this is wrong, and what was polled counts until the
// next poll or response: too much, and not too little.
//
// # What was refused
//
// Brokers send the partitions of a response in an order that can stay the same,
// so the same one could be refused each time. The engine lets a lane through of
// which nothing came several times: the others yield to it.
//
// Rejected: a limit for each batch (a poll has any number of them), smaller
// fetches (a batch is sent whole, and 1 MiB becomes a gigabyte), and to block
// instead of to refuse (a response is handed over when all of it was read).
//
// The lock of the Wire guards it, but for the numbers that are atomic.
type allowance struct {
	limit    atomic.Int64 // how much may wait to be polled
	unpolled atomic.Int64 // how much does: the sum of the tallies

	tallies map[int32]*tally
	last    *tally // the one that a batch was counted in last

	// polled is what polls have brought since the last take. What the client has read
	// since then is not in it, however late a poll is handed over, and neither is what
	// it threw away.
	polled sizes
}

// A tally is what one broker sent and was not polled.
type tally struct {
	broker  int32
	bytes   int64
	batches int64 // that were ever counted

	// sizes are those of its record batches, and before those of the response that it
	// took the place of since the poll under way began: that is the one it brings.
	sizes, before sizes

	fresh     bool  // nothing was counted of the last response
	responses int64 // of which something was
	takes     int64 // the number of the one that the poll under way takes

	// seen is batches at the first poll after it changed, and seenAt is when
	// that was.
	seen   int64
	seenAt time.Time
}

// sizes are bytes of record batches: as they were read, and once decompressed.
type sizes struct{ packed, unpacked int64 }

func (s *sizes) add(o sizes) {
	s.packed += o.packed
	s.unpacked += o.unpacked
}

// ResponseEnds is how long after its last batch a response is there as a whole.
const ResponseEnds = time.Second

// ErrRefused is what the client's decompressor says of a batch for which there is
// no allowance. The client fetches the batch again. It is no problem.
var ErrRefused = errors.New("esm: what one poll may bring has come")

// Refused reports whether an error of a partition says only that.
func Refused(err error) bool { return errors.Is(err, ErrRefused) }

// pollLimit is what one poll may become.
func pollLimit(budget int64) int64 { return budget * 2 / 5 }

// of finds the tally of a broker.
func (a *allowance) of(broker int32) *tally {
	if a.last == nil || a.last.broker != broker {
		t := a.tallies[broker]
		if t == nil {
			t = &tally{broker: broker, fresh: true, takes: 1}
			a.tallies[broker] = t
		}
		a.last = t
	}
	return a.last
}

// count counts a batch.
func (a *allowance) count(b Batch) {
	t := a.of(b.Broker)
	if t.fresh {
		t.fresh = false
		t.responses++
	}
	t.bytes += b.Cost
	t.sizes.add(sizes{b.Packed, b.Unpacked})
	t.batches++
	a.unpolled.Add(b.Cost)
}

// arrives says that another response of a broker is there: the one before was
// taken.
func (a *allowance) arrives(broker int32) {
	t := a.of(broker)
	t.before = a.close(t)
	t.fresh = true
}

// begins says that a poll does.
func (a *allowance) begins() {
	for _, t := range a.tallies {
		t.before = sizes{} // no poll took it: it was thrown away
		t.takes = t.responses
		if t.bytes == 0 {
			t.takes++
		}
	}
}

// brought says that it brought something of a broker.
func (a *allowance) brought(broker int32) {
	t := a.of(broker)
	a.polled.add(t.before)
	t.before = sizes{}
	if t.responses <= t.takes {
		a.polled.add(a.close(t))
	}
}

// close says that nothing that counts in a tally waits any more, and returns how large
// it was.
func (a *allowance) close(t *tally) (was sizes) {
	was = t.sizes
	a.unpolled.Add(-t.bytes)
	t.bytes, t.sizes = 0, sizes{}
	return was
}

// take returns what was polled since the last take.
func (a *allowance) take() sizes {
	s := a.polled
	a.polled = sizes{}
	return s
}

// expire closes the tallies of responses that were complete long before a poll
// that did not bring them. Their brokers may never be heard of again.
func (a *allowance) expire(now time.Time) {
	for broker, t := range a.tallies {
		if t.batches != t.seen || t.seenAt.IsZero() {
			t.seen, t.seenAt = t.batches, now
		} else if now.Sub(t.seenAt) >= ResponseEnds {
			a.close(t)
			delete(a.tallies, broker)
			a.last = nil
		}
	}
}
