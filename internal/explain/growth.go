package explain

import "time"

const (
	growsFor = 3                // minutes in a row: then a person wants to know,
	worth    = 10 * time.Second // if there is more than is handled in that time,
	again    = 15 * time.Minute // and not again before that
)

// A Growth says when a lag has grown for so long that a person wants to know. The zero
// Growth has seen none.
type Growth struct {
	at      time.Time // of the last look,
	lag     int64     // and what it was then, -1 if unknown
	settled int64
	rises   int
	said    time.Time
}

// Due reports whether to look again.
func (g *Growth) Due(now time.Time) bool { return now.Sub(g.at) >= time.Minute }

// Rest begins anew: the Mapping was paused, say. What was said is said.
func (g *Growth) Rest() { *g = Growth{said: g.said} }

// Look takes the lag, -1 where it is unknown, and how many records are settled since the
// start. It reports whether to say that the lag grows.
func (g *Growth) Look(now time.Time, lag, settled int64) bool {
	took, handled := now.Sub(g.at), settled-g.settled
	rose := !g.at.IsZero() && lag >= 0 && g.lag >= 0 && lag > g.lag
	g.at, g.lag, g.settled = now, lag, settled
	if !rose {
		g.rises = 0
		return false
	}
	g.rises++
	if g.rises < growsFor || float64(lag) < float64(handled)*worth.Seconds()/took.Seconds() || !g.said.IsZero() && now.Sub(g.said) < again {
		return false
	}
	g.said = now
	return true
}
