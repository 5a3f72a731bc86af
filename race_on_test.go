//go:build race

package esm_test

const raceEnabled = true
