package kafka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestAssignmentEndsThePollUnderWay, and waits until it is handed over: what it
// brings would look like records of the new assignment.
func TestAssignmentEndsThePollUnderWay(t *testing.T) {
	c, e, _ := ordersConsumer()
	cl, err := kgo.NewClient() // which is a member of no group, and connects to nobody
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	c.client = cl
	c.pauser = &pauser{wanted: e.Pauses} // nothing is to be paused, so no client is asked
	p := e.Permit(t.Context(), 0, time.Now())
	if !p.Poll {
		t.Fatal("no poll is permitted")
	}
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		c.assigned([]partition.ID{order0})
	}()
	select {
	case <-p.Ctx.Done():
	case <-returned:
		t.Fatal("it returned, and the poll goes on")
	}
	select {
	case <-returned:
		t.Fatal("it did not wait until the poll was handed over")
	default:
	}
	p.End()
	<-returned
}
