package esmemf

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// Hooks are what a Mapping tells the Log ([esm.WithHooks]). They may be those of several
// Mappings, of different names. None of them waits for the Writer.
func (l *Log) Hooks() esm.Hooks {
	return esm.Hooks{
		StateChanged: func(s esm.State) {
			switch s.Phase {
			case esm.PhaseHalted:
				l.warn(s.Mapping, "MappingHalted", "the function halted the mapping: %s", s.Reason)
			case esm.PhaseStarting, esm.PhaseStopped:
				l.forgetAssignment(s.Mapping)
				if s.Phase == esm.PhaseStopped && s.Reason != "" {
					l.warn(s.Mapping, "MappingStopped", "the mapping has stopped: %s", s.Reason)
				}
			}
		},
		ProblemRaised: func(p esm.Problem) {
			l.warn(p.Mapping, problemCode(p.With), "%s: %s", p.With, guard.Text(p.Err))
		},
		Assigned: func(r esm.Rebalance) { l.reassigned(r, true) },
		Revoked: func(r esm.Rebalance) {
			l.reassigned(r, false)
			if r.Lost {
				l.warn(r.Mapping, "PartitionsLost", "the session had ended: nothing could be committed of %d partitions", len(r.Partitions))
			}
			if r.CommitErr != nil {
				l.warn(r.Mapping, "CommitError", "the last offsets of %d partitions could not be committed: %s", len(r.Partitions), guard.Text(r.CommitErr))
			}
		},
		RecordsLost: func(g esm.Gap) {
			l.warn(g.Mapping, "RecordsLost", "offsets %d to %d of %s were deleted before they were read", g.From, g.To-1, partitionName(g.TopicPartition))
		},
		PositionReset: func(g esm.Gap) {
			l.warn(g.Mapping, "PositionReset", "the position of %s moved backward from %d to %d%s", partitionName(g.TopicPartition), g.From, g.To, because(g.Err))
		},
		InvokeStuck: func(i esm.Invocation) {
			what := "an invocation"
			if i.Delivery {
				what = "a delivery"
			}
			l.warn(i.Mapping, "CallStuck", "%s of %d records goes on after %s%s", what, i.Records, i.Took, because(i.Err))
		},
		Throttled: func(i esm.Invocation) {
			l.warn(i.Mapping, "FunctionThrottled", "nothing is invoked for %s%s", i.Pause, because(i.Err))
		},
		RetryScheduled: func(b esm.Blocker) {
			code := "FunctionError"
			if b.Throttles > 0 {
				code = "FunctionThrottled"
			}
			l.warn(b.Mapping, code, "%s", b.String())
		},
		HeldUp: func(b esm.Blocker) { l.warn(b.Mapping, "PartitionHeldUp", "%s", b.String()) },
		Discarded: func(d *esm.Discard) {
			became := "delivered to its destination"
			if d.Dropped {
				became = "dropped"
			}
			l.warn(d.Mapping, "RecordDiscarded", "%s was given up after %d attempts (%s) and %s%s", place(d), d.Attempts, d.Reason, became, because(d.Err))
		},
		DeliveryFailed: func(d *esm.Discard) {
			l.warn(d.Mapping, "DestinationError", "the destination did not take %s%s", place(d), because(d.DeliveryErr))
		},
		Committed: func(c esm.Commit) {
			if c.Err != nil {
				l.warn(c.Mapping, "CommitError", "the offsets of %d partitions could not be committed: %s", len(c.Failed), guard.Text(c.Err))
			}
		},
	}
}

// warn writes that something went wrong.
func (l *Log) warn(mapping, code, format string, args ...any) {
	l.say(slog.LevelWarn, processingEvent, mapping, troubleOf(code, fmt.Sprintf(format, args...)))
}

// because is an error at the end of a text.
func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + guard.Text(err)
}

// place is where the record of a Discard is.
func place(d *esm.Discard) string {
	return fmt.Sprintf("%s-%d offset %d", d.Record.Topic, d.Record.Partition, d.Record.Offset)
}

// problemCode is the code of a problem: what it is with, as in ConnectionProblem.
func problemCode(with string) string {
	word, _, _ := strings.Cut(with, " ")
	if word == "" {
		return "Problem"
	}
	return strings.ToUpper(word[:1]) + word[1:] + "Problem"
}

// reassigned writes which partitions a process has, if these are others than before.
func (l *Log) reassigned(r esm.Rebalance, given bool) {
	l.mu.Lock()
	now, known := l.assigned[r.Mapping]
	if !known {
		now = assignment{}
		l.assigned[r.Mapping] = now
	}
	for _, tp := range r.Partitions {
		if given {
			now[tp] = struct{}{}
		} else {
			delete(now, tp)
		}
	}
	if known && len(r.Partitions) == 0 || l.level > slog.LevelInfo {
		l.mu.Unlock()
		return
	}
	names := now.names()
	l.mu.Unlock()
	s := l.subject(r.Mapping)
	l.say(slog.LevelInfo, pollerEvent, r.Mapping, &connection{
		BrokerEndpoints: strings.Join(cut(s.Source.Brokers), ","), ConsumerID: fmt.Sprintf("%s-%d", s.uuid(r.Mapping), l.config.Processor),
		Topics: cut(s.Source.Topics), ConsumerGroupID: s.Source.Group, SecurityProtocol: s.SecurityProtocol, SASLMechanism: s.SASLMechanism,
		AssignedCount: r.Total, AssignedPartitions: cut(names),
	})
}

// forgetAssignment forgets what a Mapping had when it ran before.
func (l *Log) forgetAssignment(mapping string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.assigned, mapping)
}
