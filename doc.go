// Package esm moves records from Kafka to a function. It is AWS Lambda's event
// source mapping for Kafka in provisioned mode, as a library, for any Kafka and
// any function.
//
// # What you write
//
// A [Source] says what to read and in which consumer group. An [Invoker] gets
// the records, in batches; [Each] makes one from a function that takes one
// record at a time. [New] ties them together in a [Mapping]:
//
//	m, err := esm.New(
//		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
//		esm.Each(func(ctx context.Context, r *kgo.Record) error { return bill(ctx, r.Value) }),
//	)
//
// New reports every mistake in its arguments at once, and starts nothing.
//
// # How it runs
//
// [Mapping.Run] runs the Mapping until the context ends. Then it lets the running
// invocations end, commits, and leaves the group. A host application with a
// lifecycle of its own uses [Mapping.Start] and [Mapping.Stop] instead.
//
// A Mapping is one member of the consumer group, whatever its size. Inside it,
// pollers lease partitions and invoke the function. Each poller makes up to
// [WithPollerConcurrency] invocations at once. A scaler sets the number of pollers,
// between [WithMinPollers] and [WithMaxPollers], by what the backlog needs. Scaling
// never rebalances the group.
//
// The defaults suit a function in the process: a batch holds what is there, and
// nothing limits how many bytes a poller moves. [WithAWSLimits] makes pollers what
// AWS's are. Use it, or a [WithBatchWindow], where each call costs money or a round
// trip.
//
// # What it promises
//
// Within one process, a partition has at most one batch in flight. The next one
// starts only after the previous one is settled as a whole, so order holds. An offset
// is committed only after every record below it is settled, so nothing that was
// read is lost: what was in flight when a process died comes again, and what was
// settled in the second before. Functions must tolerate seeing a record twice. What
// is settled above the committed offset, because a batch failed in part, is written
// beside it, in the metadata of the commit, and does not come again.
//
// A batch that fails is tried again until it succeeds, with a growing pause
// ([WithBackoff]). It holds up its own partition and no other. See [Invoker]
// for what a function can say with the error that it returns, [Failures] for
// batches in which only some records failed, and [Waiting] for functions that
// wait for capacity before they begin. [Classify] and [SettledOf] tell a wrapper
// what an error leads to.
//
// Your code can harm only its own records. It may panic, hang, call the Mapping,
// or write into the records that it was given: see [Batch].
//
// # What it gives up
//
// Nothing, unless you say so. [WithMaxRetries] and [WithMaxRecordAge] set limits,
// [Permanent] gives up the records that it is said of, and [WithBisect] makes sure that a batch is
// not given up because of one record. A record that is given up goes to a
// [Destination] and is settled only when the destination has taken it. [Drop]
// throws it away. Package kafkadest has a destination that is a Kafka topic.
//
// # What you watch
//
// [Mapping.State], [Mapping.Ready] and [Mapping.Healthy] are for people and
// probes, [Mapping.Stats] is for metrics, [Hooks] report everything as it happens,
// and [log/slog] gets what an operator should know. A lag that could not be measured
// is unknown, never zero.
//
// # What you test
//
// Package esmtest has a Kafka in memory and an Invoker with a script. Inside
// testing/synctest, with -tags synctests, hours pass in milliseconds.
//
// # Words
//
//   - poller: a unit of capacity: up to 5 invocations at once.
//   - batch: the records of one invocation, from one partition or, where
//     partitions have few records each, from several.
//   - settled: handled, or otherwise done with. Offsets are committed only
//     behind settled records.
//   - frontier: the offset below which every record of a partition is settled.
//   - lag: the end of a partition minus its frontier.
//   - discard: a record that is given up.
//   - halt: the Mapping stops itself, because the function said that going on
//     makes no sense, or refuses every call.
//   - throttle: the function did not take the call. That is not an attempt, unless
//     there is evidence that it is about the records: see [Throttled].
package esm
