//go:build race

package esm_test

const raceDetector = true
