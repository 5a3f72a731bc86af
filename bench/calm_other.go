//go:build !linux

package main

import (
	"context"
	"time"
)

// calm lets the run before settle.
func calm(ctx context.Context) error { return wait(ctx, 2*time.Second) }
