package esmpage

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// mostRows is how many partitions a snapshot has: of more, those that are held up and
// those with the largest lag.
const mostRows = 2000

// A message is what viewers of one Mapping get each second, and what the snapshot is.
type message struct {
	At       int64     `json:"at"` // ms
	Mappings []summary `json:"mappings"`
	Shown    *detail   `json:"shown"` // null if the Mapping is not there
}

// A summary is a line of the list of Mappings.
type summary struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Phase      string  `json:"phase"`
	Problems   int     `json:"problems"`
	Lag        esm.Lag `json:"lag"`
	Partitions int     `json:"partitions"`
	Pollers    int     `json:"pollers"`
	Least      int     `json:"least"`
	Most       int     `json:"most"`
}

// A detail is the Mapping that is looked at.
type detail struct {
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	State    state           `json:"state"`
	Explain  string          `json:"explain"`
	Stats    esm.Stats       `json:"stats"`
	Reason   string          `json:"reason"` // of the number of pollers, in words
	Settings esm.Settings    `json:"settings"`
	Point    json.RawMessage `json:"point"` // the last one, as columns
	Rows     []row           `json:"rows"`
	Left     int             `json:"left"` // partitions that are in no row
	Seq      int64           `json:"seq"`  // of the last event, 0 if there was none
	Events   []event         `json:"events"`
	Steps    []step          `json:"steps"`
}

// A state is what State says, in words.
type state struct {
	Phase      string    `json:"phase"`
	AWS        string    `json:"aws"`
	Since      int64     `json:"since"` // ms
	Reason     string    `json:"reason"`
	LastResult string    `json:"lastResult"`
	LastAt     int64     `json:"lastAt"` // ms, 0 if there was none
	Problems   []problem `json:"problems"`
}

type problem struct {
	With  string `json:"with"`
	Text  string `json:"text"`
	Since int64  `json:"since"` // ms
}

// A row is a partition. Unknown offsets and lags are null.
type row struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	State     string   `json:"state"`
	Lag       *int64   `json:"lag"`
	Committed *int64   `json:"committed"`
	End       *int64   `json:"end"`
	Queued    int      `json:"queued"`
	Bytes     int64    `json:"bytes"`
	InFlight  int      `json:"inFlight"`
	Oldest    int64    `json:"oldest"` // ms, 0 if there is none or it is unknown
	Since     int64    `json:"since"`  // ms, of the call that runs
	Held      *blocker `json:"held,omitempty"`
}

// A blocker is the record that holds a partition up.
type blocker struct {
	Offset   int64  `json:"offset"`
	Records  int    `json:"records"`
	Attempts int    `json:"attempts"`
	Since    int64  `json:"since"` // ms
	Next     int64  `json:"next"`  // ms, 0 while a try runs
	Reason   string `json:"reason"`
	Err      string `json:"err"`
}

// millis is a time for JavaScript, 0 if there is none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func known(offset int64, is bool) *int64 {
	if !is || offset < 0 {
		return nil
	}
	return &offset
}

// text is what a function or a broker said, for people.
func text(err error) string {
	if err == nil {
		return ""
	}
	return guard.Cut(guard.Text(err), textLimit)
}

func summaryOf(s *shown, st *esm.Stats) summary {
	is := s.mapping.State()
	return summary{s.id, is.Mapping, st.Phase.String(), len(is.Problems), st.OffsetLag, st.Partitions, st.ProvisionedPollers, st.MinPollers, st.MaxPollers}
}

// detailOf asks a Mapping for everything.
func (p *Page) detailOf(s *shown, st *esm.Stats) *detail {
	is := s.mapping.State()
	d := &detail{ID: s.id, Name: is.Mapping, Stats: *st, Explain: guard.Cut(s.mapping.Explain(), 4*textLimit), Reason: guard.Cut(st.ScaleReason.String(), textLimit), Settings: s.mapping.Settings()}
	d.State = state{is.Phase.String(), is.AWSState(), millis(is.Since), guard.Cut(is.Reason, textLimit), guard.Cut(is.LastResult, textLimit), millis(is.LastResultAt), []problem{}}
	for _, x := range is.Problems {
		d.State.Problems = append(d.State.Problems, problem{x.With, text(x.Err), millis(x.Since)})
	}
	partitions := s.mapping.AppendPartitions(nil)
	slices.SortFunc(partitions, worse)
	if d.Left = max(0, len(partitions)-mostRows); d.Left > 0 {
		partitions = partitions[:mostRows]
	}
	d.Rows = make([]row, len(partitions))
	for i := range partitions {
		d.Rows[i] = rowOf(&partitions[i])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ps := s.history.points; len(ps) > 0 {
		newest := (s.history.next + len(ps) - 1) % len(ps)
		d.Point = appendColumns(nil, ps[newest:newest+1])
	} else {
		d.Point = appendColumns(nil, nil)
	}
	d.Events, d.Steps = []event{}, []step{}
	if r := p.records[d.Name]; r != nil {
		r.sumUp(time.Now())
		d.Seq = r.seq
		d.Events = append(d.Events, r.since(r.seq-resent)...)
		d.Steps = append(d.Steps, r.steps[max(0, len(r.steps)-resent):]...)
	}
	return d
}

// worse orders partitions: those that are held up, the longest first, then those of
// unknown lag, then by lag.
func worse(a, b esm.PartitionStats) int {
	rank := func(p *esm.PartitionStats) int {
		switch {
		case p.Blocker != nil:
			return 0
		case !p.LagKnown:
			return 1
		}
		return 2
	}
	if by := rank(&a) - rank(&b); by != 0 {
		return by
	}
	by := 0
	if a.Blocker != nil {
		by = a.Blocker.Since.Compare(b.Blocker.Since)
	}
	return cmp.Or(by, cmp.Compare(b.Lag, a.Lag), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

func rowOf(p *esm.PartitionStats) row {
	r := row{
		Topic: p.Topic, Partition: p.Partition, State: p.State, Lag: known(p.Lag, p.LagKnown), Committed: known(p.Committed, true), End: known(p.End, true),
		Queued: p.Queued, Bytes: p.QueuedBytes, InFlight: p.InFlight, Oldest: millis(p.Oldest), Since: millis(p.Since),
	}
	if b := p.Blocker; b != nil {
		r.Held = &blocker{b.Offset, b.Records, b.Attempts, millis(b.Since), millis(b.Next), "", guard.Cut(text(b.Err), errorLimit)}
		if b.Reason != 0 {
			r.Held.Reason = b.Reason.String()
		}
	}
	return r
}

// past is what a viewer gets first.
func (p *Page) past(s *shown) []byte {
	name := s.mapping.State().Mapping
	p.mu.Lock()
	points := s.history.list()
	seq, events, steps := int64(0), []event{}, []step{}
	if r := p.records[name]; r != nil {
		seq = r.seq
		events, steps = append(events, r.events...), append(steps, r.steps...)
	}
	p.mu.Unlock()
	rest, err := json.Marshal(struct {
		ID     string  `json:"id"`
		Name   string  `json:"name"`
		Seq    int64   `json:"seq"`
		Events []event `json:"events"`
		Steps  []step  `json:"steps"`
	}{s.id, name, seq, events, steps})
	if err != nil {
		return nil // strings and numbers: there is no error
	}
	b := append(rest[:len(rest)-1], `,"points":`...)
	return append(appendColumns(b, points), '}')
}
