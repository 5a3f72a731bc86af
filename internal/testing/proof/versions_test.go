package proof_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestOldClusters: a cluster that knows only the requests of an older Kafka is read,
// from where each starting position says, and committed to. The README names the
// oldest one.
func TestOldClusters(t *testing.T) {
	for _, tt := range []struct {
		name string
		is   *kversion.Versions
	}{
		{"0.11", kversion.V0_11_0()}, {"1.0", kversion.V1_0_0()}, {"2.0", kversion.V2_0_0()}, {"2.3", kversion.V2_3_0()}, {"2.8", kversion.V2_8_0()},
		{"3.0", kversion.V3_0_0()}, {"3.9", kversion.V3_9_0()}, {"4.0", kversion.V4_0_0()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 2), esmtest.With(kfake.MaxVersions(tt.is)))
				before := time.Now()
				k.Produce("orders", "a", "b")
				time.Sleep(time.Second)
				for group, start := range map[string]esm.StartingPosition{"all": esm.TrimHorizon(), "end": esm.Latest(), "time": esm.AtTimestamp(before)} {
					inv := esmtest.NewInvoker(t)
					source := k.Source("orders", group)
					source.Start = start
					m := esmtest.Start(t, source, inv, quiet())

					time.Sleep(5 * time.Second)
					want := []string{"a", "b"}
					if group == "end" {
						want = nil
					}
					got := inv.Values()
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Errorf("%s: handled %q, want %q", group, got, want)
					}
					if _, known := m.Stats().OffsetLag.Sum(); !known {
						t.Errorf("%s: the lag is unknown", group)
					}
					stop(t, m)
					if at := k.Committed(group, "orders", 0); at != 1 {
						t.Errorf("%s: committed %d", group, at)
					}
				}
			})
		})
	}
}
