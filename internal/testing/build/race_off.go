//go:build !race

package build

// Race is whether the race detector looks on.
const Race = false
