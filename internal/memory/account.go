// Package memory accounts for the records that a Mapping holds, and decides
// what may be fetched.
//
// An [Account] says whether a poll may happen, and how large the client's
// fetches are. A [Wire] counts what the client reads from the brokers and
// bounds what it may decompress. The package knows no client: whoever owns one
// tells the Wire what its hooks say.
package memory

import "time"

// An Account is what a Mapping holds and what it may hold.
//
// # The invariant
//
// The Mapping holds at most the budget and one poll, whatever the lag and the
// number of partitions and brokers. What one poll brings is bounded too: see
// allowance. Held is what the process really cannot free. A record aliases the
// fetch response that it came in, so one record that waits pins the whole
// response, and the response counts whole until the last of its records is
// settled. Records that were copied out of it count by their arena. What
// decoding made counts as well, or a record with two thousand empty headers
// would weigh nothing.
//
// # The gate
//
// Records come in at one place, the poll, and a poll happens only when all that
// it may bring fits. There is one exception: a partition that has nothing gets a poll
// if all that is held waits for its retry, and is no more than the budget. The client
// fetches one response a broker ahead and then stops by itself, at no cost, so not
// polling is enough.
//
// The rejected design pauses the partitions whose queues are long. The client
// throws away what it has of a paused partition and reads it again later, so a
// slow function reads its topic almost twice. And a pause that reaches the
// client outside of the lock under which it was decided can lose against its
// own resume; then the partition is silent for ever. The engine avoids the
// first by pausing only where the gate alone would starve a lane, and the
// second by reconciling the client's pauses under one lock.
//
// # What is kept
//
// The client allocates a response as soon as its first bytes are there, a
// moment after the one before it was polled, and a response is most of the
// heap. So that is when the collector starts, and with a function that returns
// at once it is a matter of microseconds whether it finds one response alive or
// two. Its goal jumps between the two. After each jump down the runtime gives
// memory back to the system, and after each jump up it gets it again, page by
// page: a twentieth of all CPU, and a quarter with smaller fetches. So the last
// response is kept until the next is polled, if there is room for it. Then the
// collector finds two, and seldom one or three.
//
// # Locks
//
// An Account has no lock. Its owner calls it under the owner's own.
type Account struct {
	budget int64
	held   int64
	fetch  fetchSize
	wire   *Wire

	kept      []*Chunk // responses of the last poll
	keptUntil time.Time
}

// A Chunk is memory that is freed as a whole: bytes, what decoding made of
// them, and the records themselves, which the client allocates by the batch.
type Chunk struct {
	Bytes int64
	// Records is how many of its records are not settled. Once the chunk is
	// held, only Release changes it.
	Records int
	// Anchor is some of the memory, which keeps all of it alive: always for a
	// copy, and for a while for a response.
	Anchor []byte
}

const (
	// KeepFor is how long responses are kept if nothing comes after them.
	KeepFor = 250 * time.Millisecond
	// KeepLeast is the size of responses that matter to the collector, in
	// bytes: it does not start below that.
	KeepLeast = 4 << 20
)

// NewAccount makes an empty account of a budget in bytes.
func NewAccount(budget int64) *Account {
	wire := newWire()
	return &Account{budget: budget, fetch: newFetchSize(wire), wire: wire}
}

// Wire is what the client read for this account.
func (a *Account) Wire() *Wire { return a.wire }

// Budget is how many bytes may be held.
func (a *Account) Budget() int64 { return a.budget }

// SetBudget changes it. What is held already stays.
func (a *Account) SetBudget(bytes int64) { a.budget = bytes }

// Held is how many bytes are held.
func (a *Account) Held() int64 { return a.held }

// Hold counts a chunk as held.
func (a *Account) Hold(c *Chunk) { a.held += c.Bytes }

// Release counts some records of a chunk as settled, and frees the chunk with
// the last of them.
func (a *Account) Release(c *Chunk, records int) {
	c.Records -= records
	if c.Records == 0 {
		a.held -= c.Bytes
	}
}

// Keep keeps the responses of a poll alive for KeepFor, or until the next are
// polled.
func (a *Account) Keep(responses []*Chunk, now time.Time) {
	a.kept, a.keptUntil = responses, now.Add(KeepFor)
}

// KeptUntil is when what is kept is to be forgotten, or zero.
func (a *Account) KeptUntil() time.Time { return a.keptUntil }

// Forget keeps nothing any more.
func (a *Account) Forget() {
	for _, c := range a.kept {
		c.Anchor = nil
	}
	a.kept, a.keptUntil = nil, time.Time{}
}

// Spare is how many bytes are kept of which all records are settled. They are
// not held: they make room.
func (a *Account) Spare() (bytes int64) {
	for _, c := range a.kept {
		if c.Records == 0 {
			bytes += c.Bytes
		}
	}
	return bytes
}

// MakeRoom keeps no more than there is room for beside a poll that may bring
// that many bytes.
func (a *Account) MakeRoom(reserve int64) {
	if a.held+a.Spare()+reserve > a.budget {
		a.Forget()
	}
}

// Admits reports whether a poll that may bring that many bytes fits. A
// sixteenth of the budget is for urgent polls only: those for lanes that run
// out. Something always fits when nothing is held, or a budget smaller than one
// fetch would never begin.
func (a *Account) Admits(reserve int64, urgent bool) bool {
	lastPart := a.budget / 16
	if urgent {
		lastPart = 0
	}
	return a.held == 0 || a.held+reserve <= a.budget-lastPart
}

// Crowded reports whether records that wait should be copied out of their
// response, so that each can be freed alone.
func (a *Account) Crowded() bool { return a.held > a.budget/2 }

// Reserve is how many bytes the next poll may make held. buffered is what the
// client has ready to be polled, with what its records cost.
func (a *Account) Reserve(buffered int64, now time.Time) int64 {
	return a.fetch.reserve(buffered, a.fetch.ready(buffered, now), a.budget)
}

// Allow sets the allowance of the Wire. It is never raised to the reserve,
// which may be far more: the reserve covers what can come uncompressed too, and
// is admitted whatever its size when nothing is held. poll says whether a poll
// is admitted. While none is, there is no room to look at: the next admission
// sees what came meanwhile.
func (a *Account) Allow(poll bool) {
	n := pollLimit(a.budget)
	if poll {
		n = min(n, a.budget-a.held)
	}
	// What decoding makes is not in what the client counts.
	a.wire.allowance.limit.Store(max(1, int64(float64(n)/a.fetch.beside)))
}

// Polled adapts the fetches to what a poll brought: whole is what its responses took as
// they came, and said is what the client said of their records, with what these cost.
// residue is what was held before. It reports whether the client has to be told another
// size.
//
// A copy takes less than its response did, and what nobody wanted takes nothing. But the
// next poll brings responses, so the reserve goes by these.
func (a *Account) Polled(residue, whole, said int64, now time.Time) bool {
	return a.fetch.polled(whole, said, residue, a.held, a.budget, now)
}

// Drained adapts the fetches to what is held after an invocation. It reports
// whether the client has to be told another size.
func (a *Account) Drained(now time.Time) bool {
	return a.fetch.drained(a.held, a.budget, now)
}

// FetchSize is how many bytes the client may ask one broker for at once, and how
// many of those one partition may send.
func (a *Account) FetchSize() (largest, perPartition int32) {
	return a.fetch.max, a.fetch.perPartition
}

// SetLanes says of how many partitions records may come. It reports whether the
// client has to be told another size.
func (a *Account) SetLanes(n int, now time.Time) bool {
	return n != a.fetch.lanes && a.fetch.placed(n, a.budget, now)
}

// SetTakes says how many bytes of records one partition's calls take in a second, one
// after the other; 0 if that is not known. It counts from the next poll on.
func (a *Account) SetTakes(perSecond float64) { a.fetch.takes = perSecond }

// SetNewcomers says whether there are partitions that were added to others and of which
// nothing has come yet: then a fetch brings little of each. It reports whether the client
// has to be told another size.
func (a *Account) SetNewcomers(on bool, now time.Time) bool {
	return a.fetch.welcome(on, a.budget, now)
}

// SetBrokers says how many brokers lead the partitions: one poll brings at most
// one fetch of each.
func (a *Account) SetBrokers(n int) { a.fetch.brokers = max(1, n) }
