package esmprom

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/scaling"
)

// leftOut has what is not exported on purpose, and why.
var leftOut = map[string]string{
	"Stats.At":                         "it is the time of the scrape",
	"Stats.ScaleReason.Lag":            "of the lag as a whole there is esm_offset_lag",
	"Stats.ScaleReason.Partitions":     "it means another thing with each cause",
	"Stats.ScaleReason.Wanted":         "it is 0 with most causes, whatever is wanted",
	"Stats.ScaleReason.Allowed":        "it is 0 with most causes, whatever is allowed",
	"Stats.ScaleReason.Limit":          "the cause itself says so when it lasts",
	"Stats.ScaleReason.SlotRate":       "it is 0 with most causes; rates are made of counters",
	"Stats.ScaleReason.Calls":          "it means another thing with each cause",
	"Stats.ScaleReason.Of":             "it means another thing with each cause",
	"Stats.ScaleReason.CallTime":       "it is in the histogram of invocations",
	"Stats.ScaleReason.BestTime":       "it is in the histogram of invocations",
	"Stats.ScaleReason.BusySlots":      "it is esm_busy_slots",
	"Stats.ScaleReason.NeededByteRate": "it is advice, which is in the log and in State",
	"Stats.ScaleReason.NeededMemory":   "it is advice, which is in the log and in State",
	"Stats.ScaleReason.Left":           "it is over in a minute",
	"Stats.InvokeDuration":             "it is a mean of what is in the histogram",

	"State.Mapping":    "it is the label, from Add on",
	"State.From":       "a scrape sees it itself",
	"State.Since":      "a scrape sees it itself",
	"State.Reason":     "it is text",
	"State.LastResult": "it is text; the counters of invocations say how many failed",
	"State.Phase":      "it is that of Stats",

	"PartitionStats.State":       "it changes many times a second: what lasts is in Blocker",
	"PartitionStats.Frontier":    "it is the end less the lag",
	"PartitionStats.Position":    "what is in memory of all partitions is esm_held_bytes",
	"PartitionStats.Queued":      "what is in memory of all partitions is esm_held_bytes",
	"PartitionStats.QueuedBytes": "what is in memory of all partitions is esm_held_bytes",
	"PartitionStats.InFlight":    "what is in flight of all partitions is esm_busy_slots",
	"PartitionStats.BatchID":     "it is text",
	"PartitionStats.Since":       "it changes many times a second",
}

// TestEachFieldIsExportedOrLeftOutForAReason sets one field at a time, and looks whether
// that changes a sample.
func TestEachFieldIsExportedOrLeftOutForAReason(t *testing.T) {
	found := map[string]bool{}
	look := func(name string, before, after view) {
		found[name] = true
		_, left := leftOut[name]
		if changes := !maps.Equal(shown(before), shown(after)); changes == left {
			t.Errorf("%s is exported: %v, and left out for a reason (leftOut): %v", name, changes, left)
		}
	}
	each(reflect.TypeFor[esm.Stats](), nil, "Stats", func(name string, index []int) {
		var v view
		poke(reflect.ValueOf(&v.stats).Elem().FieldByIndex(index))
		look(name, view{}, v)
	})
	each(reflect.TypeFor[esm.State](), nil, "State", func(name string, index []int) {
		var v view
		poke(reflect.ValueOf(&v.state).Elem().FieldByIndex(index))
		look(name, view{}, v)
	})
	each(reflect.TypeFor[esm.PartitionStats](), nil, "PartitionStats", func(name string, index []int) {
		before := esm.PartitionStats{Committed: -1, Frontier: -1, Position: -1, End: -1, LagKnown: name != "PartitionStats.LagKnown"}
		after := before
		poke(reflect.ValueOf(&after).Elem().FieldByIndex(index))
		look(name, view{partitions: []esm.PartitionStats{before}}, view{partitions: []esm.PartitionStats{after}})
	})
	for name := range leftOut {
		if !found[name] {
			t.Errorf("%s is left out, and there is none", name)
		}
	}
	for _, name := range []string{"Stats.MemoryLimited", "Stats.OffsetLag", "Stats.ScaleReason.Cause", "Stats.InvokeDurations.Seconds", "State.Problems", "PartitionStats.Blocker"} {
		if !found[name] {
			t.Errorf("%s was not looked at: %q", name, slices.Sorted(maps.Keys(found)))
		}
	}
}

// each shows the fields of a struct, and those of structs in it whose fields are exported.
func each(of reflect.Type, at []int, name string, show func(name string, index []int)) {
	for i := range of.NumField() {
		f := of.Field(i)
		index := append(slices.Clone(at), i)
		opens := f.Type.Kind() == reflect.Struct
		for n := 0; opens && n < f.Type.NumField(); n++ {
			opens = f.Type.Field(n).IsExported()
		}
		switch {
		case f.Anonymous:
			each(f.Type, index, name, show)
		case opens:
			each(f.Type, index, name+"."+f.Name, show)
		default:
			show(name+"."+f.Name, index)
		}
	}
}

// poke makes of a value one that is not the zero value, the fields that nobody else can set
// too.
func poke(v reflect.Value) {
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	switch moment := reflect.ValueOf(time.Unix(1e9, 0)); {
	case v.Type() == moment.Type():
		v.Set(moment)
	case v.Type() == reflect.TypeFor[error]():
		v.Set(reflect.ValueOf(errors.New("no")))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			poke(v.Field(i))
		}
	case v.Kind() == reflect.Array:
		poke(v.Index(0))
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		poke(v.Index(0))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		poke(v.Elem())
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(1_000_000_001)
		if v.Type() == reflect.TypeFor[scaling.Cause]() || v.Type() == reflect.TypeFor[esm.Phase]() || v.Kind() == reflect.Int8 {
			v.SetInt(2)
		}
	case v.CanUint():
		v.SetUint(1)
	case v.CanFloat():
		v.SetFloat(1.5)
	case v.Kind() == reflect.String:
		v.SetString("commit")
	default:
		panic(fmt.Sprintf("a field is a %s", v.Type()))
	}
}

// shown has the value of each sample of a view, by its name and labels.
func shown(v view) map[string]string {
	to := sheet{label: "m"}
	var t tally
	t.count(&v.stats)
	t.show(&to)
	v.show(&to)
	found := map[string]string{}
	for _, m := range to.samples {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			panic(err)
		}
		labels := fmt.Sprint(d.GetLabel())
		d.Label = nil
		found[m.Desc().String()+labels] = d.String()
	}
	return found
}

// TestEachValueOfAnEnumIsShown: what is new among them must be shown, too.
func TestEachValueOfAnEnumIsShown(t *testing.T) {
	if p := esm.PhaseStopped + 1; !strings.HasPrefix(p.String(), "Phase(") {
		t.Errorf("the phase %s is not shown", p)
	}
	if c := scaling.Cadence + 1; !strings.HasPrefix(c.String(), "Cause(") {
		t.Errorf("the cause %s is not shown", c)
	}
	to := sheet{label: "m"}
	(&view{stats: esm.Stats{Phase: 99, ScaleReason: scaling.Reason{Cause: -1}}}).showSets(&to)
	if len(to.samples) != 7+19+len(kinds) {
		t.Errorf("%d samples", len(to.samples))
	}
}

func TestKindsOfProblemsHaveNoNames(t *testing.T) {
	for with, want := range map[string]string{
		"connection to host:9092": "connection", "group": "group", "commit": "commit", "commit metadata": "commit", "topic orders": "topic", "topic orders partition 3": "topic",
		"end of topic orders": "topic", "start of topic orders": "topic", "client": "client", "start": "start", "function": "function",
		"destination": "destination", "hooks": "hooks", "log": "log", "lag": "lag", "what comes next year": "other", "": "other", "connection": "connection",
		"topic group": "topic",
	} {
		if got := kindOf(with); got != want || !slices.Contains(kinds[:], got) {
			t.Errorf("%q is of kind %q, not %q", with, got, want)
		}
	}
}

// TestATotalNeverFalls, not even where a Mapping begins again.
func TestATotalNeverFalls(t *testing.T) {
	var n total
	for i, step := range []struct {
		now, want float64
	}{{5, 5}, {5, 5}, {7, 7}, {2, 9}, {0, 9}, {3, 12}, {3.5, 12.5}, {-1, 12.5}} {
		if n.count(step.now); n.all != step.want {
			t.Errorf("step %d: %v, not %v", i, n.all, step.want)
		}
	}
}

// TestOfFewRemovedNamesTheCountIsKept: a host that makes Mappings for ever, each of a new
// name, grows by none of them.
func TestOfFewRemovedNamesTheCountIsKept(t *testing.T) {
	c := New()
	for i := range 3 * mostGone {
		m, err := esm.New(esm.Source{Brokers: []string{"kafka.test:9092"}, Topics: []string{"orders"}, Group: "billing"},
			esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), esm.WithName(fmt.Sprint(i)))
		if err == nil {
			err = c.Add(m)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Remove(m)
	}
	if len(c.gone) != mostGone || c.gone[0].label != fmt.Sprint(2*mostGone) || len(c.live) != 0 {
		t.Errorf("%d are kept", len(c.gone))
	}
}

func TestASampleThatCannotBeMadeFailsNoOther(t *testing.T) {
	to := sheet{label: "m"}
	to.add(phase, prometheus.GaugeValue, 1, "\xff")
	to.add(phase, prometheus.GaugeValue, 1, "new")
	if len(to.samples) != 1 {
		t.Errorf("%d samples", len(to.samples))
	}
}
