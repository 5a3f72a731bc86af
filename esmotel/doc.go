// Package esmotel makes OpenTelemetry's spans and metrics of Mappings.
//
//	t, err := esmotel.New() // with the global providers of package otel
//	...
//	defer t.Close()
//	m, err := esm.New(source, t.Invoker(function), esm.WithHooks(t.Hooks()),
//		esm.WithMaxRetries(10), esm.WithDestination(t.Destination(dest)))
//	...
//	err = t.Add(m)
//
// Each part works alone: without Add there are no metrics of Stats, without Invoker no spans
// of calls. What it does never fails a call: what panics in an SDK is told to otel.Handle.
//
// # Spans
//
// A call of the function is a span "process orders", of the kind consumer; "process" if the
// batch has records of several topics. By the semantic conventions for messaging it has
// messaging.system, messaging.operation.name, messaging.operation.type,
// messaging.destination.name, messaging.consumer.group.name,
// messaging.batch.message_count and error.type, and messaging.destination.partition.id if all
// records are of one partition. Besides it has esm.mapping, esm.attempt, esm.outcome (the
// word of [esm.Outcome]), esm.batch.id (which is in the log and in hooks),
// esm.batch.partition_count, of one partition esm.batch.first_offset and
// esm.batch.last_offset, and esm.batch.failed_count if the function named records that
// failed. The first 1,024 bytes of an error are an event. A sampler sees what is the same
// for all calls of a topic.
//
// A span has links to the contexts in which its records were made, if their headers have
// one: each context once, with the partition and offset of its first record. There are 128
// at most ([WithMaxLinks]), first those that were sampled; esm.links.cut says that there
// were more. Headers are read only for a span that is recorded. Of a record the last 128
// headers are looked at, and of several with one name the last, if it has 8 KiB at most.
// Baggage is not taken from records: it is of one, and the span is of many.
//
// A call is the root of a trace, since it belongs to none of its producers more than to the
// others: see [WithParentFromContext].
//
// # Retries and discards
//
// A span has ended when its batch is tried again. So the span of the retry has a link to
// that of the earlier attempt, with esm.link "earlier attempt", and an event "esm.retry"
// with its number, its id, its outcome and how long ago it ended (esm.retry.wait). That is
// so for the last attempt of each record that was sampled, and for 16 attempts at most. It
// is remembered until the records are settled, until others come after them, and with
// [Telemetry.Hooks] until the partition moves away or the Mapping stops; 10,000 at most.
//
// A record that is given up has a span "discard" for each delivery, of the kind producer,
// with the event "esm.discard" and links to the producer and to the last attempt. It has
// esm.discard.reason, esm.discard.delivery, esm.discard.dropped, esm.record.topic,
// esm.record.partition and esm.record.offset. It has no messaging.destination.name, since
// only the host knows where the record goes: see [Telemetry.Destination].
//
// # The function
//
// The context of the call has the span, for a function in the process. One that is called
// elsewhere gets it from [Telemetry.Carrier]:
//
//	esmhttp.New(url, esmhttp.WithContextHeaders(t.Carrier))           // in the headers of the request
//	awslambda.New(config, name, awslambda.WithContextValues(t.Carrier)) // in the client context, under custom
//
// [Telemetry.Transport] does it for any other http.Client.
//
// # Metrics
//
// One callback reads the Stats of all Mappings that were added. Each metric has the
// attribute esm.mapping. What is unknown is not observed, and never 0.
//
//	counters        esm.events.polled, .invoked, .failed, .delivered, .dropped, .committed,
//	                .settled, .evicted, .reread, .lost; esm.delivery.failures;
//	                esm.invoke.calls, .errors, .throttles, .abandoned;
//	                esm.partition.retries, .resets; esm.commit.errors; esm.poll.errors;
//	                esm.rebalances;
//	                esm.bytes.polled, .fetched; esm.poller.time, esm.poller_unit.time
//	of the moment   esm.pollers; esm.poller.active, .min, .max; esm.poller_units;
//	                esm.partitions; esm.partition.ready, .waiting;
//	                esm.slots; esm.slot.busy, .waiting, .slow, .stuck;
//	                esm.invoke.max_concurrency; esm.memory.held, .budget, .limited;
//	                esm.lag.events (of all partitions), .max, .unknown;
//	                esm.time_lag.max, .unknown;
//	                esm.throttle.remaining; esm.invoke.average_duration, .average_events;
//	                esm.commit.last_duration; esm.fetch.last_duration
//	                esm.phase, with the attribute esm.phase: 1 for that of the Mapping
//
// How long calls take is a histogram, messaging.process.duration, with the bounds of
// [esm.HistogramBounds]. [Telemetry.Invoker] records it, with topic, group, Mapping and
// error.type (the outcome, if it is no success), and with exemplars. Other than in
// Stats.InvokeDurations, calls that were throttled or cut short are in it, and so is the
// time in which a call waited for a place ([esm.Waiting]).
//
// The conventions' messaging.client.consumed.messages is not there: esm.events.invoked is
// that number, by Mapping.
//
// Add a Mapping to one Telemetry of a MeterProvider: what two of them observe is added up.
package esmotel
