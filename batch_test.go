package esm_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestBatchNamesItsGroup: a function gets the group of the Source, at each
// attempt and from a copy of its batch too, whatever the Mapping is called.
func TestBatchNamesItsGroup(t *testing.T) {
	for _, group := range []string{"billing", esm.EphemeralGroup()} {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		got := make(chan [2]string, 2)
		esmtest.Start(t, k.Source("orders", group), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			got <- [2]string{b.Group, b.With(nil).Group}
			if b.Attempt == 1 {
				return errors.New("once more")
			}
			return nil
		}), esm.WithName("the biller"), esm.WithBackoff(esm.Constant(0)), esm.WithLogger(slog.New(slog.DiscardHandler)))
		k.Produce("orders", "tea")
		for attempt := range 2 {
			if groups := <-got; groups != [2]string{group, group} {
				t.Errorf("attempt %d of group %q: %q", attempt+1, group, groups)
			}
		}
	}
}
