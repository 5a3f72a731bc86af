package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// fault does what one fault says.
func (w *World) fault(f Fault) {
	w.trace("fault %s", f)
	w.mu.Lock()
	w.faults[f.Kind]++
	w.mu.Unlock()
	cluster := w.kafka.Cluster()
	switch f.Kind {
	case Lose, Unheard, Twice, Late:
		for _, m := range w.of(f) {
			m.net.add(f)
		}
	case Stall:
		for _, m := range w.of(f) {
			m.net.stall(time.Now().Add(time.Duration(f.For)))
		}
	case Silent:
		for _, m := range w.of(f) {
			m.net.each(f.Broker, (*conn).silence)
		}
	case Cut:
		for _, m := range w.of(f) {
			m.net.each(f.Broker, func(c *conn) { _ = c.Close() })
		}
	case Down:
		w.takeDown(f.Broker, 1)
		for _, m := range w.all() {
			m.net.each(f.Broker, func(c *conn) { _ = c.Close() })
		}
		time.Sleep(time.Duration(f.For))
		w.takeDown(f.Broker, -1)
	case Refuse:
		w.refuses(f, true)
		h := cluster.Fault(f.refusal(group))
		time.Sleep(max(time.Duration(f.For), time.Second))
		h.Remove()
		w.refuses(f, false)
	case Lead:
		w.move(f.Topic, f.Partition, f.Broker)
	case Rehash:
		cluster.RehashCoordinators()
	case Shuffle:
		w.shuffle(f)
	case Retain:
		w.retain(f)
	case Grow:
		w.grow(f)
	case Remake:
		w.remake(f)
	case Join:
		w.join(f.Member)
	case Break:
		w.mu.Lock()
		w.breaks++
		w.mu.Unlock()
		time.Sleep(time.Duration(f.For))
		w.mu.Lock()
		w.breaks--
		w.mu.Unlock()
	default:
		if m := w.find(f.Member); m != nil {
			w.happens(f, m)
		}
	}
	if d := time.Duration(f.For); f.Kind != Down && f.Kind != Refuse && f.Kind != Break && d > 0 {
		// What it did to messages goes on meanwhile.
		time.Sleep(time.Until(w.began.Add(time.Duration(f.At)).Add(d)))
	}
}

// happens does what happens to one member.
func (w *World) happens(f Fault, m *member) {
	d := time.Duration(f.For)
	switch f.Kind {
	case Kill:
		m.kill()
	case Forget:
		m.w.forget(m.name)
	case Freeze:
		m.freeze(time.Now().Add(d))
	case Leave:
		m.stop()
	case Restart:
		m.stop()
		time.Sleep(d)
		w.join(f.Member)
	case Pause:
		m.pause(d)
	case Update:
		m.update(f.N)
	case Choke:
		w.mu.Lock()
		m.choked++
		w.mu.Unlock()
		time.Sleep(d)
		w.mu.Lock()
		m.choked--
		w.mu.Unlock()
	default:
		panic(fmt.Sprintf("sim: a fault of kind %q", f.Kind))
	}
}

// of are the members that a fault hits.
func (w *World) of(f Fault) []*member {
	if f.Member == "" {
		return w.all()
	}
	if m := w.find(f.Member); m != nil {
		return []*member{m}
	}
	return nil
}

// attempt notes an error of the world itself.
func (w *World) attempt(err error) {
	if err != nil {
		w.fails("world", "%v", err)
	}
}

func (w *World) takeDown(broker int32, by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down[broker] += by; w.down[broker] < 0 {
		w.down[broker] = 0 // there was peace meanwhile
	}
}

// silence lets nothing more pass.
func (c *conn) silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
}

// shuffle gives all partitions other leaders, by seed.
func (w *World) shuffle(f Fault) {
	for _, t := range w.topics() {
		for n := range w.size(t.Name) {
			node := int32(w.dice.throw("shuffle", uint64(f.At), uint64(n)) % uint64(w.plan.Brokers))
			w.move(t.Name, n, node)
		}
	}
}

func (w *World) size(topic string) int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.partitions(topic)
}

// retain has retention take a partition, but for its last records.
func (w *World) retain(f Fault) {
	tp := esm.TopicPartition{Topic: f.Topic, Partition: f.Partition}
	end := w.kafka.End(f.Topic, f.Partition)
	upTo := end - int64(f.N)
	if upTo <= 0 {
		return
	}
	w.mu.Lock()
	// It is gone before it is, so that who says so first is not wrong.
	w.ledger.now(tp).take(upTo)
	w.mu.Unlock()
	if err := w.kafka.Cluster().DeleteRecords(f.Topic, f.Partition, upTo); !errors.Is(err, kerr.OffsetOutOfRange) { // it was taken already
		w.attempt(err)
	}
}

// grow gives a topic more partitions.
func (w *World) grow(f Fault) {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.addresses...), w.kafka.Dialer())
	if err != nil {
		w.attempt(err)
		return
	}
	defer client.Close()
	ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	was := w.size(f.Topic)
	resp, err := kadm.NewClient(client).CreatePartitions(ctx, f.N, f.Topic)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		w.trace("no partitions: %v", err) // another fault is in the way
		return
	}
	for n := was; n < was+int32(f.N); n++ {
		node := int32(w.dice.throw("grown", uint64(n)) % uint64(w.plan.Brokers))
		w.move(f.Topic, n, node)
	}
	w.resize(f.Topic, was+int32(f.N))
}

func (w *World) resize(topic string, partitions int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	topics := append([]Topic(nil), w.plan.Topics...)
	for i := range topics {
		if topics[i].Name == topic {
			topics[i].Partitions = partitions
		}
	}
	w.plan.Topics = topics
}

// remake deletes a topic and makes one of its name. What was not handled is gone.
func (w *World) remake(f Fault) {
	partitions := w.size(f.Topic)
	w.mu.Lock()
	for at, p := range w.ledger.parts {
		if at.Topic == f.Topic {
			p.take(1 << 60)
		}
	}
	w.ledger.incarnation[f.Topic]++
	w.ledger.remade[f.Topic] = time.Now()
	w.mu.Unlock()
	w.attempt(w.kafka.Cluster().DeleteTopic(f.Topic))
	w.attempt(w.kafka.Cluster().CreateTopic(f.Topic, partitions, nil))
	for n := range partitions {
		node := int32(w.dice.throw("remade", uint64(n)) % uint64(w.plan.Brokers))
		w.move(f.Topic, n, node)
	}
}
