package esmtest

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// dropChecks are what is asked of an Invoker that drops records, besides.
func (c *conformance) dropChecks() []check {
	if !c.exempts(Drops) {
		return nil
	}
	return []check{
		{"some records of a batch get through", c.getThrough},
		{"what is dropped is settled", c.dropsSettle},
		{"what failed is not dropped when it comes again", c.failedComesAgain},
	}
}

// arrivedIn are the records that a target got.
func arrivedIn(visits []visit) map[place]bool {
	arrived := map[place]bool{}
	for _, v := range visits {
		for _, r := range v.batch.Records {
			arrived[placeOf(r)] = true
		}
	}
	return arrived
}

// saidIn is all that a target said.
func saidIn(visits []visit) error {
	var said []error
	for _, v := range visits {
		said = append(said, v.err)
	}
	return errors.Join(said...)
}

// settledIn are the records that a target was done with.
func settledIn(visits []visit) map[place]bool {
	settled := map[place]bool{}
	for _, v := range visits {
		for _, r := range esm.SettledOf(context.Background(), v.batch, v.err) {
			settled[placeOf(r)] = true
		}
	}
	return settled
}

// someBatches are those of which some records must get through, because checks
// need them.
func someBatches() []*esm.Batch {
	return []*esm.Batch{plainBatch(0), plainBatch(1), plainBatch(2), mixedBatch()}
}

func (c *conformance) getThrough(t testing.TB) {
	for _, b := range someBatches() {
		inv := c.invoker(t, func(context.Context, *esm.Batch) error { return nil })
		n := len(b.Records)
		c.succeeds(t, inv, b)
		if len(arrivedIn(inv.take())) == 0 {
			t.Errorf("all %d records of the batch %q were dropped. TestInvoker proves nothing of an Invoker that drops all: make one that lets some of them through (see esmtest.Drops)", n, b.ID)
		}
	}
}

// dropsSettle asks that an Invoker succeeds with what it drops, and with nothing
// else: beside others, alone, and when it comes again.
func (c *conformance) dropsSettle(t testing.TB) {
	inv := c.invoker(t, func(context.Context, *esm.Batch) error { return nil })
	for i, b := range someBatches() {
		c.succeeds(t, inv, b)
		arrived := arrivedIn(inv.take())
		again := someBatches()[i]
		c.succeeds(t, inv, again)
		alone := someBatches()[i]
		alone.Records = slices.DeleteFunc(alone.Records, func(r *kgo.Record) bool { return arrived[placeOf(r)] })
		if len(alone.Records) > 0 {
			c.succeeds(t, inv, alone)
		}
		inv.take()
	}
}

// failedComesAgain asks that whatever reached the target and is not done with
// reaches it again.
func (c *conformance) failedComesAgain(t testing.TB) {
	for _, o := range []opinion{
		ofFirst(errTarget),
		ofFirst(esm.Throttled(0, nil)),
		ofFirst(esm.TooLarge(nil)),
		ofFirst(esm.Permanent(nil)),
		func(*esm.Batch) error { panic("the target panics, as this test wants it to") },
		ofOffset(0, errTarget), ofOffset(1, errTarget), ofOffset(2, errTarget),
		stopAt(0, nil), stopAt(1, errTarget),
	} {
		var well atomic.Bool
		inv := c.invoker(t, func(_ context.Context, b *esm.Batch) error {
			if well.Load() {
				return nil
			}
			return o(b)
		})
		c.invoke(t, inv, plainBatch(0)) // and what that says of it, others ask
		visits := inv.take()
		owed := arrivedIn(visits)
		for p := range settledIn(visits) {
			delete(owed, p)
		}
		well.Store(true)
		again := plainBatch(0)
		again.Attempt, again.ID = 2, "conformance-again"
		a := c.invoke(t, inv, again)
		if a.odd != "" {
			continue // which is a failure
		}
		handled := settledIn(inv.take())
		for _, r := range esm.SettledOf(t.Context(), plainBatch(0), a.err) {
			if p := placeOf(r); owed[p] && !handled[p] {
				t.Errorf("%s/%d offset %d failed, and was dropped when it came again: it would be lost", p.Topic, p.Partition, p.offset)
				break
			}
		}
	}
}
