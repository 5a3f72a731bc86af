package esmtest

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// Check is a check of [TestInvoker] that can be watched while it fails.
type Check struct {
	Name string
	Run  func(t testing.TB)
}

// Checks are the checks of [TestInvoker], with less patience.
func Checks(newInvoker func(t testing.TB, target esm.InvokerFunc) esm.Invoker, exemptions ...Exemption) (cs []Check) {
	c := &conformance{newInvoker: newInvoker, exempt: exemptions, soon: 500 * time.Millisecond, patience: 2 * time.Second, moment: 20 * time.Millisecond}
	for _, check := range c.checks() {
		cs = append(cs, Check{check.name, check.run})
	}
	return cs
}

// Impatient lets the watch of clocks judge soon.
func Impatient() { clocks.interval, clocks.patience = 50*time.Millisecond, 10 }

// HandlersHave is how long handlers may go on after their server was closed, in
// real time, until it is undone.
func HandlersHave(d time.Duration) (undo func()) {
	was := patienceWithHandlers
	patienceWithHandlers = d
	return func() { patienceWithHandlers = was }
}

// Watched is what [New] makes of an Invoker.
func Watched(t testing.TB, inv esm.Invoker) esm.Invoker { return watched(t, inv) }

// Forecast is the plan of a [Storm].
func Forecast(seed uint64, records []*kgo.Record) string { return newForecast(seed, records).String() }

// StormStandsStill is for how long nothing may get on in a [Storm], until it is
// undone.
func StormStandsStill(d time.Duration) (undo func()) {
	was := mostStill
	mostStill = d
	return func() { mostStill = was }
}

// CalmStorm is a Storm in which nothing happens.
func CalmStorm(t testing.TB, seed uint64, records []*kgo.Record, newInvoker func() esm.Invoker) *StormReport {
	return storm(t, seed, records, newInvoker, nil, func(f *forecast) { clear(f.fates) })
}
