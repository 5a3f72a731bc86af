package esmtest

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"testing"
	"weak"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A digest is what a record held when somebody looked at it: its key, value and
// headers, without keeping them.
//
// Where the record stands is there to name it, and is not compared. A client
// that produces a record writes new coordinates into it, which a Mapping bears,
// and it may do so after the call has returned: to read them then would be a data
// race of the test kit. Key, value and headers are only read by a client.
type digest struct {
	at                  place
	key, value, headers uint64
}

var digestSeed = maphash.MakeSeed()

// digestOf looks at a record before a call.
func digestOf(r *kgo.Record) digest {
	d := contentOf(r)
	d.at = placeOf(r)
	return d
}

// contentOf looks at what a record holds, and at nothing else.
func contentOf(r *kgo.Record) digest {
	d := digest{key: hashOf(r.Key), value: hashOf(r.Value)}
	for _, h := range r.Headers {
		d.headers = maphash.Comparable(digestSeed, [3]uint64{d.headers, maphash.String(digestSeed, h.Key), maphash.Bytes(digestSeed, h.Value)})
	}
	return d
}

// hashOf tells nil from empty: a tombstone is not an empty value.
func hashOf(b []byte) uint64 {
	if b == nil {
		return 0
	}
	return maphash.Bytes(digestSeed, b)
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

func digestsOf(records []*kgo.Record) []digest {
	ds := make([]digest, len(records))
	for i, r := range records {
		ds[i] = digestOf(r)
	}
	return ds
}

// digestsAgain looks at what records hold once more.
func digestsAgain(records []*kgo.Record, was []digest) []digest {
	ds := make([]digest, len(records))
	for i, r := range records {
		ds[i] = contentOf(r)
		ds[i].at = was[i].at
	}
	return ds
}

// copying is how to change a part of a record without changing the record.
var copying = map[string]string{
	"key":     "c.Key = bytes.Clone(r.Key)",
	"value":   "c.Value = bytes.Clone(r.Value)",
	"headers": "c.Headers = slices.Clone(r.Headers), and of a header whose value changes that too",
}

// whatChanged says which records are not what they were, how that came about,
// and what to do instead. It is empty if all are.
func whatChanged(was, now []digest, how string) string {
	var first string
	var steps []string
	n := 0
	for i, d := range was {
		parts := d.changed(now[i])
		if len(parts) == 0 {
			continue
		}
		if n++; n > 1 {
			continue
		}
		first = fmt.Sprintf("the %s of %s/%d offset %d", strings.Join(parts, " and the "), d.at.Topic, d.at.Partition, d.at.offset)
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
	return fmt.Sprintf("esmtest: %s %s. Records are read-only: after a failure the same ones come again, with whatever was written into them. Change a copy: c := *r; %s. An Invoker that has a reason to write is given to esmtest.Start with esmtest.MayWrite",
		first, how, strings.Join(steps, "; "))
}

// whileInvoke and afterInvoke are when a record changed.
const (
	whileInvoke = "changed while Invoke had it"
	afterInvoke = "changed after Invoke had returned: something that it left behind writes into it"
)

// A watcher is an Invoker that fails the test if the one behind it writes into
// records.
type watcher struct {
	t    testing.TB
	next esm.Invoker

	mu sync.Mutex
	// failed are records of calls that failed, which come again. It does not keep
	// them: they are large, and some of them may be settled.
	failed map[weak.Pointer[kgo.Record]]digest
	told   int  // how often the test was failed
	over   bool // the test has ended
}

// watched makes a watcher of an Invoker, unless it is exempt, or none, which
// esm.New says better.
func watched(t testing.TB, inv esm.Invoker) esm.Invoker {
	if _, exempt := inv.(mayWrite); exempt || isNil(inv) {
		return inv
	}
	w := &watcher{t: t, next: inv, failed: map[weak.Pointer[kgo.Record]]digest{}}
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
	records := slices.Clone(b.Records) // the slice is the function's, which may sort it
	was := digestsOf(records)
	w.tell(w.meet(records, was))
	returned := false
	// They are looked at when the call is over, however it ended: whatever the
	// function did itself happened before. What it left running may write yet,
	// which is seen when they come again, and by the race detector.
	defer func() {
		now := digestsAgain(records, was)
		w.tell(whatChanged(was, now, whileInvoke))
		if !returned || err != nil {
			w.expect(records, was, now)
		}
	}()
	err = w.next.Invoke(withWatcher(ctx), b)
	returned = true
	return err
}

// expect takes note of records that may come again, as they were. Those that the
// call changed are told of; what the Mapping does with them is its business.
func (w *watcher) expect(records []*kgo.Record, was, now []digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range records {
		if len(was[i].changed(now[i])) == 0 {
			w.failed[weak.Make(r)] = was[i]
		}
	}
}

// meet says what changed of records that come again.
func (w *watcher) meet(records []*kgo.Record, now []digest) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failed) == 0 {
		return ""
	}
	var was, is []digest
	for i, r := range records {
		p := weak.Make(r)
		if d, known := w.failed[p]; known {
			was, is = append(was, d), append(is, now[i])
			delete(w.failed, p)
		}
	}
	return whatChanged(was, is, afterInvoke)
}

// end looks at those that did not come again, after the Mapping was stopped.
func (w *watcher) end() {
	w.mu.Lock()
	var was, now []digest
	for p, d := range w.failed {
		if r := p.Value(); r != nil {
			was, now = append(was, d), append(now, contentOf(r))
		}
	}
	w.mu.Unlock()
	w.tell(whatChanged(was, now, afterInvoke))
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

// MayWrite makes an Invoker that may write into its records, for [Start], [New]
// and [TestInvoker], which fail the test otherwise. It is for one of which it
// makes no difference what comes again after a failure: because it never fails,
// or because it writes the same each time.
func MayWrite(inv esm.Invoker) esm.Invoker {
	if isNil(inv) {
		return inv // which New reports
	}
	return mayWrite{inv}
}

func (m mayWrite) Invoke(ctx context.Context, b *esm.Batch) error {
	return m.Invoker.Invoke(withWatcher(ctx), b)
}
