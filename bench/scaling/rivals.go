package main

import (
	"math"
	"time"

	"github.com/seed429fd032/esm/bench/scaling/earlier"
	"github.com/seed429fd032/esm/internal/scalesim"
	"github.com/seed429fd032/esm/scaling"
)

// A rival is a policy, with where its formula is from. All of them have this
// library's engine here, with steps that are free: in their own systems a step is a
// process that starts, and a rebalance. That favours them.
type rival struct {
	name   string
	source string
	make   func() scalesim.Policy
}

// ours is the first of them.
const ours = "esm"

func rivals() []rival {
	return []rival{
		{ours, "Package scaling of this repository.", func() scalesim.Policy { return scalesim.Scaler(scaling.Provisioned) }},
		{"esm, earlier", "The policy of this library before: ten seconds for a backlog, a quiet minute before pollers go, a step up is judged by what it settles.",
			func() scalesim.Policy { return before(scaling.Provisioned) }},
		{"AWS on-demand", "As documented: evaluated each minute, and pollers come or go within three minutes, here after half of that ([scaling modes](https://docs.aws.amazon.com/lambda/latest/dg/kafka-scaling-modes.html)). How many is not published: here what deals with the backlog in ten seconds.",
			func() scalesim.Policy { return &delayed{of: before(scaling.OnDemand), by: 90 * time.Second} }},
		{"AWS provisioned", "No interval and no step are published. Its [published drains](https://aws.amazon.com/blogs/compute/introducing-provisioned-mode-for-kafka-event-source-mappings-with-aws-lambda) (2,000,000 records, 3.5 minutes from 1 poller and 1.5 from 100) are about those of a number that doubles each minute, after 70 s that are left out here. How it goes down is assumed: a quarter each minute.",
			func() scalesim.Policy { return &doubling{} }},
		{"KEDA", "[KEDA's Kafka scaler](https://keda.sh/docs/latest/scalers/apache-kafka) with its default lagThreshold of 10, under a [HorizontalPodAutoscaler](https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/) with its defaults: every 15 s, within a tenth nothing, up by 100 % or 4 in 15 s, down after the most of five minutes.",
			func() scalesim.Policy { return &keda{threshold: 10} }},
		{"KEDA, tuned", "The same, with a lagThreshold of five batches: one for each call that a poller can have.",
			func() scalesim.Policy { return &keda{threshold: 500} }},
		{"Numaflow", "[Its source](https://github.com/numaproj/numaflow/blob/main/pkg/reconciler/vertex/scaling/scaling.go) and [defaults](https://numaflow.numaproj.io/user-guide/reference/autoscaling/): pending over the rate of two minutes, to be done in 20 s; 2 at a time, 90 s apart.",
			func() scalesim.Policy { return &numaflow{} }},
		{"uForwarder", "[Its autoscalar](https://github.com/uber/uForwarder/tree/main/uforwarder-core/src/main/java/com/uber/data/kafka/datatransfer/controller/autoscalar) with its defaults: 4,000 messages or 16 MiB a second a worker; up to the median of five minutes, by a fifth to twice; down after a day.",
			func() scalesim.Policy { return &uforwarder{} }},
	}
}

// sameFormula says what has no row.
const sameFormula = "[Azure Functions](https://learn.microsoft.com/azure/azure-functions/functions-target-based-scaling) divides the lag by a target for each instance, and adds four at a time; " +
	"[Knative's KafkaSource](https://knative.dev/docs/eventing/configuration/keda-configuration/) is scaled by KEDA itself: " +
	"both have much the formula of KEDA's rows, with other thresholds."

func before(m scaling.Mode) scalesim.Policy {
	s := earlier.New(m)
	return scalesim.PolicyFunc(func(in scaling.Sample) scalesim.Answer { return scalesim.Answer{Pollers: s.Decide(in)} })
}

// delayed does what another policy says a while later.
type delayed struct {
	of    scalesim.Policy
	by    time.Duration
	asked int // what it is to be, 0 for none,
	at    time.Time
}

func (d *delayed) Decide(in scaling.Sample) scalesim.Answer {
	if d.asked == 0 {
		if n := d.of.Decide(in).Pollers; n != in.Pollers {
			d.asked, d.at = n, in.At.Add(d.by)
		}
		return scalesim.Answer{Pollers: in.Pollers}
	}
	if in.At.Before(d.at) {
		return scalesim.Answer{Pollers: in.Pollers}
	}
	n := d.asked
	d.asked = 0
	return scalesim.Answer{Pollers: n}
}

// lagOf sums the lag up, and says whether all of it is known.
func lagOf(in *scaling.Sample) (lag int64, known bool) {
	for _, l := range in.Lanes {
		if l.Lag < 0 {
			return 0, false
		}
		lag += l.Lag
	}
	return lag, true
}

// every is whether it is time again.
func every(last *time.Time, now time.Time, d time.Duration) bool {
	if last.IsZero() {
		*last = now.Add(-d / 2) // the first look is at some moment
	}
	if now.Sub(*last) < d {
		return false
	}
	*last = last.Add(d)
	return true
}

func stay(in *scaling.Sample) scalesim.Answer { return scalesim.Answer{Pollers: in.Pollers} }

// doubling is what AWS's figures suggest.
type doubling struct{ last time.Time }

func (p *doubling) Decide(in scaling.Sample) scalesim.Answer {
	if !every(&p.last, in.At, time.Minute) {
		return stay(&in)
	}
	lag, known := lagOf(&in)
	busy := in.Busy >= in.Slots*8/10
	switch {
	case !known:
		return stay(&in)
	case busy && lag > int64(2*float64(in.Slots)*in.BatchRecords):
		return scalesim.Answer{Pollers: 2 * in.Pollers}
	case in.Busy <= in.Slots/2:
		return scalesim.Answer{Pollers: in.Pollers - (in.Pollers+3)/4}
	}
	return stay(&in)
}

// keda is a lag over a threshold, and what a HorizontalPodAutoscaler makes of it.
type keda struct {
	threshold float64
	last      time.Time
	said      []recommendation
}

type recommendation struct {
	at      time.Time
	pollers int
}

const (
	hpaSync      = 15 * time.Second
	hpaTolerance = 0.1
	hpaWindow    = 5 * time.Minute
)

func (p *keda) Decide(in scaling.Sample) scalesim.Answer {
	if !every(&p.last, in.At, hpaSync) {
		return stay(&in)
	}
	lag, known := lagOf(&in)
	if !known {
		return stay(&in) // no metric, no change
	}
	total := min(float64(lag), p.threshold*float64(len(in.Lanes)))
	desired := int(math.Ceil(total / p.threshold))
	if ratio := total / (p.threshold * float64(max(1, in.Pollers))); math.Abs(ratio-1) <= hpaTolerance {
		desired = in.Pollers
	}
	desired = min(max(desired, in.Least), in.Most)
	p.said = append(p.said, recommendation{in.At, desired})
	for in.At.Sub(p.said[0].at) > hpaWindow {
		p.said = p.said[1:]
	}
	if desired > in.Pollers {
		return scalesim.Answer{Pollers: min(desired, max(2*in.Pollers, in.Pollers+4))}
	}
	most := 0
	for _, r := range p.said {
		most = max(most, r.pollers)
	}
	return scalesim.Answer{Pollers: min(in.Pollers, most)}
}

// numaflow is what a source vertex of it does.
type numaflow struct {
	looks  []look
	scaled time.Time
}

type look struct {
	at      time.Time
	settled int64
	pending int64
}

const (
	numaflowLookback = 2 * time.Minute
	numaflowTarget   = 20.0 // seconds
	numaflowCooldown = 90 * time.Second
	numaflowStep     = 2
)

func (p *numaflow) Decide(in scaling.Sample) scalesim.Answer {
	lag, known := lagOf(&in)
	if !known {
		return stay(&in)
	}
	if p.scaled.IsZero() {
		p.scaled = in.At
	}
	if n := len(p.looks); n == 0 || in.At.Sub(p.looks[n-1].at) >= time.Second {
		p.looks = append(p.looks, look{in.At, in.Settled, lag})
	}
	for in.At.Sub(p.looks[0].at) > numaflowLookback {
		p.looks = p.looks[1:]
	}
	if in.At.Sub(p.scaled) < numaflowCooldown {
		return stay(&in)
	}
	first, pending := p.looks[0], int64(0)
	for _, l := range p.looks {
		pending += l.pending
	}
	pending /= int64(len(p.looks))
	ran := in.At.Sub(first.at).Seconds()
	if ran <= 0 {
		return stay(&in)
	}
	rate := float64(in.Settled-first.settled) / ran
	desired := 1
	if rate > 0 && pending > 0 {
		desired = max(1, int(math.Round(float64(pending)/rate/numaflowTarget*float64(in.Pollers))))
		desired = min(desired, int(min(pending, 1<<30)))
	}
	desired = min(max(desired, in.Least), in.Most)
	if desired == in.Pollers {
		return stay(&in)
	}
	p.scaled = in.At
	return scalesim.Answer{Pollers: min(max(desired, in.Pollers-numaflowStep), in.Pollers+numaflowStep)}
}

// uforwarder follows the throughput, over what a worker is rated at. Its scale is a
// fraction, of which the pollers are the next whole number.
type uforwarder struct {
	scale    float64
	up, down window
	last     look
}

// A window is samples that fall between bounds, in a hundred buckets.
type window struct {
	began       time.Time
	least, most float64
	counts      [100]int
	n           int
}

func (w *window) add(x float64) {
	at := int(math.Ceil((x - w.least) / ((w.most - w.least) / float64(len(w.counts)))))
	w.counts[min(len(w.counts)-1, max(0, at))]++
	w.n++
}

func (w *window) percentile(q float64) float64 {
	pivot, sum := int(q*float64(w.n)), 0
	at := 0
	for ; at < len(w.counts); at++ {
		if sum += w.counts[at]; sum >= pivot {
			break
		}
	}
	return w.least + float64(at)*(w.most-w.least)/float64(len(w.counts))
}

const (
	uforwarderMessages = 4000.0
	uforwarderBytes    = 16 << 20
	uforwarderUp       = 5 * time.Minute
	uforwarderDown     = 24 * time.Hour
	uforwarderEvery    = 10 * time.Second
)

func (p *uforwarder) begin(now time.Time, scale float64) {
	p.scale = scale
	p.up = window{began: now, least: scale, most: 2 * scale}
	p.down = window{began: now, least: 0.5 * scale, most: scale}
}

func (p *uforwarder) Decide(in scaling.Sample) scalesim.Answer {
	if p.last.at.IsZero() {
		p.last = look{in.At, in.Settled, 0}
		p.begin(in.At, float64(max(1, in.Pollers)))
		return stay(&in)
	}
	ran := in.At.Sub(p.last.at)
	if ran < uforwarderEvery {
		return stay(&in)
	}
	rate := float64(in.Settled-p.last.settled) / ran.Seconds()
	p.last = look{in.At, in.Settled, 0}
	perRecord := 0.0
	if in.BatchRecords > 0 {
		perRecord = in.BatchBytes / in.BatchRecords
	}
	x := max(rate/uforwarderMessages, rate*perRecord/uforwarderBytes)
	p.up.add(x)
	p.down.add(x)
	if in.At.Sub(p.up.began) > uforwarderUp && p.up.n >= 10 {
		if s := p.up.percentile(0.5); s >= 1.2*p.scale {
			p.begin(in.At, s)
		} else {
			p.up = window{began: in.At, least: p.scale, most: 2 * p.scale}
		}
	}
	if in.At.Sub(p.down.began) > uforwarderDown && p.down.n >= 10 {
		if s := p.down.percentile(0.99); s <= 0.8*p.scale {
			p.begin(in.At, s)
		} else {
			p.down = window{began: in.At, least: 0.5 * p.scale, most: p.scale}
		}
	}
	return scalesim.Answer{Pollers: int(math.Ceil(p.scale - 1e-9))}
}
