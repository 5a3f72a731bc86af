package esm

import "errors"

// Causes of contexts that the engine cancelled. The face gives them to users as
// values of its own.
var (
	errStopping = errors.New("esm: the mapping is stopping")
	errRevoked  = errors.New("esm: the partition was taken away")
)
