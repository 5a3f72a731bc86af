package esm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestAMemberWithoutPartitionsHasNoProblemForEver: there is none to ask about.
func TestAMemberWithoutPartitionsHasNoProblemForEver(t *testing.T) {
	e := engineOf(func(context.Context, *Batch) error { return nil })
	e.lose([]partition.ID{onlyPartition}, time.Now())
	c := newConsumer(e, &kafkaSource{})
	e.mu.Lock()
	e.problem("group", errors.New("the session was lost"), time.Now().Add(-time.Minute))
	e.unlock()
	c.reviewProblems(t.Context())
	if c.lastProblem() == nil {
		t.Error("it is over although it is not in the group")
	}
	e.assign(nil, time.Now())
	c.reviewProblems(t.Context())
	if err := c.lastProblem(); err != nil {
		t.Errorf("it is in the group again: %v", err)
	}
}
