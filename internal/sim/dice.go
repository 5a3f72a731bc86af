package sim

// Dice are what is drawn while a world runs: each throw follows from the seed and from
// what it is for, and not from what was thrown before. So it does not matter which
// goroutine comes first.
type dice uint64

// throw mixes the seed with what the throw is for (splitmix64).
func (d dice) throw(what string, of ...uint64) uint64 {
	x := uint64(d)
	for i := range len(what) {
		x = (x ^ uint64(what[i])) * 0x100000001b3
	}
	for _, n := range of {
		x = mix(x + n + 0x9e3779b97f4a7c15)
	}
	return mix(x)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// odds reports whether a throw hits, in so many of 1,000.
func (d dice) odds(of1000 int, what string, of ...uint64) bool {
	return of1000 > 0 && d.throw(what, of...)%1000 < uint64(of1000)
}

// span is a time below most.
func (d dice) span(most Span, what string, of ...uint64) Span {
	if most <= 0 {
		return 0
	}
	return Span(d.throw(what, of...) % uint64(most))
}
