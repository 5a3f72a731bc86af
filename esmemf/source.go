package esmemf

import (
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm"
)

// A source is a Mapping, and what was written of it.
type source struct {
	mapping *esm.Mapping
	subject Subject     // of Metrics.mu
	ended   atomic.Bool // it was seen that it has stopped
	whole   atomic.Bool // and all was written

	// What follows is of Metrics.slot.

	last   esm.Stats // what it had counted by the last line
	minute time.Time // of the last line with what is of the moment
}

// ends reports whether it has stopped, and remembers it.
func (s *source) ends() bool {
	if stopped(s.mapping) {
		s.ended.Store(true)
	}
	return s.ended.Load()
}

// line makes the next line of a Mapping, nil if there is nothing to say, and what is to be
// called when it was written.
func (s *source) line(namespace string, subject *Subject) (line []byte, settle func()) {
	end := stopped(s.mapping) // first: then the Stats are the last
	works := s.mapping.Ready() == nil
	now, set := s.mapping.Stats(), s.mapping.Settings()
	lag, known := now.OffsetLag.Sum()
	minute := now.At.Truncate(every)
	moment := !minute.Equal(s.minute)
	settle = func() {
		s.last = now
		if moment && (works || known) {
			s.minute = minute
		}
		s.whole.Store(end)
	}

	f := newForm(namespace)
	was := &s.last
	count := func(d *directive, name, unit string, now, was int64, always bool) {
		if now < was { // it was started again, after a Start that failed
			was = 0
		}
		if now > was || always {
			f.put(d, name, unit, now-was)
		}
	}
	d := &f.mapping
	count(d, "PolledEventCount", "Count", now.PolledEventCount, was.PolledEventCount, works && moment)
	count(d, "InvokedEventCount", "Count", now.InvokedEventCount, was.InvokedEventCount, false)
	count(d, "FailedInvokeEventCount", "Count", now.FailedInvokeEventCount, was.FailedInvokeEventCount, false)
	count(d, "DroppedEventCount", "Count", now.DroppedEventCount, was.DroppedEventCount, false)
	count(d, "OnFailureDestinationDeliveredEventCount", "Count", now.OnFailureDestinationDeliveredEventCount, was.OnFailureDestinationDeliveredEventCount, false)
	count(d, "CommittedEventCount", "Count", now.CommittedEventCount, was.CommittedEventCount, false)
	count(d, "InvokeErrorCount", "Count", now.InvokeErrorCount, was.InvokeErrorCount, false)
	count(d, "OnFailureDestinationDeliveryErrorCount", "Count", now.DeliveryFailureCount, was.DeliveryFailureCount, false)
	count(d, "PollingErrorCount", "Count", now.PollingErrorCount, was.PollingErrorCount, false)
	count(d, "CommitErrorCount", "Count", now.CommitErrorCount, was.CommitErrorCount, false)
	if !set.OnDemand { // AWS has no pollers to show there
		count(d, "EventPollerThroughputInBytes", "Bytes", now.PolledByteCount, was.PolledByteCount, works && moment)
	}
	if works && moment && !set.OnDemand {
		f.put(d, "ProvisionedPollers", "Count", int64(now.ProvisionedPollers))
		f.put(d, "EventPollerUnit", "Count", int64(now.EventPollerUnits))
	}
	if most, _ := now.OffsetLag.Max(); known && moment {
		f.put(d, "SumOffsetLag", "Count", lag)
		f.put(d, "MaxOffsetLag", "Count", most)
	}
	if subject.FunctionName != "" {
		d := &f.function
		count(d, "DestinationDeliveryFailures", "Count", now.DeliveryFailureCount, was.DeliveryFailureCount, false)
		if known && moment {
			f.put(d, "OffsetLag", "Count", lag)
		}
	}
	return f.line(now.At, subject.uuid(set.Name), subject.FunctionName), settle
}
