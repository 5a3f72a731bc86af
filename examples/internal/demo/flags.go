package demo

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Flags are the flags of an example, with their bounds.
type Flags struct {
	*flag.FlagSet
	checks []func() error
	json   bool
}

// Parse reads flags. If it is not ok, the program ends with the exit code: what
// was wrong is written already.
func Parse(name string, args []string, stderr io.Writer, define func(*Flags)) (f *Flags, exitCode int, ok bool) {
	f = &Flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError)}
	f.SetOutput(stderr)
	define(f)
	switch err := f.FlagSet.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return f, 0, false
	case err != nil: // the flag package has written it
		return f, 2, false
	}
	if err := f.check(); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return f, 2, false
	}
	return f, 0, true
}

func (f *Flags) check() error {
	if f.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", f.Arg(0))
	}
	for _, check := range f.checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// Check has something looked at when all flags are read. Checks run in the
// order in which they were added, and the first error is the one that is told.
func (f *Flags) Check(check func() error) { f.checks = append(f.checks, check) }

// Given reports whether a flag was among the arguments.
func (f *Flags) Given(name string) (given bool) {
	f.Visit(func(g *flag.Flag) { given = given || g.Name == name })
	return given
}

// NoMost is for numbers without an upper bound.
const NoMost = math.MaxInt

// Number defines a flag that is a number from least to most.
func (f *Flags) Number(p *int, name string, value, least, most int, usage string) {
	f.IntVar(p, name, value, usage)
	f.Check(func() error {
		switch {
		case *p >= least && *p <= most:
			return nil
		case most == NoMost:
			return fmt.Errorf("-%s is %d, and must be %s or more", name, *p, Grouped(int64(least)))
		}
		return fmt.Errorf("-%s is %d, and must be %s to %s", name, *p, Grouped(int64(least)), Grouped(int64(most)))
	})
}

// Time defines a flag that is a duration from least to most.
func (f *Flags) Time(p *time.Duration, name string, value, least, most time.Duration, usage string) {
	f.DurationVar(p, name, value, usage)
	f.Check(func() error {
		if *p < least || *p > most {
			return fmt.Errorf("-%s is %s, and must be %s to %s", name, *p, short(least), short(most))
		}
		return nil
	})
}

// JSON defines the flag -json, for an example that has a Result.
func (f *Flags) JSON() {
	f.BoolVar(&f.json, "json", false, "print the summary as one line of JSON, and the progress to stderr")
}

// Grouped writes a number as 1,000,000.
func Grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short writes 1m0s as 1m, and 0s as 0.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if s == "0s" {
		return "0"
	}
	return s
}
