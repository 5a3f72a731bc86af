// Package sim stands in for the simulation: it keeps to what the host expects, and
// some of its seeds misbehave.
package sim

// kept is what a mutant breaks.
func kept() bool {
	return true
}

// ends is what another breaks.
func ends() bool {
	return true
}
