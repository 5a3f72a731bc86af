package kafka

import (
	"errors"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestAMemberWithoutPartitionsHasNoProblemForEver: there is none to ask about.
func TestAMemberWithoutPartitionsHasNoProblemForEver(t *testing.T) {
	c, e, w := ordersConsumer()
	e.Lose([]partition.ID{order0}, time.Now())
	w.Note("group", errors.New("the session was lost"), time.Now().Add(-time.Minute))
	c.reviewProblems(t.Context())
	if c.lastProblem() == nil {
		t.Error("it is over although it is not in the group")
	}
	e.Assign(nil, time.Now())
	c.reviewProblems(t.Context())
	if err := c.lastProblem(); err != nil {
		t.Errorf("it is in the group again: %v", err)
	}
}
