// Package build says how a test was built.
package build
