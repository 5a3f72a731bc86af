package memory

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// A broker of the model has one partition, and one response on its way or ready
// to be polled, as the client sees it.
type broker struct {
	number int32
	asked  int32 // how much the fetch under way may bring
	ready  *response
}

type response struct {
	said, cost int64 // what the client says of its records, and what they cost
	records    int
	whole      bool // the client hands it over: until then it does not count in what it has ready
	// excess is how much of it may come beyond the budget: one batch, or all of
	// it if it is not compressed, because then nothing can be refused.
	excess int64
}

// A model is a client, its brokers, and a function that settles what was polled.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	seed    uint64
	account *Account
	now     time.Time
	brokers []*broker
	held    []*Chunk

	batch   int64 // bytes of a batch once decompressed
	factor  int64 // how far it compresses, 0 for not at all
	records int64 // of a batch
	decoded float64

	polls   int
	refused int
}

// fetch has a broker answer the fetch that it was sent.
func (m *model) fetch(b *broker) {
	w, id := m.account.Wire(), partition.ID{Topic: "orders", Partition: b.number}
	packed := m.batch
	if m.factor > 0 {
		packed = max(1, m.batch/m.factor)
	}
	n := max(1, int64(b.asked)/packed) // the first comes whatever its size
	w.Response(b.number, int(n*packed))
	r := &response{}
	for range n {
		if m.factor > 0 && w.Refuses() {
			w.Batch(Batch{ID: id, Broker: b.number, Packed: packed, Unread: true})
			m.refused++
			break
		}
		cost := m.batch + m.records*recordCost
		w.Batch(Batch{ID: id, Broker: b.number, Packed: packed, Unpacked: m.batch, Cost: cost})
		r.said += cost
		r.cost += int64(float64(cost) * m.decoded)
		r.records += int(m.records)
		r.excess = int64(float64(cost) * m.decoded)
	}
	if m.factor == 0 {
		r.excess = r.cost
	}
	b.ready = r
}

// buffered is what the client says that it has ready.
func (m *model) buffered() (n int64) {
	for _, b := range m.brokers {
		if b.ready != nil && b.ready.whole {
			n += b.ready.said
		}
	}
	return n
}

// step admits a poll or does not, has some brokers answer, and hands over what
// is ready.
func (m *model) step() {
	a := m.account
	for _, b := range m.brokers {
		if b.ready != nil {
			b.ready.whole = true // by now
		}
	}
	reserve := a.Reserve(m.buffered(), m.now)
	a.MakeRoom(reserve)
	poll := a.Admits(reserve, m.rng.IntN(2) == 0)
	a.Allow(poll)
	for _, b := range m.brokers {
		if b.ready == nil && m.rng.IntN(3) > 0 {
			m.fetch(b)
			b.ready.whole = m.rng.IntN(2) == 0
		}
	}
	if !poll {
		return
	}
	w := a.Wire()
	w.Polling()
	a.Forget()
	residue, whole, said, brought := a.Held(), int64(0), int64(0), []partition.ID{}
	most := max(a.Budget(), reserve)
	unwanted := m.rng.IntN(10) == 0 // a revoke has all of it thrown away
	var kept []*Chunk
	for _, b := range m.brokers {
		r := b.ready
		if r == nil || !r.whole {
			continue
		}
		brought = append(brought, partition.ID{Topic: "orders", Partition: b.number})
		most += r.excess
		said, whole = said+r.said, whole+r.cost
		if r.records > 0 && !unwanted {
			c := &Chunk{Bytes: r.cost, Records: r.records}
			if m.rng.IntN(2) == 0 { // it was copied, without what decoding made
				c.Bytes = r.said
			}
			a.Hold(c)
			m.held, kept = append(m.held, c), append(kept, c)
		}
		b.ready = nil
	}
	w.Polled(slices.Values(brought), m.now)
	a.Polled(residue, whole, said, m.now)
	a.Keep(kept, m.now)
	if len(kept) > 0 {
		m.polls++
	}
	for _, b := range m.brokers {
		if b.ready == nil {
			b.asked, _ = a.FetchSize()
		}
	}
	if a.Held() > most {
		m.t.Fatalf("seed %d: %d bytes are held after poll %d, and at most %d may be, of a budget of %d and a reserve of %d",
			m.seed, a.Held(), m.polls, most, a.Budget(), reserve)
	}
}

// settle has the function deal with some of what is held.
func (m *model) settle(share int) {
	for _, c := range m.held {
		if n := m.rng.IntN(c.Records + 1); m.rng.IntN(share) == 0 {
			m.account.Release(c, n)
		}
	}
	m.held = slices.DeleteFunc(m.held, func(c *Chunk) bool { return c.Records == 0 })
	m.account.Drained(m.now)
}

// TestHeldStaysWithinTheBudget whatever the brokers send, and though it may
// compress a thousandfold from one batch to the next: but for one batch of each
// broker. It also has to go on: no surprise stops the polls.
func TestHeldStaysWithinTheBudget(t *testing.T) {
	refused := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 15))
		m := &model{t: t, rng: rng, seed: seed, account: NewAccount(int64(1<<20) << rng.IntN(8)), now: time.Unix(1_000_000, 0)}
		for i := range 1 + rng.IntN(8) {
			b := &broker{number: int32(i)}
			b.asked, _ = m.account.FetchSize()
			m.brokers = append(m.brokers, b)
		}
		m.account.SetBrokers(len(m.brokers))
		m.decoded = 1 + rng.Float64()/10
		share := 1 + rng.IntN(4)
		for range 4 {
			m.batch, m.records = 20_000+rng.Int64N(200_000), 1+rng.Int64N(200)
			m.factor = []int64{0, 1, 10, 1000}[rng.IntN(4)]
			polls := m.polls
			for range 100 {
				m.now = m.now.Add(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
				m.settle(share)
				m.step()
			}
			if m.polls == polls {
				t.Fatalf("seed %d: nothing was polled in 100 steps, with %d bytes held of %d", seed, m.account.Held(), m.account.Budget())
			}
		}
		for range 1000 {
			m.settle(1)
		}
		if m.account.Held() != 0 || len(m.held) != 0 {
			t.Fatalf("seed %d: %d bytes are held, and nothing waits", seed, m.account.Held())
		}
		refused += m.refused
	}
	if refused == 0 {
		t.Error("no batch was refused: this is not the case that is meant")
	}
}
