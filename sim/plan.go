package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// A work is what one run is to do: a seed, from which the plan is drawn, or a plan.
type work struct {
	seed uint64
	plan []byte // one line of JSON, or nil
}

// env returns the environment that tells the simulation.
func (w work) env() []string {
	if w.plan != nil {
		return []string{"ESM_SIM_PLAN=" + string(w.plan)}
	}
	return []string{"ESM_SIM_SEED=" + strconv.FormatUint(w.seed, 10)}
}

// command returns the flag that asks for it.
func (t task) subject() string {
	if t.plan != "" {
		return "-plan " + t.plan
	}
	return "-seed " + strconv.FormatUint(t.seed, 10)
}

// work returns what -seed or -plan asks for.
func (t task) work() (work, error) {
	if t.plan == "" {
		return work{seed: t.seed}, nil
	}
	file, err := os.ReadFile(t.plan)
	if err != nil {
		return work{}, fmt.Errorf("%w: %w", errMisuse, err)
	}
	w, err := workOf(file)
	if err != nil {
		return work{}, fmt.Errorf("%w: %s: %w", errMisuse, t.plan, err)
	}
	return w, nil
}

// workOf reads a plan, or the plan of an entry of the corpus.
func workOf(file []byte) (work, error) {
	var e entry
	if err := json.Unmarshal(file, &e); err != nil {
		return work{}, err
	}
	if e.Plan != nil {
		file = e.Plan
	}
	var head struct{ Seed *uint64 }
	if err := json.Unmarshal(file, &head); err != nil {
		return work{}, err
	}
	if head.Seed == nil {
		return work{}, errors.New("the plan has no seed")
	}
	var line bytes.Buffer
	if err := json.Compact(&line, file); err != nil {
		return work{}, err
	}
	return work{seed: *head.Seed, plan: line.Bytes()}, nil
}

// An entry is a file of the corpus: a plan that broke something once.
type entry struct {
	Plan  json.RawMessage `json:"plan"`
	Judge string          `json:"judge"`
	Why   string          `json:"why"`
}

// faultsOf returns the faults of a plan, each as it is written.
func faultsOf(plan []byte) ([]json.RawMessage, error) {
	from, to, err := findFaults(plan)
	if err != nil || from == to {
		return nil, err
	}
	var faults []json.RawMessage
	err = json.Unmarshal(plan[from:to], &faults)
	return faults, err
}

// withFaults returns the plan with these faults and all else to the letter.
func withFaults(plan []byte, faults []json.RawMessage) ([]byte, error) {
	from, to, err := findFaults(plan)
	if err != nil {
		return nil, err
	}
	if from == to {
		return bytes.Clone(plan), nil
	}
	list := make([][]byte, len(faults))
	for i, f := range faults {
		list[i] = f
	}
	return slices.Concat(plan[:from], []byte("["), bytes.Join(list, []byte(",")), []byte("]"), plan[to:]), nil
}

// findFaults returns where the value of "faults" is; nowhere if there is none. The
// host knows no other field, so nothing else is decoded and written again.
func findFaults(plan []byte) (from, to int64, err error) {
	d := json.NewDecoder(bytes.NewReader(plan))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return 0, 0, fmt.Errorf("the plan is no JSON object: %.100q", plan)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return 0, 0, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return 0, 0, err
		}
		if key == "faults" {
			return d.InputOffset() - int64(len(value)), d.InputOffset(), nil
		}
	}
	return 0, 0, nil
}
