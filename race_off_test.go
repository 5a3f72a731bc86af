//go:build !race

package esm_test

const raceEnabled = false
