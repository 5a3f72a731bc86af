package esm

import (
	"context"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/plan"
)

// A caller calls the function for the engine: it makes the Batch and the context,
// and judges what comes back.
type caller struct {
	invoker Invoker
	watch   *watch
	group   string
	origin  origin
}

// caller is that of a Mapping.
func (m *Mapping) caller() *caller {
	return &caller{invoker: m.invoker, watch: m.watch, group: m.source.Group, origin: origin{m.source.ARN, m.source.Brokers}}
}

// An invocation is what a call of the function gets.
type invocation struct {
	batch Batch // the function's: it may write into it, and keep it
	ctx   callContext
}

// invoke calls the function, and fills in the verdict. It is the only place that
// recovers from the function itself. Whatever does not return is a failure, even
// a panic whose value is nil.
//
// The verdict is made before the call counts as returned, because that runs
// methods of the user's errors, which may panic or exit the goroutine as well:
// see judgement.
func (c *caller) invoke(call *call) {
	in := &invocation{batch: Batch{Records: call.records, Attempt: call.attempt, ID: call.id, Mapping: c.watch.name, Group: c.group, origin: &c.origin}}
	returned, judged := false, false
	defer func() {
		if !judged {
			c.failed(call, &guard.Failure{Goexit: true, Stack: guard.Stack()})
		}
		in.ctx.release()
	}()
	defer func() {
		if !returned {
			r := recover()
			c.failed(call, &guard.Failure{Value: r, Goexit: r == nil, Stack: guard.Stack()})
		}
		judged = true
	}()
	c.watch.called(&in.batch, call.bytes)
	if cause := call.takenAway(); cause != nil {
		// Since it was leased: hooks ran in between, or the whole process stood
		// still.
		call.verdict = plan.Verdict{Outcome: plan.OutcomeAbandoned, Err: cause}
	} else {
		in.ctx.begin(call)
		call.verdict = verdictOf(call, c.invoker.Invoke(&in.ctx, &in.batch))
	}
	returned = true
}

// called tells that a batch is handed over.
func (w *watch) called(b *Batch, bytes int64) {
	hook := func(h *Hooks) func(Invocation) { return h.InvokeStarted }
	if !wanted(w, hook) {
		return
	}
	call := Invocation{Mapping: w.name, BatchID: b.ID, Attempt: b.Attempt, Records: len(b.Records), Bytes: bytes, Outcome: OutcomeRunning, Batch: b}
	for tp := range b.ByPartition() {
		call.Partitions = append(call.Partitions, tp)
	}
	fire(w, hook, call)
}

// failed fills in the verdict of a call that did not return. After a Goexit nothing
// of the user's may run on this goroutine, and nothing does: such an error holds
// none.
func (c *caller) failed(call *call, f *guard.Failure) {
	p := panicked(f)
	call.verdict = verdictOf(call, p)
	if id := call.id; call.verdict.Outcome != plan.OutcomeAbandoned {
		call.after = func() { c.watch.write(func() { c.watch.logPanic(id, p.Error(), p.Stack) }) }
	}
}

// verdictOf makes the verdict of a call that returned err.
func verdictOf(call *call, err error) plan.Verdict {
	v := judge(err, context.Cause(call.ctx))
	if len(v.said) > 0 { // seldom, and an index of all records is expensive
		v.resolve(call.shares())
	}
	v.keep()
	return v.Verdict
}
