package scaling

import (
	"testing"
	"time"
)

// TestThrottlesOfOneRoundHalveOnce: calls that had begun tell of the number that
// there was, however late they tell.
func TestThrottlesOfOneRoundHalveOnce(t *testing.T) {
	s := New(Provisioned)
	in := Sample{
		At: time.Unix(1000, 0), Pollers: 16, Concurrency: 1, Slots: 16, Least: 1, Most: 40, ByteRate: Unlimited, MaxConcurrency: Unlimited,
		BatchTime: 200 * time.Millisecond, BatchRecords: 100, BatchBytes: 1000, Completed: 50,
	}
	for p := range int32(40) {
		in.Lanes = append(in.Lanes, Lane{Topic: "orders", Partition: p, Lag: 100_000, End: 500_000})
	}
	s.Decide(in)
	for _, step := range []struct {
		after     time.Duration
		throttled int64
		want      int
	}{
		{time.Second, 1, 8},
		{200 * time.Millisecond, 3, 8}, // of calls that had begun
		{300 * time.Millisecond, 4, 4}, // of one that began since
		{200 * time.Millisecond, 5, 4},
	} {
		in.At, in.Throttled = in.At.Add(step.after), in.Throttled+step.throttled
		d := s.Decide(in)
		if in.Pollers = d.To; d.To != step.want {
			t.Errorf("%d pollers, want %d: %s", d.To, step.want, d.Reason)
		}
	}
}
