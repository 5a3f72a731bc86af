package main

import "slices"

// shortest leaves out what a failure does not need, by halves first and one by one
// in the end, while what is left still fails (ddmin, of Zeller and Hildebrandt).
// Of its result nothing can be left out. It takes for granted that all fails, and
// an error of fails ends it.
func shortest[T any](all []T, fails func([]T) (bool, error)) ([]T, error) {
	if len(all) == 0 {
		return all, nil
	}
	if yes, err := fails(nil); yes || err != nil {
		return nil, err
	}
	all = slices.Clone(all)
	for parts := 2; len(all) > 1; {
		less, err := without(all, parts, fails)
		switch {
		case err != nil:
			return nil, err
		case less != nil:
			all, parts = less, max(parts-1, 2)
		case parts >= len(all):
			return all, nil
		default:
			parts *= 2
		}
		parts = min(parts, len(all))
	}
	return all, nil
}

// without leaves out one of so many parts: the first without which it still fails.
// It returns nil if there is none.
func without[T any](all []T, parts int, fails func([]T) (bool, error)) ([]T, error) {
	for i := range parts {
		from, to := i*len(all)/parts, (i+1)*len(all)/parts
		rest := slices.Concat(all[:from], all[to:])
		if len(rest) == 0 {
			continue // nothing at all was tried
		}
		if yes, err := fails(rest); yes || err != nil {
			return rest, err
		}
	}
	return nil, nil
}
