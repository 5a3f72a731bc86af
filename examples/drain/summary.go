package main

import "time"

// A summary is what there is to say of a run.
type summary struct {
	Mode         string   `json:"mode"`
	Min          *int     `json:"min"` // null in the on-demand mode
	Max          *int     `json:"max"`
	Records      int64    `json:"records"` // handled, each counted once
	Seconds      float64  `json:"seconds"` // from the first record polled to the last one settled
	FirstSeconds float64  `json:"first_seconds"`
	FloorSeconds float64  `json:"floor_seconds"`
	AWSSeconds   *float64 `json:"aws_seconds"` // null if AWS published none for this scenario
	Missing      int64    `json:"missing"`
	Duplicates   int64    `json:"duplicates"`
	OutOfOrder   int64    `json:"out_of_order"`
	NotCommitted int64    `json:"not_committed"` // handled, but the group's offset is below
	Rebalances   int64    `json:"rebalances"`    // after the first assignment
	PollersMax   int      `json:"pollers_max"`
	Invocations  int64    `json:"invocations"`
	PeakRSS      *int64   `json:"peak_rss_bytes,omitempty"`
	CPUSeconds   *float64 `json:"cpu_seconds,omitempty"`
	ReadBytes    int64    `json:"read_bytes"`
	StoredBytes  *int64   `json:"stored_bytes,omitempty"` // of one replica, with what Kafka keeps around records
	Interrupted  bool     `json:"interrupted"`
}

func (s *summary) good() bool {
	return s.Missing == 0 && s.Duplicates == 0 && s.OutOfOrder == 0 && s.NotCommitted == 0
}

// complete adds what the process of the Mapping does not know. A stored of 0 is
// unknown.
func (s *summary) complete(c scenario, m mode, stored int64) {
	s.Mode = onDemand
	if !m.OnDemand {
		s.Mode, s.Min, s.Max = provisioned, &m.Min, &m.Max
	}
	s.FloorSeconds = c.floor()
	if stored > 0 {
		s.StoredBytes = &stored
	}
	if seconds, ok := published(m); ok && c.published() && !s.Interrupted && (m.OnDemand || m.Max >= c.Partitions) {
		s.AWSSeconds = &seconds
	}
}

// published is how many seconds AWS said that a mode takes.
func published(m mode) (seconds float64, ok bool) {
	if m.OnDemand {
		return 7 * 60, true
	}
	seconds, ok = map[int]float64{1: 3.5 * 60, 10: 2.5 * 60, 100: 1.5 * 60}[m.Min]
	return seconds, ok
}

// scenarioOfAWS is what AWS said it of. A record of 1 KB may mean 1,000 bytes,
// too.
var scenarioOfAWS = scenario{Records: 2_000_000, Size: 1024, Partitions: 100, Batch: 100, Function: 100 * time.Millisecond}

func (s scenario) published() bool {
	if s.Size == 1000 {
		s.Size = scenarioOfAWS.Size
	}
	return s == scenarioOfAWS
}
