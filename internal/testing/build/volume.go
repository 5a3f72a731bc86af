package build

import "os"

// Nightly is whether tests that are sampled run whole: see .ci/nightly.
var Nightly = os.Getenv("ESM_NIGHTLY") != ""

// Volume is how much of something a test does: the whole of it, or what shows the same
// races if the race detector looks on, which makes it ten times slower.
func Volume(whole, races int) int {
	if Race && !Nightly {
		return races
	}
	return whole
}
