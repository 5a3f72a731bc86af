package awsconfig

import (
	"errors"
	"fmt"

	"github.com/seed429fd032/esm/internal/guard"
)

// A Mistake is one thing that is wrong in a configuration. What reads or judges one
// joins all that it finds with errors.Join: see [Mistakes].
type Mistake struct {
	// Path is where it stands in the document that was read, for example
	// Resources.Orders.Properties.BatchSize. For what was read from nothing it is Field.
	Path string
	// Line is the line of the document, from 1, or 0 if that is not known.
	Line int
	// Field is the parameter in the words of AWS's API, whatever the document calls it,
	// for example ProvisionedPollerConfig.MinimumPollers. "" if it is about none.
	Field string
	// Value is what is there, as JSON and cut if it is long. "" if it is absent.
	Value string
	// Bound says what it must be.
	Bound string
	// Unbuilt is whether AWS takes it, and this library has no such thing (yet).
	Unbuilt bool
}

// Error says where it is, what is there and what it must be.
func (m *Mistake) Error() string {
	s := "awsconfig: " + m.Path
	if m.Path == "" {
		s = "awsconfig: the document"
	}
	if m.Line > 0 {
		s += fmt.Sprintf(" (line %d)", m.Line)
	}
	s += ": "
	if m.Value != "" {
		s += m.Value + " "
	}
	return s + m.Bound
}

// MarshalText is Error, for JSON and logs.
func (m *Mistake) MarshalText() ([]byte, error) { return []byte(guard.Text(m)), nil }

// Mistakes returns all mistakes that an error of this package holds.
func Mistakes(err error) (all []*Mistake) {
	switch e := err.(type) {
	case nil:
		return nil
	case *Mistake:
		return []*Mistake{e}
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, Mistakes(one)...)
		}
		return all
	}
	return Mistakes(errors.Unwrap(err))
}

// join makes one error of mistakes, or nil.
func join(ms []*Mistake) error {
	errs := make([]error, len(ms))
	for i, m := range ms {
		errs[i] = m
	}
	return errors.Join(errs...)
}
