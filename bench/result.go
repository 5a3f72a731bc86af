package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed429fd032/esm/bench/job"
)

// A result is one run of one contender: a line of the results file.
type result struct {
	At time.Time `json:"at"`
	// Sitting names one start of the benchmark, and Round one of its rounds:
	// results of one round are comparable with each other.
	Sitting string `json:"sitting"`
	Round   int    `json:"round"`
	Run     string `json:"run"`
	Who     string `json:"who"`
	// Shape is what is read, and by what function: results of different
	// shapes are different runs.
	Shape   shape   `json:"shape"`
	Machine machine `json:"machine"`
	// CPUSeconds and PeakRSS are those of the process; of a run with several
	// members, the sum and the largest.
	CPUSeconds float64 `json:"cpu_seconds"`
	PeakRSS    int64   `json:"peak_rss_bytes"`

	// Workload is what a Mapping did in the run M, and Budget what it was allowed to
	// hold.
	Workload string `json:"workload,omitempty"`
	Budget   int64  `json:"budget_bytes,omitempty"`

	job.Report

	// These are worked out from the partitions, which are not kept.

	Others *others `json:"others,omitempty"`
	// WaitedSeconds is the longest time in which a partition had records left and no
	// call.
	WaitedSeconds float64     `json:"longest_wait_seconds,omitempty"`
	Poison        *poison     `json:"poison,omitempty"`
	Churn         *churn      `json:"churn,omitempty"`
	Pair          *job.Report `json:"pair,omitempty"` // the bare loop at the same time

	Err string `json:"error,omitempty"`
}

// A shape is the sizes of a run.
type shape struct {
	Records    int64         `json:"records"`
	Hot        int64         `json:"hot,omitempty"`            // of these, in one partition that is hot
	Hots       int           `json:"hot_partitions,omitempty"` // 0 is one, if Hot is not 0
	Size       int           `json:"size"`
	Stored     int           `json:"record_batch,omitempty"` // records of a record batch of Kafka; 0 where the producer's speed made it
	Codec      string        `json:"codec,omitempty"`        // "" is none
	Partitions int           `json:"partitions"`
	Replicas   int           `json:"replicas,omitempty"` // 0 is one
	Batch      int           `json:"batch"`
	Function   time.Duration `json:"function_ns"`
	// Limit is where the run is cut, or how long it takes.
	Limit time.Duration `json:"limit_ns,omitempty"`
}

// rate is records a second.
func (r *result) rate() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Records) / r.Seconds
}

// wholeRate is records a second from the start of the program.
func (r *result) wholeRate() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Records) / (r.WaitSeconds + r.Seconds)
}

// cpu is seconds of CPU a million records.
func (r *result) cpu() float64 {
	if r.Records == 0 {
		return 0
	}
	return r.CPUSeconds / float64(r.Records) * 1e6
}

// key is what results have in common that are one contender's in one run.
type key struct {
	run     string
	shape   shape
	machine string
	who     string
}

// readResults reads a results file. A line that was cut off by the end of a
// sitting is an error: it must be removed knowingly.
func readResults(r io.Reader) (rs []result, err error) {
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			var one result
			if err := json.Unmarshal(line, &one); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			rs = append(rs, one)
		}
		if errors.Is(err, io.EOF) {
			return rs, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// keep appends a result to the file, at once: a sitting may be ended at any
// time.
func keep(file string, r result) error {
	r.Partitions = nil
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
