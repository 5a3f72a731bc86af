package esmotel

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
)

// Invoker returns an Invoker that makes a span of each call of next, and records how long it
// took. What next returns is returned as it is, and what does not return does not.
//
// The context that next gets has the span, and all that the Mapping put into it. Put this
// one inside of other Invokers that call theirs more than once, and outside of those that
// are a part of the function.
func (t *Telemetry) Invoker(next esm.Invoker) esm.Invoker {
	if isNil(next) {
		return next // which esm.New reports
	}
	return &invoker{t, next}
}

type invoker struct {
	t    *Telemetry
	next esm.Invoker
}

// Invoke calls the function.
func (i *invoker) Invoke(ctx context.Context, b *esm.Batch) (err error) {
	c := call{t: i.t, batch: b, mapping: b.Mapping, id: b.ID, attempt: b.Attempt, route: i.t.routeOf(b), was: ctx}
	c.begin()
	returned := false
	defer func() { c.end(returned, err) }()
	err = i.next.Invoke(c.ctx, b)
	returned = true
	return err
}

// A call is one that runs.
type call struct {
	t       *Telemetry
	route   *route
	batch   *esm.Batch
	mapping string
	id      string // of the batch, before the function has it
	attempt int

	was, ctx  context.Context // that of the Mapping, and that of the function
	span      trace.Span
	recording bool
	began     time.Time // zero if nobody wants to know
	// stretches are what the batch has of each partition. They are there for a span that
	// is recorded, and where something is remembered. The function may write into records,
	// so they are looked at before.
	stretches []stretch
}

// begin begins the span and the clock.
func (c *call) begin() {
	t := c.t
	opts := c.route.start
	var links []trace.Link
	cut := false
	if t.early {
		quietly("read the headers of a batch", func() { links, cut = t.producers(c.batch.Records, t.maxLinks) })
		opts = append(opts[:len(opts):len(opts)], trace.WithLinks(links...))
	}
	c.ctx, c.span = t.start(c.was, c.route.name, opts...)
	quietly("begin a span", func() {
		c.recording = c.span.IsRecording()
		if c.recording || t.attempts.many.Load() > 0 {
			c.stretches = stretchesOf(c.batch)
		}
		earlier := t.attempts.meet(c.mapping, c.stretches)
		if c.recording {
			if !t.early {
				links, cut = t.producers(c.batch.Records, t.maxLinks)
			}
			c.describe(links, cut, earlier)
		}
		if t.durations.Enabled(c.ctx) {
			c.began = time.Now()
		}
	})
	c.ctx = passing(c.was, c.ctx)
}

// describe says in a span what is called.
func (c *call) describe(links []trace.Link, cut bool, earlier []attempt) {
	b := c.batch
	attributes := make([]attribute.KeyValue, 0, 8)
	attributes = append(attributes, semconv.MessagingBatchMessageCount(len(b.Records)), attemptKey.Int(c.attempt), batchKey.String(clean(c.id, maxName)),
		partitionCountKey.Int(len(c.stretches)))
	if len(c.stretches) == 1 {
		s := c.stretches[0]
		attributes = append(attributes, semconv.MessagingDestinationPartitionID(strconv.Itoa(int(s.Partition))), firstOffsetKey.Int64(s.first), lastOffsetKey.Int64(s.last))
	}
	earlier = distinct(earlier)
	if !c.t.early { // those are there already
		if room := max(0, c.t.maxLinks-len(earlier)); len(links) > room {
			links, cut = links[:room], true
		}
		for _, l := range links {
			c.span.AddLink(l)
		}
	}
	for _, a := range earlier { // last: an SDK whose limit is lower drops the first ones
		about := []attribute.KeyValue{attemptKey.Int(a.number), batchKey.String(clean(a.batch, maxName)), outcomeKey.String(word(a.ending))}
		c.span.AddLink(trace.Link{SpanContext: a.span, Attributes: append(about, linkKey.String(earlierAttempt))})
		c.span.AddEvent("esm.retry", trace.WithAttributes(append(about, waitKey.Float64(time.Since(a.ended).Seconds()))...))
	}
	if cut {
		attributes = append(attributes, cutKey.Bool(true))
	}
	c.span.SetAttributes(attributes...)
}

// earlierAttempt is what a link is to, if it is not to a producer.
const earlierAttempt = "earlier attempt"

// maxEarlier is how many earlier attempts a span is linked to: a batch of many partitions
// may have as many.
const maxEarlier = 16

// distinct returns attempts of different spans.
func distinct(attempts []attempt) (few []attempt) {
	for _, a := range attempts {
		if len(few) < maxEarlier && !slices.ContainsFunc(few, func(b attempt) bool { return idOf(a.span) == idOf(b.span) }) {
			few = append(few, a)
		}
	}
	return few
}

// stretchesOf is what a batch has of each partition.
func stretchesOf(b *esm.Batch) (all []stretch) {
	for tp, records := range b.ByPartition() {
		s := stretch{lane{b.Group, tp}, records[0].Offset, records[0].Offset}
		for _, r := range records[1:] {
			s.first, s.last = min(s.first, r.Offset), max(s.last, r.Offset)
		}
		all = append(all, s)
	}
	return all
}

// end ends the span with what became of the call. It is called where a panic or a Goexit
// goes by, and stops neither.
func (c *call) end(returned bool, err error) {
	if !c.recording && c.began.IsZero() && len(c.stretches) == 0 {
		quietly("end a span", func() { c.span.End() })
		return
	}
	var took time.Duration
	if !c.began.IsZero() {
		took = time.Since(c.began)
	}
	quietly("judge a call", func() {
		ending := endingOf(c.was, returned, err)
		if !c.began.IsZero() {
			c.t.durations.Record(c.ctx, took.Seconds(), c.route.ending(ending)...)
		}
		if c.recording {
			c.conclude(ending, returned, err)
		}
		c.remember(ending, err)
	})
	quietly("end a span", func() { c.span.End() })
}

// endingOf says what became of a call.
func endingOf(ctx context.Context, returned bool, err error) int {
	if !returned {
		return unreturned()
	}
	if ending := int(esm.Classify(ctx, err)); ending >= 0 && ending < endings {
		return ending
	}
	return int(esm.OutcomeFailure)
}

// unreturned says whether the goroutine panics or exits. To recover would tell, too, but would
// stop a panic whose value is nil, and make a success of it.
func unreturned() int {
	var callers [64]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	for {
		f, more := frames.Next()
		if f.Function == "runtime.Goexit" {
			return goexited
		}
		if f.Function == "runtime.gopanic" || !more {
			return panicked
		}
	}
}

// conclude says in a span what became of the call.
func (c *call) conclude(ending int, returned bool, err error) {
	c.span.SetAttributes(outcomeKey.String(word(ending)))
	if ending == int(esm.OutcomeSuccess) {
		return
	}
	c.span.SetAttributes(semconv.ErrorTypeKey.String(word(ending)))
	if !returned {
		c.span.SetStatus(codes.Error, "the function did not return: "+word(ending))
		return
	}
	text := exception(c.span, err)
	if ending != int(esm.OutcomeAbandoned) { // that is nobody's fault
		c.span.SetStatus(codes.Error, text)
	}
	if n := len(esm.FailuresOf(err)); n > 0 {
		c.span.SetAttributes(failedCountKey.Int(n))
	}
}

// exception makes an event of an error, and returns what it says.
func exception(span trace.Span, err error) string {
	text := textOf(err)
	span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(
		semconv.ExceptionType(clean(fmt.Sprintf("%T", err), maxName)), semconv.ExceptionMessage(text)))
	return text
}

// remember notes what comes again, with the span that a retry is linked to, and forgets what
// does not.
func (c *call) remember(ending int, err error) {
	of := c.span.SpanContext()
	switch ending {
	case int(esm.OutcomeSuccess):
		c.t.attempts.settled(c.mapping, c.stretches)
		return
	case int(esm.OutcomeAbandoned):
		return // it may be that nothing of it comes again here
	case int(esm.OutcomePartial):
		var done []stretch
		c.stretches, done = split(c.stretches, esm.FailuresOf(err))
		c.t.attempts.settled(c.mapping, done)
	}
	if c.recording && of.IsSampled() {
		c.t.attempts.failed(c.mapping, c.stretches, attempt{span: of, batch: c.id, number: c.attempt, ending: ending, ended: time.Now()})
	}
}

// split parts the stretches in which records failed from the others. A function that wrote
// another partition into a record may have named that one: then all are taken to have failed.
func split(stretches []stretch, failures []esm.RecordFailure) (bad, good []stretch) {
	left := map[esm.TopicPartition]bool{}
	for _, f := range failures {
		left[f.TopicPartition] = true
	}
	named := len(left)
	for _, s := range stretches {
		if left[s.TopicPartition] {
			bad, named = append(bad, s), named-1
		} else {
			good = append(good, s)
		}
	}
	if named != 0 {
		return stretches, nil
	}
	return bad, good
}
