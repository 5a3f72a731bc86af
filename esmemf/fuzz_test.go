package esmemf

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
)

// FuzzDimension: any name is a value that CloudWatch takes.
func FuzzDimension(f *testing.F) {
	for _, s := range []string{"", " ", "billing", "bills-é\n", "\xff\x00", strings.Repeat("é", 1000), strings.Repeat("a", 1023) + "é", "100%"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, uuid, function string) {
		form := newForm("esm")
		form.put(&form.mapping, "PolledEventCount", "Count", 1)
		form.put(&form.function, "OffsetLag", "Count", 1<<62)
		s := Subject{UUID: uuid, FunctionName: function}.known()
		read(t, string(form.line(time.UnixMilli(1764072000000), s.UUID, s.FunctionName)))
		// What can be read stays as it is.
		if plain := len(uuid) <= longestDimension && strings.TrimSpace(uuid) != "" && !strings.ContainsFunc(uuid, func(r rune) bool { return r < ' ' || r > '~' }); plain && dimension(uuid) != uuid {
			t.Errorf("%q became %q", uuid, dimension(uuid))
		}
	})
}

// FuzzEvents: whatever names and errors are, each is one line of JSON.
func FuzzEvents(f *testing.F) {
	f.Add("billing", "orders", "why", "key")
	f.Add("é\n\x00", "\xff", `{"a":"\u2028`, "")
	f.Fuzz(func(t *testing.T, name, topic, text, key string) {
		if len(name)+len(topic)+len(text)+len(key) < 500 { // the long ones take long: see below
			saysEvents(t, name, topic, text, key)
		}
	})
}

// TestLongNamesAreCut: no line is too long for CloudWatch.
func TestLongNamesAreCut(t *testing.T) {
	saysEvents(t, strings.Repeat("a", 5000), strings.Repeat("\x00", 300), strings.Repeat("\x00", 10000), "mapping")
}

// saysEvents says an event of each kind with these words, and reads them.
func saysEvents(t *testing.T, name, topic, text, key string) {
	t.Helper()
	l, err := NewLog(LogConfig{Writer: io.Discard, Level: "DEBUG", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	out := &sheet{}
	l.outbox.pen.to = out
	l.subjects[name] = Subject{SASLMechanism: text, Source: esm.Source{Brokers: []string{text}, Topics: []string{topic}, Group: key, ARN: text}}.known()
	h := l.Hooks()
	tp := esm.TopicPartition{Topic: topic, Partition: 1}
	h.ProblemRaised(esm.Problem{Mapping: name, With: key, Err: errors.New(text)})
	h.RecordsLost(esm.Gap{Mapping: name, TopicPartition: tp, To: 7})
	h.Assigned(esm.Rebalance{Mapping: name, Partitions: []esm.TopicPartition{tp}})
	l.say(slog.LevelDebug, kafkaEvent, name, offsetsOf(&esm.PartitionStats{TopicPartition: tp, End: -1, Position: 7, Frontier: 5, Committed: -1}))
	slog.New(l.Handler()).With("mapping", name).Warn(text, key, topic, "err", errors.New(text))
	if n := len(events(t, l, out)); n != 5 {
		t.Errorf("%d lines", n)
	}
}
