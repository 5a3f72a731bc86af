// Command scaling compares how policies scale, on traces of what happens to a
// Mapping and its function: this library's, and those of others from their published
// formulas. All is simulated, so it takes seconds and comes out the same each time.
//
//	cd bench && go run ./scaling
//
// prints the table of all, and writes the page SCALING.md and a plot for each trace
// into bench/scaling. It fails where this library's policy is not first and no
// sentence says why.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := command(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

const page = "SCALING.md"

func command(args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("scaling", flag.ContinueOnError)
	only := f.String("only", "", "which `traces`, separated by commas: prints them, and writes nothing")
	out := f.String("out", "scaling", "`folder` for the page and the plots")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *only != "" {
		return some(strings.Split(*only, ","), stdout)
	}
	var rows []row
	for _, t := range traces() {
		rows = append(rows, measure(t, rivals()))
	}
	text := markdown(rows, rivals(), why)
	fmt.Fprint(stdout, text)
	if err := os.WriteFile(filepath.Join(*out, page), []byte(text), 0o644); err != nil {
		return err
	}
	for i := range rows {
		if err := os.WriteFile(filepath.Join(*out, file(rows[i].name)), rows[i].picture(), 0o644); err != nil {
			return err
		}
	}
	if said := unexplained(rows, why); len(said) > 0 {
		return errors.New(strings.Join(said, "\n"))
	}
	return nil
}

// some prints a few rows.
func some(names []string, stdout io.Writer) error {
	for _, name := range names {
		found := false
		for _, t := range traces() {
			if t.name == name || anchor(t.name) == name {
				found = true
				r := measure(t, rivals())
				fmt.Fprintln(stdout, r.markdown(why))
			}
		}
		if !found {
			return fmt.Errorf("-only: there is no trace %q", name)
		}
	}
	return nil
}
