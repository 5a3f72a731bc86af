//go:build !unix

package main

// usage is not known on this system.
func usage() (cpu *float64, rss *int64) { return nil, nil }
