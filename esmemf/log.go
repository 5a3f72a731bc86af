package esmemf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// A LogConfig is what [NewLog] needs.
type LogConfig struct {
	// Writer gets a line of JSON at each Write. Required.
	Writer io.Writer
	// Level is what AWS calls SystemLogLevel, in LoggingConfig: DEBUG, INFO or WARN.
	// Required.
	Level string
	// Region and Account are what the ARN of a mapping has: by default us-east-1 and
	// 000000000000, as in package lambdaapi.
	Region, Account string
	// Processor is which of several processes of a mapping this one is: the number in
	// eventProcessorId and consumerId.
	Processor int
	// Logger is told that lines cannot be written, once until they can be again. Default:
	// slog.Default().
	Logger *slog.Logger
}

// A Log writes the system logs of Mappings.
type Log struct {
	config LogConfig
	level  slog.Level
	logger *slog.Logger // which our own events go through
	outbox outbox
	sparse sparse

	mu       sync.Mutex // guards the rest, and is held for moments
	mappings map[string]*esm.Mapping
	subjects map[string]Subject // by the names of Mappings
	assigned map[string]assignment
}

// NewLog makes a Log.
func NewLog(c LogConfig) (*Log, error) {
	levels := map[string]slog.Level{"DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARN": slog.LevelWarn}
	level, ok := levels[c.Level]
	switch {
	case guard.IsNil(c.Writer):
		return nil, errors.New("esmemf: LogConfig.Writer is required")
	case !ok:
		return nil, fmt.Errorf("esmemf: LogConfig.Level %q must be DEBUG, INFO or WARN", guard.Cut(c.Level, 100))
	case c.Processor < 0:
		return nil, fmt.Errorf("esmemf: LogConfig.Processor %d must be 0 or more", c.Processor)
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Account == "" {
		c.Account = "000000000000"
	}
	l := &Log{
		config: c, level: level, mappings: map[string]*esm.Mapping{}, subjects: map[string]Subject{}, assigned: map[string]assignment{},
		outbox: outbox{pen: pen{to: c.Writer}, alarm: alarm{logger: loggerOr(c.Logger), fails: "the system log cannot be written", works: "the system log can be written again"}},
	}
	l.logger = slog.New(&handler{log: l})
	return l, nil
}

// Add says more of a Mapping whose hooks are the Log's, and has its offsets written by Run. Add
// it before its Start, for what lines say of it from the first on. Adding it again changes its
// Subject. No Mapping (nil) is none.
func (l *Log) Add(m *esm.Mapping, s Subject) {
	if m == nil || stopped(m) {
		return
	}
	set := m.Settings()
	s = s.known()
	if len(s.Source.Topics) == 0 {
		s.Source.Topics = set.Topics
	}
	if s.Source.Group == "" {
		s.Source.Group = guard.Cut(set.Group, longestName)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep()
	l.mappings[set.Name], l.subjects[set.Name] = m, s
}

// Run writes the offsets of the Mappings that were added once a minute, at the level DEBUG, and
// what was left out of the trouble, until ctx ends.
func (l *Log) Run(ctx context.Context) {
	timer := time.NewTimer(untilNext(time.Now()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			l.writeLeft()
			_ = l.drain() // the logger is told
			return
		case <-timer.C:
			l.writeLeft()
			l.writeOffsets()
			timer.Reset(untilNext(time.Now()))
		}
	}
}

// Flush waits until all lines are written. It returns within about ten seconds, whatever the
// Writer does. Its error says which lines are lost.
func (l *Log) Flush() error {
	if err := errors.Join(l.drain(), l.outbox.losses()); err != nil {
		return fmt.Errorf("esmemf: the system log: %w", err)
	}
	return nil
}

// drain waits until all lines are written.
func (l *Log) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
	defer cancel()
	return l.outbox.wait(ctx)
}

// writeLeft writes the trouble that was left out and that nothing of its kind followed.
func (l *Log) writeLeft() {
	now := time.Now()
	for k, t := range l.sparse.left(now) {
		l.put(k.mapping, &event{EventType: processingEvent, Timestamp: now.UnixMilli(), LogLevel: logLevel(slog.LevelWarn), Error: t})
	}
}

// writeOffsets writes where all partitions are.
func (l *Log) writeOffsets() {
	var all []esm.PartitionStats
	for name, m := range l.running() {
		if l.level > slog.LevelDebug {
			continue
		}
		all = m.AppendPartitions(all[:0])
		slices.SortFunc(all, func(a, b esm.PartitionStats) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
		for i := range all {
			l.say(slog.LevelDebug, kafkaEvent, name, offsetsOf(&all[i]))
			if (i+1)%1000 == 0 && l.drain() != nil { // there is no room for all of many
				return
			}
		}
	}
}

// running are the Mappings that were added and run.
func (l *Log) running() map[string]*esm.Mapping {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep()
	return maps.Clone(l.mappings)
}

// sweep forgets Mappings that have stopped. The lock is held.
func (l *Log) sweep() {
	for name, m := range l.mappings {
		if stopped(m) {
			delete(l.mappings, name)
			delete(l.subjects, name)
		}
	}
}

// say has an event of our own written.
func (l *Log) say(level slog.Level, eventType, mapping string, about any) {
	l.logger.LogAttrs(context.Background(), level, eventType, slog.String(mappingKey, mapping), slog.Any(eventKey, about))
}

// subject is what is known of a Mapping.
func (l *Log) subject(name string) Subject {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subjects[name]
}

// put has a line written, with what all lines of a Mapping say.
func (l *Log) put(mapping string, e *event) {
	if mapping != "" {
		s := l.subject(mapping)
		uuid := s.uuid(mapping)
		e.ResourceARN = strings.Join([]string{"arn:aws:lambda", l.config.Region, l.config.Account, "event-source-mapping", uuid}, ":")
		e.EventSourceARN = s.Source.ARN
		e.EventProcessorID = fmt.Sprintf("%s/%d", uuid, l.config.Processor)
	}
	l.outbox.put(e.line())
}
