package job

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"runtime/debug"
	"slices"
	"strings"
)

// A Report is what a contender says of its run, as one line of JSON. What the
// process used is measured from outside, the same way for all.
type Report struct {
	// Records is how many different records were handled when the run ended.
	Records int64 `json:"records"`
	// Seconds is from the first call to the end of the last one, or to where
	// the run was cut.
	Seconds float64 `json:"seconds"`
	// Cut is whether the run ended before all was handled.
	Cut bool `json:"cut,omitempty"`
	// WaitSeconds is from the start of the process to the first call.
	WaitSeconds float64 `json:"wait_seconds"`
	// AssignedSeconds is like Seconds, but from the first assignment on; 0 if the
	// contender does not tell of it.
	AssignedSeconds float64 `json:"assigned_seconds,omitempty"`
	Calls           int64   `json:"calls"`
	FailedCalls     int64   `json:"failed_calls,omitempty"`
	// Duplicates is how many records were handled again, and OutOfOrder how
	// many were handled after a later one of their partition.
	Duplicates int64 `json:"duplicates"`
	OutOfOrder int64 `json:"out_of_order"`
	// GivenUp is how many records went to where records go that are given up.
	GivenUp    int64       `json:"given_up,omitempty"`
	Latency    *Latency    `json:"latency,omitempty"`
	Partitions []Partition `json:"partitions,omitempty"`
	// Extra is what only some contenders know of themselves.
	Extra map[string]float64 `json:"extra,omitempty"`
	// Versions are those of what was used, and Settings those settings that
	// are not the defaults, each with its reason.
	Versions map[string]string `json:"versions,omitempty"`
	Settings []string          `json:"settings,omitempty"`
	// Note is what went wrong without ending the run.
	Note string `json:"note,omitempty"`
}

// Latency is how late records were, in milliseconds.
type Latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// A Partition is what became of one partition.
type Partition struct {
	// LastSeconds is when its last record was handled, after the first call.
	LastSeconds float64 `json:"last_seconds"`
	Handled     Set     `json:"handled"`
	Spans       []Span  `json:"spans,omitempty"`
	Moves       []Move  `json:"moves,omitempty"` // of a contender that tells of them
}

// MarshalText writes the set as base64, little endian.
func (s Set) MarshalText() ([]byte, error) {
	for len(s) > 0 && s[len(s)-1] == 0 {
		s = s[:len(s)-1]
	}
	raw := make([]byte, 0, 8*len(s))
	for _, word := range s {
		raw = binary.LittleEndian.AppendUint64(raw, word)
	}
	return base64.StdEncoding.AppendEncode(nil, raw), nil
}

// UnmarshalText reads what MarshalText writes.
func (s *Set) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return err
	}
	raw = append(raw, make([]byte, (8-len(raw)%8)%8)...)
	*s = nil
	for len(raw) > 0 {
		*s = append(*s, binary.LittleEndian.Uint64(raw))
		raw = raw[8:]
	}
	return nil
}

// Quantile is the value that the share q of sorted values does not exceed.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.5) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// summary sorts and condenses latencies.
func summary(ms []float64) *Latency {
	slices.Sort(ms)
	return &Latency{Count: len(ms), P50: Quantile(ms, 0.5), P99: Quantile(ms, 0.99), Max: Quantile(ms, 1)}
}

// Versions are those of the modules of this binary whose paths are given,
// and of Go.
func Versions(paths ...string) map[string]string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	found := map[string]string{"go": strings.TrimPrefix(info.GoVersion, "go")}
	for _, m := range info.Deps {
		if slices.Contains(paths, m.Path) {
			found[m.Path] = m.Version
		}
	}
	return found
}

func (r *Report) line() []byte {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // a Report has nothing that cannot be written
	}
	return append(line, '\n')
}
