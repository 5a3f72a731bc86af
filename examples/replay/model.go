package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/scalesim"
	"github.com/seed429fd032/esm/scaling"
)

// A model is what a trace says of what came, and of the function.
type model struct {
	began  time.Time
	length time.Duration
	lanes  []*lane
	calls  []timed // how long a full batch took, from a time on

	least, most, concurrency, batch, recordBytes int
	byteRate, maxConcurrency                     int // 0 for any number

	series     []scalesim.Point
	pollerTime time.Duration
	first      scaling.Sample
	last       scaling.Sample
	lagLeft    int64
	unknown    int // samples in which a lag was unknown
}

type timed struct {
	at   time.Duration
	took time.Duration
}

// A lane is a partition.
type lane struct {
	name   string
	ends   []end
	bursts []scalesim.Burst // what was there when it came
	away   []scalesim.Away
	seen   time.Duration // in which sample it was last
	known  bool          // its lag, since it came
	heard  time.Duration // when its end was known last
}

// An end of a partition, at a time. fresh is whether nothing is known of the time
// before.
type end struct {
	at     time.Duration
	offset int64
	fresh  bool
}

// readModel reads a trace. One whose last line is cut off, since the process was
// killed, is as good.
func readModel(r io.Reader, mapping string, progress io.Writer) (*model, error) {
	m := &model{}
	index, names := map[string]*lane{}, map[string]bool{}
	n := 0
	for d, err := range scaling.ReadTrace(r) {
		if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
			fmt.Fprintf(progress, "%v: what is before that is used\n", err)
			break
		}
		if err != nil {
			return nil, err
		}
		names[d.Mapping] = true
		if mapping != "" && d.Mapping != mapping {
			continue
		}
		n++
		m.add(&d, index)
	}
	switch {
	case mapping == "" && len(names) > 1:
		return nil, fmt.Errorf("the trace has several Mappings, %q: say which with -mapping", slices.Sorted(maps.Keys(names)))
	case n == 0 && mapping != "":
		return nil, fmt.Errorf("the trace has nothing of the Mapping %q, but of %q", mapping, slices.Sorted(maps.Keys(names)))
	case n < 2 || m.length <= 0:
		return nil, fmt.Errorf("the trace has %d decisions with samples, and two are the least that say what came between them", n)
	case len(m.lanes) == 0:
		return nil, errors.New("the trace has no partitions: the Mapping had none")
	case len(m.calls) == 0:
		return nil, errors.New("in the trace no call has ended, so it does not say how long one takes")
	}
	for _, l := range m.lanes {
		if l.seen < m.length {
			l.away = append(l.away, scalesim.Away{Span: scalesim.Span{From: m.length, To: math.MaxInt64}})
		}
	}
	return m, nil
}

// add takes a decision in.
func (m *model) add(d *scaling.Decision, index map[string]*lane) {
	in := &d.Sample
	if m.began.IsZero() {
		m.began, m.first, m.least = in.At, *in, in.Least
	}
	at := in.At.Sub(m.began)
	if k := len(m.series) - 1; k >= 0 {
		m.pollerTime += time.Duration(m.series[k].Pollers) * (at - m.length)
	}
	before := m.length
	m.length, m.last = at, *in
	m.least, m.most = max(m.least, in.Least), max(m.most, in.Most)
	m.concurrency, m.byteRate, m.maxConcurrency = in.Concurrency, max(0, in.ByteRate), max(0, in.MaxConcurrency)
	if in.Completed > 0 && in.BatchTime > 0 && in.BatchRecords > 0 {
		if k := len(m.calls) - 1; k < 0 || m.calls[k].took != in.BatchTime {
			m.calls = append(m.calls, timed{at, in.BatchTime})
		}
		m.batch = max(m.batch, int(math.Round(min(in.BatchRecords, 1e6))), 1)
		m.recordBytes = int(min(in.BatchBytes/in.BatchRecords, 1<<30))
	}
	p := scalesim.Point{At: at, Pollers: d.To, Busy: in.Busy, Settled: in.Settled}
	unknown := false
	for i := range in.Lanes {
		l := &in.Lanes[i]
		if l.Lag < 0 {
			unknown = true
		} else {
			p.Lag += l.Lag
		}
		m.lane(l, at, before, index)
	}
	if unknown {
		m.unknown++
		p.Lag = -1
	} else {
		m.lagLeft = p.Lag
	}
	m.series = append(m.series, p)
}

// lane takes in what a sample says of a partition. before is the time of the sample
// before it.
func (m *model) lane(in *scaling.Lane, at, before time.Duration, index map[string]*lane) {
	name := fmt.Sprintf("%s-%d", in.Topic, in.Partition)
	l := index[name]
	switch {
	case l == nil:
		l = &lane{name: name}
		index[name] = l
		m.lanes = append(m.lanes, l)
		if at > 0 {
			l.away = append(l.away, scalesim.Away{Span: scalesim.Span{To: at}})
		}
	case l.seen < before:
		l.away = append(l.away, scalesim.Away{Span: scalesim.Span{From: l.seen + 1, To: at}})
		l.known = false
	}
	fresh := !l.known
	if !l.known && in.Lag >= 0 && in.End >= 0 {
		// It is there when the partition comes. Where it had been away, what came
		// before that is somebody else's, but for this.
		l.bursts = append(l.bursts, scalesim.Burst{At: max(0, at-1), Records: in.Lag})
		if k := len(l.away) - 1; k >= 0 && l.away[k].To == at {
			l.away[k].Left = in.Lag
		}
		l.known = true
	}
	if l.known && in.End >= 0 && in.Lag >= 0 {
		l.end(at, in.End, fresh)
	}
	l.seen = at
}

// end takes in an end. A Mapping asks for ends once a second, so what is new came in
// that second, or since the end was last known; and not in the milliseconds since the
// last sample.
func (l *lane) end(at time.Duration, offset int64, fresh bool) {
	if k := len(l.ends) - 1; k >= 0 && !fresh {
		last := l.ends[k]
		if offset <= last.offset {
			l.heard = at
			return
		}
		if flat := min(l.heard, at-time.Second); flat > last.at {
			l.ends = append(l.ends, end{flat, last.offset, false})
		}
	}
	l.ends = append(l.ends, end{at, offset, fresh})
	l.heard = at
}

// rates says how many records came into each lane in each second. It is for one run:
// it goes forward only.
func (m *model) rates() func(lane, second int) float64 {
	at := make([]int, len(m.lanes))
	return func(n, second int) float64 {
		l := m.lanes[n]
		from, to := time.Duration(second)*time.Second, time.Duration(second+1)*time.Second
		came := 0.0
		for ; at[n]+1 < len(l.ends); at[n]++ {
			a, b := l.ends[at[n]], l.ends[at[n]+1]
			if overlap := min(b.at, to) - max(a.at, from); overlap > 0 && !b.fresh && b.offset > a.offset {
				came += float64(b.offset-a.offset) * float64(overlap) / float64(b.at-a.at)
			}
			if b.at > to {
				break
			}
		}
		return came
	}
}

// slow says how many seconds a call takes that begins at a time, for one run.
func (m *model) slow() func(time.Duration) float64 {
	at := 0
	return func(t time.Duration) float64 {
		for at+1 < len(m.calls) && m.calls[at+1].at <= t {
			at++
		}
		return m.calls[at].took.Seconds()
	}
}

// config is what is simulated, with other bounds.
func (m *model) config(b bounds) scalesim.Config {
	c := scalesim.Config{
		Trace:    scalesim.Trace{Partitions: len(m.lanes), Rate: m.rates(), Length: m.length},
		Function: scalesim.Function{Call: time.Second, Slow: m.slow()},
		Settings: scalesim.Settings{
			Min: b.Min, Max: b.Max, Concurrency: m.concurrency, MaxConcurrency: m.maxConcurrency, ByteRate: m.byteRate,
			Batch: m.batch, RecordBytes: max(1, m.recordBytes),
		},
		Every: min(time.Second, max(50*time.Millisecond, m.length/1000)),
		Until: m.length + 24*time.Hour,
	}
	for n, l := range m.lanes {
		for _, burst := range l.bursts {
			burst.Partition = n
			if burst.Records > 0 {
				c.Trace.Bursts = append(c.Trace.Bursts, burst)
			}
		}
		for _, away := range l.away {
			away.Partitions, away.Handled = []int{n}, true
			c.Away = append(c.Away, away)
		}
	}
	return c
}
