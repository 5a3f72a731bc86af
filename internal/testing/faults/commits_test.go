package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitRecord is a record of the topic of commits.
func commitRecord(at int64, group string, partition int32, offset int64) *kgo.Record {
	key := kmsg.NewOffsetCommitKey()
	key.Version, key.Group, key.Topic, key.Partition = 1, group, orders.name, partition
	value := kmsg.NewOffsetCommitValue()
	value.Version, value.Offset = 3, offset
	return &kgo.Record{Offset: at, Key: key.AppendTo(nil), Value: value.AppendTo(nil), Timestamp: time.UnixMilli(5000 + at)}
}

func TestCommitLogSeesACommitThatGoesBack(t *testing.T) {
	gone := commitRecord(2, group, 1, 0)
	gone.Value = nil
	for want, records := range map[string][]*kgo.Record{
		"": {
			commitRecord(0, group, 1, 10), commitRecord(1, group, 1, 10), commitRecord(2, group, 1, 25), commitRecord(3, group, 0, 7),
			commitRecord(4, "another", 1, 3),
			commitRecord(1, group, 1, 10), // read again
			{Offset: 5, Key: []byte{0, 2, 0, 1, 'x'}, Value: []byte{0}},
		},
		"wrote 9 after 10":                        {commitRecord(0, group, 1, 10), commitRecord(1, group, 1, 9)},
		"cannot be read: it takes the commit":     {commitRecord(0, group, 1, 10), gone},
		"cannot be read: it is of orders/24":      {commitRecord(0, group, orders.partitions, 10)},
		"offset 3 of __consumer_offsets-0":        {{Offset: 3, Key: []byte{0, 1, 0}}},
		"cannot be read: its value: response did": {{Offset: 3, Key: commitRecord(0, group, 1, 0).Key, Value: []byte{0}}},
	} {
		j := newJudge(storySeed)
		c := &commitLog{judge: j, read: map[int32]int64{}, last: map[int32]int64{}}
		var err error
		for _, r := range records {
			err = errors.Join(err, c.take(r))
		}
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			if err := c.wait(t.Context(), map[int32]int64{0: 7, 1: 25}, 0); err != nil {
				t.Error(err)
			}
			if err := c.wait(t.Context(), map[int32]int64{0: 8, 1: 25}, 0); err == nil || !strings.Contains(err.Error(), "1 of 2 partitions") {
				t.Error(err)
			}
			continue
		}
		if said := strings.Join(j.checker.violations, "\n"); !errors.Is(err, errBroken) || !strings.Contains(said, want) {
			t.Errorf("%s: %v, %q", want, err, said)
		}
	}
}

// TestCommitLogHandsOnEachCommit: with the end of the millisecond that the
// broker wrote it down in.
func TestCommitLogHandsOnEachCommit(t *testing.T) {
	j := newJudge(storySeed)
	c := &commitLog{judge: j, read: map[int32]int64{}, last: map[int32]int64{}}
	if err := errors.Join(c.take(commitRecord(0, group, 3, 10)), c.take(commitRecord(7, group, 3, 10)), c.take(commitRecord(8, "another", 3, 11))); err != nil {
		t.Fatal(err)
	}
	if len(j.waiting) != 2 {
		t.Fatalf("%+v", j.waiting)
	}
	l := j.waiting[1]
	if l.Kind != lineLogged || l.At != time.UnixMilli(5008).UnixNano() || l.Parts[0].Partition != 3 || l.Parts[0].Offset != 10 {
		t.Errorf("%+v", l)
	}
	if err := j.rest(); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "a commit of 10, and 0 was not handled then") {
		t.Errorf("%v", err)
	}
}
