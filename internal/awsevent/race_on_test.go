//go:build race

package awsevent

const raceEnabled = true
