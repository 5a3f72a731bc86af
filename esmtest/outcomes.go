package esmtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// errTarget is the plain failure of a target.
var errTarget = errors.New("the target failed")

// A claim is what a target says of a batch: by the error that it returns, or
// by a panic.
type claim struct {
	by     string      // the target, in words
	as     esm.Outcome // what the claim must arrive as
	unless Exemption   // with which it may arrive as a plain failure
}

var (
	failed    = claim{"a target that failed", esm.OutcomeFailure, never}
	panicked  = claim{"a target that panicked", esm.OutcomeFailure, never}
	throttled = claim{"a target that is throttled", esm.OutcomeThrottled, NoThrottle}
	halted    = claim{"a target that says esm.Halt", esm.OutcomeHalt, NoHalt}
	permanent = claim{"a target that says esm.Permanent", esm.OutcomePermanent, NoPermanent}
	tooLarge  = claim{"a target that says esm.TooLarge", esm.OutcomeTooLarge, NoTooLarge}
	partial   = claim{"a target that says esm.Failures", esm.OutcomePartial, NoFailures}
)

// means is what a Mapping makes of an outcome.
var means = map[esm.Outcome]string{
	esm.OutcomeFailure:   "the whole batch would be tried again, and an attempt would count",
	esm.OutcomeThrottled: "the Mapping would wait, and no attempt would count",
	esm.OutcomeHalt:      "the Mapping would halt",
	esm.OutcomePartial:   "records that it does not name would count as handled",
	esm.OutcomeTooLarge:  "the batch would be tried again in halves, and no attempt would count",
	esm.OutcomePermanent: "the records would be given up",
}

// misses says what is wrong with an answer to a target that made this claim,
// if anything is. An exemption allows a plain failure, because that loses
// nothing.
func (c *conformance) misses(said claim, a answer) string {
	switch {
	case a.odd != "":
		return fmt.Sprintf("Invoke of %s %s", said.by, a)
	case a.err == nil:
		return fmt.Sprintf("Invoke of %s returned nil: its records would count as handled", said.by)
	}
	got := esm.Classify(context.Background(), a.err)
	exempt := said.unless != never && c.exempts(said.unless)
	switch {
	case got == said.as, exempt && got == esm.OutcomeFailure:
		return ""
	case exempt && said == halted && got == esm.OutcomeThrottled:
		return "" // it waits until somebody looks, which keeps the records too
	}
	wrong := fmt.Sprintf("Invoke of %s returned an error that is %q for esm.Classify, not %q: %v. With it %s",
		said.by, got, said.as, a.err, means[got])
	if got == esm.OutcomeFailure {
		wrong += fmt.Sprintf(". A wrapper wraps errors with %%w; an Invoker that cannot carry this is tested with esmtest.%s", said.unless)
	}
	return wrong
}

// dropsHint is for whoever misses records.
const dropsHint = ". An Invoker that drops records on purpose, such as a filter, is tested with esmtest.Drops"

// judge says what is wrong with an answer to a target that made this claim if it
// was asked. An Invoker that drops records may have dropped those that the claim
// is of, and succeeds then.
func (c *conformance) judge(said claim, a answer, spoke bool) string {
	switch {
	case spoke || a.err != nil || a.odd != "":
		return c.misses(said, a)
	case c.exempts(Drops):
		return ""
	}
	return fmt.Sprintf("Invoke of %s returned nil without asking it: its records would count as handled%s", said.by, dropsHint)
}

// notTried is the fate of a record after one at which a target stopped, and
// dropped that of one that the target never got.
const (
	notTried = "not tried"
	dropped  = "dropped, and so settled"
)

// fates are what becomes of the records of a batch of which these failed.
func fates(b *esm.Batch, failures []esm.RecordFailure) map[place]string {
	at := map[place]string{}
	stops := map[esm.TopicPartition]int64{}
	for _, f := range failures {
		at[place{f.TopicPartition, f.Offset}] = esm.Classify(context.Background(), f.Err).String()
		if was, twice := stops[f.TopicPartition]; f.Stopped && (!twice || f.Offset < was) {
			stops[f.TopicPartition] = f.Offset
		}
	}
	for _, r := range b.Records {
		p := placeOf(r)
		if stop, stopped := stops[p.TopicPartition]; stopped && r.Offset > stop {
			at[p] = notTried
		} else if at[p] == "" {
			at[p] = esm.OutcomeSuccess.String()
		}
	}
	return at
}

// misnames says what is wrong with the records that an error names, if
// anything is.
func (c *conformance) misnames(b *esm.Batch, said, got []esm.RecordFailure, visits []visit) string {
	if got == nil && c.exempts(NoFailures) {
		return ""
	}
	want, have := fates(b, said), fates(b, got)
	if c.exempts(Drops) {
		arrived := arrivedIn(visits)
		for p, fate := range want {
			if fate == esm.OutcomeSuccess.String() && have[p] != fate && !arrived[p] {
				want[p] = dropped
			}
		}
	}
	var wrong []string
	for p, h := range have {
		w := cmp.Or(want[p], "no record of the batch")
		plain := h == esm.OutcomeFailure.String() &&
			(w == esm.OutcomePermanent.String() && c.exempts(NoPermanent) || w == esm.OutcomeTooLarge.String() && c.exempts(NoTooLarge) ||
				w == notTried && c.exempts(NoStopAt))
		if h != w && !plain {
			wrong = append(wrong, fmt.Sprintf("it makes %q of %s/%d offset %d, which is %q", h, p.Topic, p.Partition, p.offset, w))
		}
	}
	if len(wrong) == 0 {
		return ""
	}
	return fmt.Sprintf("Invoke of %s returned an error that says otherwise: %s", partial.by, slices.Min(wrong))
}

// notSuccess says what is wrong with an answer to a target that succeeded, if
// anything is.
func notSuccess(a answer) string {
	if a.err != nil || a.odd != "" {
		return fmt.Sprintf("Invoke %s, but the target succeeded", a)
	}
	return ""
}

func (c *conformance) outcomeChecks() []check {
	return []check{
		{"a success of the target is nil", c.success},
		{"a failure of the target is a plain failure", c.failure},
		{"a throttle of the target is a throttle", c.throttle},
		{"a halt of the target is a halt", c.halt},
		{"a permanent failure of the target is a permanent failure", c.permanent},
		{"a batch that is too large for the target is too large", c.tooLarge},
		{"a failure of some records is a failure of some records", c.partial},
	}
}

// An opinion is the answer of a target to a batch. It goes by the records, of
// which an Invoker may send some in a call of their own.
type opinion func(b *esm.Batch) error

// ofFirst makes the opinion that plainBatch(0) is this error.
func ofFirst(err error) opinion {
	return func(b *esm.Batch) error {
		if isFirst(b) {
			return err
		}
		return nil
	}
}

// ofSome makes an opinion of what is said of each record.
func ofSome(say func(f *esm.Failures, r *kgo.Record)) opinion {
	return func(b *esm.Batch) error {
		var f esm.Failures
		for _, r := range b.Records {
			say(&f, r)
		}
		return f.Err()
	}
}

// ofOffset makes the opinion that records at an offset fail, with this error.
func ofOffset(offset int64, err error) opinion {
	return ofSome(func(f *esm.Failures, r *kgo.Record) {
		if r.Offset == offset {
			f.Add(r, err)
		}
	})
}

// stopAt makes the opinion that a target stops at an offset.
func stopAt(offset int64, err error) opinion {
	return ofSome(func(f *esm.Failures, r *kgo.Record) {
		if r.Offset == offset {
			f.StopAt(r, err)
		}
	})
}

// then makes an opinion with a changed error.
func (o opinion) then(change func(err error) error) opinion {
	return func(b *esm.Batch) error {
		if err := o(b); err != nil {
			return change(err)
		}
		return nil
	}
}

func wrap(err error) error { return fmt.Errorf("wrapped: %w", err) }

func (o opinion) target(_ context.Context, b *esm.Batch) error { return o(b) }

// carries fails the test unless a claim that is made with each of these
// opinions of a batch arrives.
func (c *conformance) carries(t testing.TB, said claim, b func() *esm.Batch, opinions ...opinion) {
	t.Helper()
	for _, o := range opinions {
		inv := c.invoker(t, o.target)
		a := c.invoke(t, inv, b())
		visits := inv.take()
		spoken := slices.ContainsFunc(visits, func(v visit) bool { return v.err != nil })
		wrong := c.judge(said, a, spoken)
		if wrong == "" && said == partial && (spoken || !c.exempts(Drops)) {
			opinion := o(b())
			if c.exempts(Drops) {
				opinion = saidIn(visits) // of what arrived
			}
			wrong = c.misnames(b(), esm.FailuresOf(opinion), esm.FailuresOf(a.err), visits)
		}
		report(t, wrong)
		// An Invoker may keep to a throttle by itself for a while, and to a
		// halt for good.
		if said != throttled && said != halted {
			c.succeeds(t, inv, plainBatch(1))
		}
	}
}

func firstBatch() *esm.Batch { return plainBatch(0) }

func (c *conformance) success(t testing.TB) {
	got := c.arrivals()
	inv := c.invoker(t, got.target(nil))
	for n := range 3 {
		c.succeeds(t, inv, plainBatch(n))
		got.compare(t, plainBatch(n))
	}
}

func (c *conformance) failure(t testing.TB) {
	inv := c.invoker(t, ofFirst(errTarget).target)
	for range 2 {
		spoken := inv.spoken()
		a := c.invoke(t, inv, plainBatch(0))
		report(t, c.judge(failed, a, inv.spoken() > spoken))
	}
	c.succeeds(t, inv, plainBatch(1))
}

func (c *conformance) throttle(t testing.TB) {
	c.carries(t, throttled, firstBatch,
		ofFirst(esm.Throttled(time.Second, nil)),
		ofFirst(esm.Throttled(0, errTarget)),
		ofFirst(wrap(esm.Throttled(time.Second, errTarget))),
		ofFirst(esm.ErrThrottled),
		// Said of a record it holds for the Mapping, and so for the call.
		ofOffset(1, esm.Throttled(time.Second, nil)),
	)
}

func (c *conformance) halt(t testing.TB) {
	c.carries(t, halted, firstBatch,
		ofFirst(esm.Halt(nil)),
		ofFirst(esm.Halt(errTarget)),
		ofFirst(wrap(esm.Halt(errTarget))),
		ofOffset(1, esm.Halt(nil)),
	)
}

func (c *conformance) permanent(t testing.TB) {
	c.carries(t, permanent, firstBatch,
		ofFirst(esm.Permanent(nil)),
		ofFirst(esm.Permanent(errTarget)),
		ofFirst(wrap(esm.Permanent(errTarget))),
	)
}

func (c *conformance) tooLarge(t testing.TB) {
	c.carries(t, tooLarge, firstBatch,
		ofFirst(esm.TooLarge(nil)),
		ofFirst(esm.TooLarge(errTarget)),
		ofFirst(wrap(esm.TooLarge(errTarget))),
	)
}

func (c *conformance) partial(t testing.TB) {
	c.carries(t, partial, firstBatch,
		ofOffset(1, errTarget),
		ofOffset(1, errTarget).then(wrap),
		ofOffset(1, esm.Permanent(errTarget)),
		ofOffset(1, esm.TooLarge(nil)),
		func(b *esm.Batch) error {
			return errors.Join(ofOffset(0, errTarget)(b), ofOffset(2, esm.Permanent(nil))(b))
		},
		stopAt(0, nil),
		stopAt(1, errTarget),
		// All of them, which is not the same as a failure of the batch.
		ofSome(func(f *esm.Failures, r *kgo.Record) {
			if isFirst(&esm.Batch{Records: []*kgo.Record{r}}) {
				f.Add(r, errTarget)
			}
		}),
	)
	c.carries(t, partial, mixedBatch,
		ofOffset(99, errTarget), // of several partitions
		ofSome(func(f *esm.Failures, r *kgo.Record) {
			switch {
			case r.Topic == "users" && r.Offset == 99:
				f.Add(r, esm.Permanent(errTarget))
			case r.Topic == "orders" && r.Partition == 1 && r.Offset == 100:
				f.StopAt(r, errTarget)
			case r.Topic == "orders-1":
				f.Add(r, errTarget)
			}
		}),
	)
}

// An utterance is a claim with the opinion that makes it.
type utterance struct {
	claim
	opinion
}

// utterances are of an ownBatch, or of its first record. No halt is among
// them, because an Invoker may keep to that.
func utterances() []utterance {
	whole := func(err error) opinion { return func(*esm.Batch) error { return err } }
	return []utterance{
		{failed, whole(errTarget)},
		{throttled, whole(esm.Throttled(time.Second, nil))},
		{permanent, whole(esm.Permanent(nil))},
		{tooLarge, whole(esm.TooLarge(nil))},
		{partial, ofSome(func(f *esm.Failures, r *kgo.Record) {
			if r.Offset%10 == 0 {
				f.Add(r, errTarget)
			}
		})},
	}
}

func (c *conformance) exempts(e Exemption) bool { return slices.Contains(c.exempt, e) }
