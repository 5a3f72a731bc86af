package esmtest

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// A content is the bytes of a record's key, value and headers as somebody saw
// them, with a digest of them.
//
// What is compared later is these bytes, and not the record: a function that
// stores something else in its record, or forwards it, so that a client writes
// where it stands, does no harm, since a Mapping hands over what Kafka has if the
// record comes again. What is changed in place it cannot see. And nothing of the
// record itself is read after the call: a client may write into it yet, which
// would be a data race of the test kit.
type content struct {
	at         place
	key, value []byte
	headers    [][]byte // their values; strings do not change
	digest     digest
}

type digest struct{ key, value, headers uint64 }

var digestSeed = maphash.MakeSeed()

// look looks at records before a call.
func look(records []*kgo.Record) []content {
	cs := make([]content, len(records))
	for i, r := range records {
		c := &cs[i]
		c.at, c.key, c.value = placeOf(r), r.Key, r.Value
		for _, h := range r.Headers {
			c.headers = append(c.headers, h.Value)
		}
		c.digest = c.now()
	}
	return cs
}

// now is what the bytes are.
func (c *content) now() digest {
	d := digest{key: maphash.Bytes(digestSeed, c.key), value: maphash.Bytes(digestSeed, c.value)}
	for _, h := range c.headers {
		d.headers = maphash.Comparable(digestSeed, [2]uint64{d.headers, maphash.Bytes(digestSeed, h)})
	}
	return d
}

// changed says which parts of a record are not what they were.
func (d digest) changed(now digest) (parts []string) {
	if now.key != d.key {
		parts = append(parts, "key")
	}
	if now.value != d.value {
		parts = append(parts, "value")
	}
	if now.headers != d.headers {
		parts = append(parts, "headers")
	}
	return parts
}

// copying is how to change a part of a record without changing the record.
var copying = map[string]string{
	"key":     "key := bytes.Clone(r.Key)",
	"value":   "value := bytes.Clone(r.Value)",
	"headers": "bytes.Clone of the value of the header",
}

// whatChanged says which records are not what they were, how that came about,
// and what to do instead. It is empty if all are.
func whatChanged(was []content, how string) string {
	var first string
	var steps []string
	n := 0
	for i := range was {
		c := &was[i]
		parts := c.digest.changed(c.now())
		if len(parts) == 0 {
			continue
		}
		if n++; n > 1 {
			continue
		}
		first = fmt.Sprintf("the %s of %s/%d offset %d", strings.Join(parts, " and the "), c.at.Topic, c.at.Partition, c.at.offset)
		for _, p := range parts {
			steps = append(steps, copying[p])
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
	default:
		first += fmt.Sprintf(" (and something of %d more records)", n-1)
	}
	return fmt.Sprintf("esmtest: %s %s. Bytes of records are read-only: after a failure the same ones come again, with whatever was written into them. Change a copy: %s. An Invoker that has a reason to write is given to esmtest.Start with esmtest.MayWrite",
		first, how, strings.Join(steps, "; "))
}

// whatWasReplaced says which record holds something else than it did. A Mapping
// bears that, but a wrapper that calls an Invoker twice with the same records
// does not.
func whatWasReplaced(was []content, records []*kgo.Record) string {
	for i, now := range look(records) {
		c := &was[i]
		var parts []string
		if !bytes.Equal(now.key, c.key) || (now.key == nil) != (c.key == nil) {
			parts = append(parts, "key")
		}
		if !bytes.Equal(now.value, c.value) || (now.value == nil) != (c.value == nil) {
			parts = append(parts, "value")
		}
		if !slices.EqualFunc(now.headers, c.headers, bytes.Equal) {
			parts = append(parts, "headers")
		}
		if len(parts) > 0 {
			return fmt.Sprintf("esmtest: Invoke replaced the %s of %s/%d offset %d: a wrapper may call it again with the same records; change a copy, c := *r", strings.Join(parts, " and the "), c.at.Topic, c.at.Partition, c.at.offset)
		}
	}
	return ""
}

// whileInvoke and afterInvoke are when bytes changed.
const (
	whileInvoke = "changed in place while Invoke had it"
	afterInvoke = "changed in place after Invoke had returned: something that it left behind writes into it"
)

// A watcher is an Invoker that fails the test if the one behind it writes into
// the bytes of records.
type watcher struct {
	t    testing.TB
	next esm.Invoker

	mu sync.Mutex
	// failed are records of calls that failed, which come again, as other
	// kgo.Records with the same bytes.
	failed map[place]digest
	told   int  // how often the test was failed
	over   bool // the test has ended
}

// watched makes a watcher of an Invoker, unless it is exempt, or none, which
// esm.New says better.
func watched(t testing.TB, inv esm.Invoker) esm.Invoker {
	if _, exempt := inv.(mayWrite); exempt || guard.IsNil(inv) {
		return inv
	}
	w := &watcher{t: t, next: inv, failed: map[place]digest{}}
	t.Cleanup(w.end) // after the Mapping was stopped
	return w
}

// mostTold is how often a test is failed for the same mistake.
const mostTold = 3

func (w *watcher) tell(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if why == "" || w.over || w.told == mostTold {
		return
	}
	w.told++
	w.t.Error(why)
}

func (w *watcher) Invoke(ctx context.Context, b *esm.Batch) (err error) {
	was := look(b.Records)
	w.meet(was)
	returned := false
	// They are looked at when the call is over, however it ended: whatever the
	// function did itself happened before. What it left running may write yet,
	// which is seen when they come again, and by the race detector.
	defer func() {
		w.tell(whatChanged(was, whileInvoke))
		if !returned || err != nil {
			w.expect(was)
		}
	}()
	err = w.next.Invoke(withWatcher(ctx), b)
	returned = true
	return err
}

// expect books records that may come again, as they are. Those that the call
// changed were told of.
func (w *watcher) expect(was []content) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range was {
		w.failed[was[i].at] = was[i].now()
	}
}

// meet tells what changed of records that come again.
func (w *watcher) meet(now []content) {
	w.mu.Lock()
	var met []content
	for _, c := range now {
		if d, known := w.failed[c.at]; known {
			c.digest = d
			met = append(met, c)
			delete(w.failed, c.at)
		}
	}
	w.mu.Unlock()
	w.tell(whatChanged(met, afterInvoke))
}

// end is when the test must not be told anything more.
func (w *watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
}

type watcherKey struct{}

// withWatcher tells Invokers behind that somebody looks for what they change, or
// that nobody shall.
func withWatcher(ctx context.Context) context.Context {
	return context.WithValue(ctx, watcherKey{}, true)
}

func hasWatcher(ctx context.Context) bool { return ctx.Value(watcherKey{}) != nil }

type mayWrite struct{ esm.Invoker }

// MayWrite makes an Invoker that may write into the bytes of its records, for
// [Start], [New] and [TestInvoker], which fail the test otherwise. It is for one
// of which it makes no difference what comes again after a failure: because it
// never fails, or because it writes the same each time.
func MayWrite(inv esm.Invoker) esm.Invoker {
	if guard.IsNil(inv) {
		return inv // which New reports
	}
	return mayWrite{inv}
}

func (m mayWrite) Invoke(ctx context.Context, b *esm.Batch) error {
	return m.Invoker.Invoke(withWatcher(ctx), b)
}
