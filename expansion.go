package esm

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
)

// An expansion bounds what one poll may become when it is decompressed.
//
// # The invariant
//
// What the client has made of responses that were not polled is at most the
// allowance and one batch of each broker, whatever compresses how far. The
// allowance is two fifths of the budget, which is what fetches are made for when
// all goes well; and while a poll is admitted, no more than there is room for. So
// what is held passes the budget by one batch of each broker at most, or by what
// brokers send uncompressed.
//
// # How
//
// What a batch becomes is known when it was decompressed, and by nothing before.
// So the client's decompressor is wrapped: while the allowance is used up, it
// refuses. The client then hands out what it has of that partition, stays at the
// batch, and fetches it again. A goroutine of the client, one for each broker, asks
// before each batch, and the batch is counted before it asks again: hence the one
// batch of each broker. Without anything that waits to be polled, the first batch
// of a response is never refused, whatever its size; a limit of one batch is
// kgo.MaxDecompressBatchBytes.
//
// # What is counted
//
// Each batch, with what its records cost, to the tally of the broker that sent
// it. The client has one response of a broker at a time: it asks for the next when
// that was taken, by a poll or because it is thrown away (a rebalance, a pause). So
// a tally is closed when a poll brings something of its broker, and when the
// next response of its broker comes. If neither happens, because none of the
// broker's partitions is read any more, it is closed by the first poll that comes a
// second after its last batch: a poll takes all that is ready. Nothing leaks.
//
// A poll can be handed over late, when the next response comes in already, and
// must not close the tally of that one. So responses are numbered, and a poll
// takes that which was there when it began, or else the next. If one was thrown
// away meanwhile, that is wrong, and what was polled counts until the next poll or
// response: too much, and not too little.
//
// # What was refused
//
// Brokers send the partitions of a response in an order that can stay the same, so
// the same one could be refused each time. A lane of which nothing came several
// times is let through: see giveWay.
//
// Rejected: a limit for each batch (a poll has any number of them), smaller fetches
// (a batch is sent whole, and 1 MiB becomes a gigabyte), and to block instead of to
// refuse (a response is handed over when all of it was read).
//
// It belongs to the lock of wireStats, but for the numbers that are atomic.
type expansion struct {
	allowance atomic.Int64 // how much may wait to be polled
	unpolled  atomic.Int64 // how much does: the sum of the tallies

	tallies map[int32]*tally
	last    *tally // the one that a batch was counted to last
}

// A tally is what one broker sent and was not polled.
type tally struct {
	broker  int32
	bytes   int64
	batches int64 // that were ever counted

	fresh     bool  // nothing was counted of the last response
	responses int64 // of which something was
	takes     int64 // the number of that which the poll under way takes

	// seen is batches at the poll at which it was another number for the first
	// time, and seenAt is when that was.
	seen   int64
	seenAt time.Time
}

// responseEnds is how long after its last batch a response is there as a whole.
const responseEnds = time.Second

// of finds the tally of a broker.
func (x *expansion) of(broker int32) *tally {
	if x.last == nil || x.last.broker != broker {
		a := x.tallies[broker]
		if a == nil {
			a = &tally{broker: broker, fresh: true, takes: 1}
			x.tallies[broker] = a
		}
		x.last = a
	}
	return x.last
}

// count counts a batch.
func (x *expansion) count(broker int32, bytes int64) {
	a := x.of(broker)
	if a.fresh {
		a.fresh = false
		a.responses++
	}
	a.bytes += bytes
	a.batches++
	x.unpolled.Add(bytes)
}

// arrives says that another response of a broker is there: the one before was
// taken.
func (x *expansion) arrives(broker int32) {
	a := x.of(broker)
	x.close(a)
	a.fresh = true
}

// begins says that a poll does.
func (x *expansion) begins() {
	for _, a := range x.tallies {
		a.takes = a.responses
		if a.bytes == 0 {
			a.takes++
		}
	}
}

// brought says that it brought something of a broker.
func (x *expansion) brought(broker int32) {
	if a := x.of(broker); a.responses <= a.takes {
		x.close(a)
	}
}

// close says that nothing of what was counted to a tally waits any more.
func (x *expansion) close(a *tally) {
	x.unpolled.Add(-a.bytes)
	a.bytes = 0
}

// expire closes the tallies of responses that were complete long before a poll
// that did not bring them. Their brokers may never be heard of again.
func (x *expansion) expire(now time.Time) {
	for broker, a := range x.tallies {
		if a.batches != a.seen || a.seenAt.IsZero() {
			a.seen, a.seenAt = a.batches, now
		} else if now.Sub(a.seenAt) >= responseEnds {
			x.close(a)
			delete(x.tallies, broker)
			x.last = nil
		}
	}
}

// errNoAllowance is said of a batch that is fetched again. It is no problem.
var errNoAllowance = errors.New("esm: what one poll may bring has come")

// refused reports whether an error of a partition says only that.
func refused(err error) bool { return errors.Is(err, errNoAllowance) }

// An allower is a decompressor with an allowance.
type allower struct {
	kgo.Decompressor
	expansion *expansion
}

// Decompress is called on goroutines of the client.
func (d allower) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec != kgo.CodecNone && d.expansion.unpolled.Load() >= d.expansion.allowance.Load() {
		return nil, errNoAllowance
	}
	return sturdy{d.Decompressor}.Decompress(src, codec)
}

// A sturdy decompressor is one that may be the user's, and panic: of that batch
// only.
type sturdy struct{ kgo.Decompressor }

// Decompress turns a panic into an error.
func (d sturdy) Decompress(src []byte, codec kgo.CompressionCodecType) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, fmt.Errorf("esm: the decompressor panicked: %s", guard.Sprint(v))
		}
	}()
	return d.Decompressor.Decompress(src, codec)
}

// most is what one poll may become.
func most(budget int64) int64 { return budget * 2 / 5 }

// allow sets the allowance. While no poll is admitted there is no room to look at:
// the next admission sees what came meanwhile. It is never raised to the reserve,
// which may be far more: that is what can come uncompressed too, and is admitted
// whatever its size when nothing is held.
func (m *memory) allow(poll bool) {
	n := most(m.budget)
	if poll {
		n = min(n, m.budget-m.held)
	}
	// What decoding makes is not in what the client counts.
	m.fetch.wire.expansion.allowance.Store(max(1, int64(float64(n)/m.fetch.beside)))
}

// ready is what the client has made of responses, or is about to.
func (f *fetchSize) ready(buffered int64, now time.Time) int64 {
	if n := f.wire.batches.Load(); n != f.seen {
		f.seen, f.seenAt = n, now
	}
	if now.Sub(f.seenAt) < responseEnds {
		return max(buffered, f.wire.expansion.unpolled.Load())
	}
	return buffered // all that there is is there as a whole
}

const (
	// pushedAside is how many polls in a row bring nothing of a lane but that
	// its first batch was refused, until the others give way to it.
	pushedAside = 3
	// wayFor is how long they do at most. Its broker may have gone silent. What of
	// the others was ready is thrown away, and counts until responseEnds.
	wayFor = responseEnds + 2*fetchMaxWait
	// refusedPause is how long a poll waits that comes after nothing but
	// refusals: for what used the allowance up to be ready.
	refusedPause = 5 * time.Millisecond
)

// noteRefusal counts what a poll brought of a lane towards giveWay.
func (e *engine) noteRefusal(l *lane, f *kgo.FetchPartition, now time.Time) {
	was := l.aside
	switch {
	case len(f.Records) > 0:
		l.aside = 0
	case refused(f.Err):
		if l.aside++; l.aside == pushedAside {
			e.wayUntil = now.Add(wayFor)
			e.alarm(e.wayUntil)
		}
	}
	if was >= pushedAside != (l.aside >= pushedAside) {
		e.later(e.repause)
	}
}

// givesWay reports whether lanes that are not pushed aside are not fetched now.
func (e *engine) givesWay(now time.Time) bool {
	if !now.Before(e.wayUntil) {
		return false
	}
	for _, l := range e.lanes {
		if l.aside >= pushedAside && !l.paused && !l.gone && !l.ending {
			return true
		}
	}
	return false
}

// endWay lets all lanes be fetched again, when the time is over.
func (e *engine) endWay(now time.Time) {
	if e.wayUntil.IsZero() || now.Before(e.wayUntil) {
		return
	}
	e.wayUntil = time.Time{}
	for _, l := range e.lanes {
		if l.aside >= pushedAside {
			l.aside = 0 // another try
		}
	}
	e.later(e.repause)
}
