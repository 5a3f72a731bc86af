package esm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
)

// Unlimited, as the value of an option that sets a limit, means no limit.
const Unlimited = -1

// An Option changes a setting of a [Mapping] from its default. Options only
// record what they are given; [New] and [Mapping.Update] judge all of them
// together, so their order does not matter, except that the later of two of
// the same kind wins.
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

// OptionError is one mistake in a [Source] or an [Option]. [New] joins all
// that it finds with errors.Join.
type OptionError struct {
	// Option is the name of the option, as it is written in Go.
	Option string
	// Value is what it was given.
	Value any
	// Bound says what it must be.
	Bound string
}

// Error says which option has which value, and what it must be.
func (e *OptionError) Error() string {
	return fmt.Sprintf("esm: %s: %v %s", e.Option, e.Value, e.Bound)
}

// MarshalText is Error, for JSON and logs.
func (e *OptionError) MarshalText() ([]byte, error) { return []byte(guard.Text(e)), nil }

// config is what the options and their defaults say. It is a value: an update
// makes a new one.
type config struct {
	engine.Settings
	boundsSet   string      // the option that set a bound, for the on-demand mode
	destination Destination // or nil
	pauseOnHalt bool

	stopTimeout, revokeTimeout, startTimeout time.Duration
	startChecks                              []func(context.Context) error

	name   string
	logger *slog.Logger
	hooks  []Hooks

	errs []error // options that could not even be recorded
}

// defaults suit a function in the process: nothing waits, and nothing is slower
// than it must be. What AWS's pollers are is in WithAWSLimits.
func defaults(group string) config {
	return config{
		Settings: engine.Settings{
			MinPollers:        1,
			MaxPollers:        200,
			PollerConcurrency: 5,
			PollerByteRate:    Unlimited,
			MaxConcurrency:    Unlimited,
			BatchSize:         100,
			BatchWindow:       0,
			BatchBytes:        4 << 20,
			Backoff:           Exponential(time.Second, time.Minute),
			MaxRetries:        Unlimited,
			MaxRecordAge:      Unlimited,
			MemoryBudget:      128 << 20,
		},
		stopTimeout:   20 * time.Second,
		revokeTimeout: 30 * time.Second,
		startTimeout:  time.Minute,
		name:          group,
		logger:        slog.Default(),
	}
}

// WithMinPollers sets the lower bound on the pollers of this process, or of all
// with [WithGroupBounds]: 1 to 200, default 1. Never more than assigned
// partitions are used. Can be updated. (AWS:
// ProvisionedPollerConfig.MinimumPollers.)
func WithMinPollers(n int) Option {
	return option(func(c *config) { c.MinPollers, c.boundsSet = n, "WithMinPollers" })
}

// WithMaxPollers sets how many pollers there are at most in this process, or in
// all with [WithGroupBounds]: 1 to 2000, default 200, at least
// [WithMinPollers]. Never more than assigned partitions are used. Can be
// updated. (AWS:
// ProvisionedPollerConfig.MaximumPollers.)
func WithMaxPollers(n int) Option {
	return option(func(c *config) { c.MaxPollers, c.boundsSet = n, "WithMaxPollers" })
}

// WithOnDemand scales as AWS's on-demand mode does: from one poller, by what
// the lag asks for, once a minute. It excludes [WithMinPollers] and
// [WithMaxPollers]. Default: off. Cannot be updated. (AWS: no
// ProvisionedPollerConfig.)
func WithOnDemand(on bool) Option { return option(func(c *config) { c.OnDemand = on }) }

// WithGroupBounds makes [WithMinPollers], [WithMaxPollers] and [WithMaxConcurrency]
// hold for all processes of the consumer group together, as AWS's do, instead of for
// each. Default: off. Cannot be updated, but the bounds can. (AWS: always.)
//
// No process asks another: each partition of the subscribed topics has its share of a
// bound, and a process has what its partitions have. So all processes must set the
// option, the same bounds, and the same topics; while they differ, as during a deploy
// that changes them, each goes by its own. The share of a partition that has nothing to
// do is not lent to others: with a maximum of 10 and 100 partitions of which 50 are
// idle, about 5 pollers work. Nor are shares all alike: of 10 processes with 10 of 100
// partitions each, one has 1 to 9 of a maximum of 50 pollers, and of a maximum of 10
// has 0 to 4. What a bound is here is in [Stats].
//
// When a partition moves, its old process gives it up when its calls, those of other
// partitions too, fit what is left of the bounds, or after [WithRevokeTimeout]. So the
// group never has more invocations than the bounds allow, but for:
//
//   - the one slot, of one invocation at once, of a process whose share is none, or
//     that does not know how many partitions there are: no partition stands still. A
//     maximum well above the number of processes makes that rare;
//   - calls that go on when a revoke was not given more time, or a session was lost;
//   - the few seconds in which partitions were added and not all processes know.
//
// The pollers of a process are its share at most, and one at least. A minimum above
// the partitions that can use it is no more than these. With [WithOnDemand], which has
// no bounds of pollers, it needs a [WithMaxConcurrency].
func WithGroupBounds(on bool) Option { return option(func(c *config) { c.GroupBounds = on }) }

// WithPollerConcurrency sets how many invocations a poller has at once at
// most: 1 to 1000, default 5. Can be updated. (AWS: always 5.)
func WithPollerConcurrency(n int) Option {
	return option(func(c *config) { c.PollerConcurrency = n })
}

// WithPollerByteRate sets how many bytes of key and value a second a poller
// moves at most: 1,000 or more, or [Unlimited], which is the default. Records
// that are tried again do not count again. A record that is larger than that
// passes, and is paid for afterwards. Can be updated. (AWS: always 5 MB/s, see
// [WithAWSLimits].)
func WithPollerByteRate(bytesPerSecond int) Option {
	return option(func(c *config) { c.PollerByteRate = bytesPerSecond })
}

// WithMaxConcurrency limits the invocations at once of this process, or of all with
// [WithGroupBounds], whatever the number of pollers: 1 or more, or [Unlimited], which is the default. Can
// be updated. (AWS: the function's reserved concurrency.)
func WithMaxConcurrency(n int) Option { return option(func(c *config) { c.MaxConcurrency = n }) }

// WithBatchSize sets how many records a batch has at most: 1 to 10,000,
// default 100. Can be updated. (AWS: BatchSize.)
func WithBatchSize(n int) Option { return option(func(c *config) { c.BatchSize = n }) }

// WithBatchWindow sets how long a record waits for others to fill its batch:
// 0 to 300 s, default 0. The window of a partition opens with its first record,
// and after a batch of it is settled. Can be updated: windows that are open keep
// their length, but 0 ends them. While memory is short (see [WithMemoryBudget]) and
// pollers have nothing to do, those end early that fill three quarters of a batch.
// (AWS: MaximumBatchingWindowInSeconds, there 500 ms, see [WithAWSLimits].)
//
// With 0 a batch holds whatever is there, from one partition or, where several
// have less than a batch, from all of these. A record that comes alone is handled
// at once, by a call of its own. That suits a function in the process. If each call
// costs money or a round trip, set a window: 100 partitions with a record a second
// each make about 100 calls a second with 0, and 2 with 500 ms. Where calls carry
// little for minutes, [Stats].RecordsPerCall and one line in the log say so.
func WithBatchWindow(d time.Duration) Option { return option(func(c *config) { c.BatchWindow = d }) }

// WithBatchBytes sets how many bytes of key, value and headers a batch has at
// most: 1 or more, default 4 MiB. A record that is larger goes alone. What a
// function accepts is its Invoker's business. Can be updated. (AWS: always
// 6 MB of the encoded event.)
func WithBatchBytes(n int) Option { return option(func(c *config) { c.BatchBytes = n }) }

// WithAWSLimits sets what AWS's pollers are, and nothing else. Later options win:
// to keep one of these at another value, give it after this one. Can be updated.
//
//	WithPollerConcurrency(5)
//	WithPollerByteRate(5_000_000)
//	WithBatchWindow(500 * time.Millisecond)
//	WithBatchBytes(4 << 20)
//
// AWS limits the encoded event to 6 MB, and base64 makes 5.6 MB of 4 MiB of keys
// and values. Use WithAWSLimits with a function that is billed or far away (package
// awslambda), to compare with AWS, and for settings that come from AWS. (AWS: an
// event poller has up to 5 invocations at once and up to 5 MB/s; the batching
// window of Kafka is 500 ms unless MaximumBatchingWindowInSeconds says otherwise.)
func WithAWSLimits() Option {
	return option(func(c *config) {
		for _, o := range []Option{
			WithPollerConcurrency(5), WithPollerByteRate(5_000_000), WithBatchWindow(500 * time.Millisecond), WithBatchBytes(4 << 20),
		} {
			o.apply(c)
		}
	})
}

// WithBackoff sets how long a partition waits after its nth failed attempt
// (from 1), before its batch is tried again. Default:
// Exponential(time.Second, time.Minute). A negative duration counts as none,
// and more than 24 h as 24 h. f is called from many goroutines. Can be
// updated. (AWS does not publish its own.)
func WithBackoff(f func(attempt int) time.Duration) Option {
	return option(func(c *config) {
		if c.Backoff = nil; f != nil { // validate reports a nil
			c.Backoff = (&backoffs{of: f}).after
		}
	})
}

// WithInvokeTimeout ends the context of an invocation after this long: 1 ms or
// more, or 0 for never, which is the default. Time in which the call says that it
// waits for a place does not count ([Waiting]). A call that goes on regardless
// keeps its partitions. Can be updated; calls that run keep theirs.
//
// There is no default because no time is right for every function, and one that is
// too short is worse than none: it ends calls that work, and the same batch, tried
// again, takes as long. A function that hangs is seen without it: a call is logged
// after a minute ([Hooks].InvokeStuck, [Stats].SlowSlots), that no call succeeds for
// five minutes is a [Problem], and that none ends for 20 makes [Mapping.Healthy]
// fail. If you know how long a batch takes at most, set a multiple of that.
//
// It is the last line, for any Invoker. Those that leave the process have a bound of
// their own: esmhttp.WithTimeout (1 minute), awslambda.WithTimeout and
// lambdalocal.WithTimeout (about 15 minutes, which is AWS's limit). Make this one
// longer.
func WithInvokeTimeout(d time.Duration) Option {
	return option(func(c *config) { c.InvokeTimeout = d })
}

// WithMaxRetries sets how often a batch that failed is tried again before its
// records are given up ([ReasonRetriesExhausted]): 0 to 10,000, or [Unlimited]
// (any negative number), which is the default. It needs a [WithDestination],
// and never changes by having one. Can be updated. (AWS: MaximumRetryAttempts,
// which becomes 10 by having one.)
//
// An outage of the function uses up attempts like a poison record does. With
// the default back-off, whose nth pause is half of 2^(n-1) seconds at least and
// of a minute at most, no record is given up while an outage is shorter than
//
//	retries   1      2      3      5       6       10     20
//	outage    0.5 s  1.5 s  3.5 s  15.5 s  31.5 s  151 s  451 s
//
// A longer one gives up whole batches, one after the other, or with
// [WithBisect] single records: of each partition one about every such time. So
// choose many, and leave the time that a record may take to
// [WithMaxRecordAge].
func WithMaxRetries(n int) Option {
	return option(func(c *config) { c.MaxRetries = max(n, Unlimited) })
}

// WithMaxRecordAge sets how old a record may be, by its timestamp, to be tried:
// 60 s to 7 days, or [Unlimited] (any negative duration), which is the default.
// It is looked at before each attempt, the first one too: a Mapping that begins
// with a backlog gives up all of it that is older, untried ([ReasonTooOld]).
// Records without a timestamp have no age. It needs a [WithDestination]. Can be
// updated. (AWS: MaximumRecordAgeInSeconds.)
func WithMaxRecordAge(d time.Duration) Option {
	return option(func(c *config) { c.MaxRecordAge = max(d, Unlimited) })
}

// WithBisect splits a batch that fails in halves, to find the records that fail
// it: after its second failure, because the first is more often an outage, and
// instead of giving up more than one record. What is split off is tried at
// once, one piece after the other, and a split uses up no attempt; a piece of a
// single record has the attempts that are left. The search for one record among
// n takes about 2·log2(n) invocations; what takes long is that each record that
// fails waits for its own back-offs, and its partition with it. Throttles and
// calls that were cut short split nothing. Default: off. Can be updated. (AWS:
// BisectBatchOnFunctionError.)
func WithBisect(on bool) Option { return option(func(c *config) { c.Bisect = on }) }

// WithDestination sets where records that are given up go. Default: none, and
// then none is: what [Permanent] and [TooLarge] say of single records counts as
// a failure. [Drop] throws them away. Can be updated, even to nil: what was
// given up by then waits for another. (AWS: DestinationConfig.OnFailure.)
func WithDestination(d Destination) Option {
	return option(func(c *config) { c.destination, c.Discards = d, d != nil })
}

// WithPauseOnHalt makes a Mapping that halts wait for [Mapping.Resume] instead
// of stopping. Default: off. Cannot be updated. (AWS: always.)
func WithPauseOnHalt(on bool) Option { return option(func(c *config) { c.pauseOnHalt = on }) }

// WithStopTimeout bounds [Mapping.Stop], with its last commit and leaving the
// group: 100 ms to 24 h, default 20 s, because Kubernetes kills after 30. The
// last quarter of it, at most 5 s, is kept for the commit and for leaving. Can
// be updated.
func WithStopTimeout(d time.Duration) Option { return option(func(c *config) { c.stopTimeout = d }) }

// WithRevokeTimeout sets how long an invocation may go on when its partition
// moves to another process, which waits for it: 100 ms to 1 h, default 30 s.
// The group's rebalance timeout is this and 15 s for the commit. Cannot be
// updated.
func WithRevokeTimeout(d time.Duration) Option {
	return option(func(c *config) { c.revokeTimeout = d })
}

// WithStartTimeout bounds [Mapping.Start]: 100 ms to 24 h, default 60 s.
// Cannot be updated.
func WithStartTimeout(d time.Duration) Option { return option(func(c *config) { c.startTimeout = d }) }

// WithStartCheck adds something to check before the Mapping joins its group:
// that a destination can be written to, say, or that the function is there. If it
// returns an error, panics, or does not return within [WithStartTimeout],
// [Mapping.Start] fails with a [*StartError]. It may be given several times: they
// run one after the other, until one fails. Cannot be updated.
//
//	esm.WithStartCheck(dest.Check) // of package kafkadest
func WithStartCheck(f func(ctx context.Context) error) Option {
	return option(func(c *config) {
		if f == nil {
			c.errs = append(c.errs, &OptionError{"WithStartCheck", nil, "must not be nil"})
			return
		}
		c.startChecks = append(c.startChecks[:len(c.startChecks):len(c.startChecks)], f)
	})
}

// WithMemoryBudget sets how many bytes of records the Mapping holds at most:
// 1 MiB or more, and at least two batches ([WithBatchBytes]); default 128 MiB.
// What it holds is counted as it really is, with the whole of a fetch response
// while one record of it is in use, and may pass the budget by one poll: one
// fetch of each broker, if the budget is smaller than that, or else one batch of
// Kafka of each broker.
//
// Compressed batches count as what they become, however far they compress. What
// the client has decompressed ahead of the next poll is at most two fifths of the
// budget and one batch of each broker; what would be more is fetched again later.
// How large one batch may become is kgo.MaxDecompressBatchBytes in [Source].Client
// (default 1 GiB). A decompressor that is given there is used.
//
// Can be updated. The process takes more than that: the garbage collector lets the heap
// grow to twice what is alive. GOGC and GOMEMLIMIT bound it, for more CPU. With eight
// workloads it took, at its peak:
//
//	budget      16 MiB   64 MiB   128 MiB   256 MiB   512 MiB
//	median      56 MiB  167 MiB   311 MiB   568 MiB 1,051 MiB
//	at most     72 MiB  184 MiB   361 MiB   721 MiB 1,139 MiB
func WithMemoryBudget(bytes int64) Option {
	return option(func(c *config) { c.MemoryBudget = bytes })
}

// WithName names the Mapping in [Batch.Mapping], logs and hooks. Default: the
// group. Cannot be updated.
func WithName(s string) Option { return option(func(c *config) { c.name = s }) }

// WithLogger sets where the Mapping writes what somebody should know. Default:
// slog.Default(). Errors that repeat are logged once a second at most. Cannot
// be updated. (AWS: LoggingConfig.)
func WithLogger(l *slog.Logger) Option {
	return option(func(c *config) {
		c.logger = l
		if l == nil {
			c.errs = append(c.errs, &OptionError{"WithLogger", nil, "must not be nil; slog.DiscardHandler makes a silent one"})
		}
	})
}

// WithHooks adds functions to call when something happens. It may be given
// several times: all are called, in order. Cannot be updated. (AWS:
// MetricsConfig.)
func WithHooks(h Hooks) Option {
	return option(func(c *config) { c.hooks = append(c.hooks[:len(c.hooks):len(c.hooks)], h) })
}

// with returns the configuration with further options.
func (c config) with(opts []Option) config {
	c.errs = nil
	for i, o := range opts {
		if o == nil {
			c.errs = append(c.errs, &OptionError{"Option", i, "must not be nil"})
			continue
		}
		o.apply(&c)
	}
	return c
}

// validate reports every mistake.
func (c *config) validate() error {
	errs := c.errs
	within := func(ok bool, option string, value any, bound string) {
		if !ok {
			errs = append(errs, &OptionError{option, value, bound})
		}
	}
	within(1 <= c.MinPollers && c.MinPollers <= 200, "WithMinPollers", c.MinPollers, "must be 1 to 200")
	within(1 <= c.MaxPollers && c.MaxPollers <= 2000, "WithMaxPollers", c.MaxPollers, "must be 1 to 2000")
	within(c.MaxPollers >= c.MinPollers, "WithMaxPollers", c.MaxPollers, fmt.Sprintf("must be at least WithMinPollers, which is %d", c.MinPollers))
	within(!c.OnDemand || c.boundsSet == "", "WithOnDemand", true, "excludes "+c.boundsSet)
	within(!c.GroupBounds || !c.OnDemand || c.MaxConcurrency >= 0, "WithGroupBounds", true, "needs a WithMaxConcurrency where there is WithOnDemand: there is no other bound to share")
	within(1 <= c.PollerConcurrency && c.PollerConcurrency <= 1000, "WithPollerConcurrency", c.PollerConcurrency, "must be 1 to 1000")
	within(c.PollerByteRate == Unlimited || 1000 <= c.PollerByteRate && c.PollerByteRate <= math.MaxInt32, "WithPollerByteRate", c.PollerByteRate, "must be 1,000 to 2,147,483,647 bytes a second, or Unlimited")
	within(c.MaxConcurrency == Unlimited || c.MaxConcurrency >= 1, "WithMaxConcurrency", c.MaxConcurrency, "must be 1 or more, or Unlimited")
	within(1 <= c.BatchSize && c.BatchSize <= 10_000, "WithBatchSize", c.BatchSize, "must be 1 to 10,000")
	within(0 <= c.BatchWindow && c.BatchWindow <= 300*time.Second, "WithBatchWindow", c.BatchWindow, "must be 0 to 300s")
	within(c.BatchBytes >= 1, "WithBatchBytes", c.BatchBytes, "must be 1 or more")
	within(c.Backoff != nil, "WithBackoff", nil, "must not be nil; Constant(0) does not wait")
	within(c.InvokeTimeout == 0 || c.InvokeTimeout >= time.Millisecond, "WithInvokeTimeout", c.InvokeTimeout, "must be 1ms or more, or 0 for none")
	within(c.MaxRetries <= 10_000, "WithMaxRetries", c.MaxRetries, "must be 0 to 10,000, or Unlimited")
	within(c.MaxRecordAge < 0 || 60*time.Second <= c.MaxRecordAge && c.MaxRecordAge <= 7*24*time.Hour, "WithMaxRecordAge", c.MaxRecordAge, "must be 60s to 168h, or Unlimited")
	within(c.destination == nil || !guard.IsNil(c.destination), "WithDestination", fmt.Sprintf("%T", c.destination), "must not hold a nil; nil itself is none")
	within(c.MaxRetries < 0 || c.destination != nil, "WithMaxRetries", c.MaxRetries, "needs a WithDestination for what is given up; esm.Drop throws it away")
	within(c.MaxRecordAge < 0 || c.destination != nil, "WithMaxRecordAge", c.MaxRecordAge, "needs a WithDestination for what is given up; esm.Drop throws it away")
	within(100*time.Millisecond <= c.stopTimeout && c.stopTimeout <= 24*time.Hour, "WithStopTimeout", c.stopTimeout, "must be 100ms to 24h")
	within(100*time.Millisecond <= c.revokeTimeout && c.revokeTimeout <= time.Hour, "WithRevokeTimeout", c.revokeTimeout, "must be 100ms to 1h")
	within(100*time.Millisecond <= c.startTimeout && c.startTimeout <= 24*time.Hour, "WithStartTimeout", c.startTimeout, "must be 100ms to 24h")
	within(c.MemoryBudget >= 1<<20, "WithMemoryBudget", c.MemoryBudget, "must be 1 MiB (1048576) or more")
	within(c.MemoryBudget >= 2*int64(c.BatchBytes), "WithMemoryBudget", c.MemoryBudget, fmt.Sprintf("must be at least two batches of WithBatchBytes, which is %d", c.BatchBytes))
	within(c.name != "", "WithName", `""`, "must not be empty")
	return errors.Join(errs...)
}

// validateUpdate reports every option that cannot be changed in a Mapping that
// was made already.
func (c *config) validateUpdate(was *config) error {
	errs := []error{c.validate()}
	fixed := func(changed bool, option string, value any) {
		if changed {
			errs = append(errs, &OptionError{option, value, "cannot be updated; make a new Mapping"})
		}
	}
	fixed(c.OnDemand != was.OnDemand, "WithOnDemand", c.OnDemand)
	fixed(c.GroupBounds != was.GroupBounds, "WithGroupBounds", c.GroupBounds)
	fixed(c.pauseOnHalt != was.pauseOnHalt, "WithPauseOnHalt", c.pauseOnHalt)
	fixed(c.revokeTimeout != was.revokeTimeout, "WithRevokeTimeout", c.revokeTimeout)
	fixed(c.startTimeout != was.startTimeout, "WithStartTimeout", c.startTimeout)
	fixed(c.name != was.name, "WithName", c.name)
	fixed(c.logger != was.logger, "WithLogger", "a logger")
	fixed(len(c.hooks) != len(was.hooks), "WithHooks", "hooks")
	fixed(len(c.startChecks) != len(was.startChecks), "WithStartCheck", "a check")
	return errors.Join(errs...)
}

// Exponential is a back-off for [WithBackoff] that doubles from first up to
// most, with equal jitter: half of it is certain and half is random, so that
// partitions that failed together do not all come back together.
func Exponential(first, most time.Duration) func(attempt int) time.Duration {
	first = min(max(first, 0), engine.MaxBackoff)
	most = min(max(most, first), engine.MaxBackoff)
	return func(attempt int) time.Duration {
		d := first
		for n := 1; n < attempt && d < most; n++ {
			d *= 2
		}
		d = min(d, most)
		return d/2 + rand.N(d/2+1)
	}
}

// Constant is a back-off for [WithBackoff] that is always d: for tests.
func Constant(d time.Duration) func(attempt int) time.Duration {
	return func(int) time.Duration { return d }
}

// backoffs asks a user's back-off function, which may panic, exit its
// goroutine, never return, or return nonsense.
type backoffs struct {
	of     func(attempt int) time.Duration
	behind atomic.Int32 // calls that took too long and have not returned
}

// after is how long to wait after the nth failed attempt. Where the function
// does not say, within a second, it is what the default says.
func (b *backoffs) after(attempt int) time.Duration {
	if b.behind.Load() < mostBehind {
		said := make(chan time.Duration, 1)
		var over atomic.Bool // it returned, or was left behind
		failure, ended := guard.Within(leaveSoon, func() {
			defer func() {
				if over.Swap(true) {
					b.behind.Add(-1)
				}
			}()
			said <- b.of(attempt)
		})
		switch {
		case ended && failure == nil:
			return min(max(<-said, 0), engine.MaxBackoff)
		case !ended && !over.Swap(true):
			b.behind.Add(1)
		}
	}
	return Exponential(time.Second, time.Minute)(attempt)
}
