//go:build !unix

package awslambda_test

// cpuSeconds is not known on this system.
func cpuSeconds() float64 { return 0 }
