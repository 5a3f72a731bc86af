package engine

import "errors"

// Causes of contexts that the engine cancelled. The face gives them to users as
// values of its own.
var (
	ErrStopping = errors.New("esm: the mapping is stopping")
	ErrRevoked  = errors.New("esm: the partition was taken away")
)
