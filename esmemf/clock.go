package esmemf

import "time"

// every is how often Run writes: CloudWatch keeps a number a minute.
const every = time.Minute

// untilNext is how long it is to the next middle of a minute. A line that came at the end of
// one would be in the next one if it were a little late.
func untilNext(now time.Time) time.Duration {
	return now.Add(every / 2).Truncate(every).Add(every / 2).Sub(now)
}
