// Package esmemf says to CloudWatch what AWS says of an event source mapping: the metrics of
// Mappings, and their system logs.
//
//	metrics, err := esmemf.NewMetrics(esmemf.MetricsConfig{Writer: os.Stdout})
//	logs, err := esmemf.NewLog(esmemf.LogConfig{Writer: os.Stderr, Level: "INFO"})
//	...
//	m, err := esm.New(source, invoker, esm.WithHooks(logs.Hooks()))
//	...
//	subject := esmemf.Subject{FunctionName: "billing", Source: source}
//	metrics.Add(m, subject)
//	logs.Add(m, subject)
//	go metrics.Run(ctx)
//	go logs.Run(ctx)
//	err = m.Run(ctx)
//	err = errors.Join(err, metrics.Flush(), logs.Flush()) // what came while it stopped
//
// # Metrics
//
// [Metrics] writes a line of JSON a minute for each Mapping, in CloudWatch's Embedded Metric
// Format, of which CloudWatch Logs makes metrics. They have AWS's names, units and
// dimensions; their namespace is another, since nobody but AWS may write into its own:
//
//   - with the dimension FunctionName: OffsetLag, DestinationDeliveryFailures
//   - with the dimension EventSourceMappingUUID: PolledEventCount, InvokedEventCount,
//     FailedInvokeEventCount, DroppedEventCount, OnFailureDestinationDeliveredEventCount,
//     CommittedEventCount, InvokeErrorCount, PollingErrorCount, CommitErrorCount,
//     OnFailureDestinationDeliveryErrorCount, SumOffsetLag, MaxOffsetLag,
//     ProvisionedPollers, EventPollerUnit, EventPollerThroughputInBytes
//
// A partition is never a dimension. Counts are what came since the line before; read them
// with Sum. As in AWS, one that is 0 is absent, but for PolledEventCount and
// EventPollerThroughputInBytes, which are 0 while nothing comes: that they are absent says
// that the Mapping does not poll. What is of the moment, the lag and the pollers, is in one
// line of each minute of the clock. What is unknown is absent, and never 0. AWS's other
// metrics are absent: this library does not filter (FilteredOutEventCount), and asks no schema
// registry (SchemaRegistryErrorCount).
// A Mapping on demand has no ProvisionedPollers, EventPollerUnit and
// EventPollerThroughputInBytes, as in AWS.
//
// Each process writes what it does itself: the lag of its partitions, its pollers. Over several
// processes, the Sum of a minute adds that up, and MaxOffsetLag is read with Maximum.
//
// No count is lost, and none is written twice: what could not be written is in the next
// line. CloudWatch itself may take a line twice.
//
// # System logs
//
// [Log] writes the events that AWS's LoggingConfig asks for, a line of JSON each:
//
//   - ESM_PROCESSING_EVENT at WARN: what went wrong, from the hooks of a Mapping, or from any
//     other log ([Log.Handler])
//   - POLLER_STATUS_EVENT at INFO: the connection, whenever the partitions changed
//   - KAFKA_STATUS_EVENT at DEBUG: the offsets of each partition, once a minute
//
// No line has data of a record. Of one kind of trouble of a Mapping there is a line a second at
// most, which says how many were left out (leftOutCount). AWS's code of an error is the name
// of a class of Java; here it is a word for what failed, such as FunctionError. What the
// process does not know is absent: totalPartitionCount, partitionsAssignmentGeneration and
// networkConfig always are.
//
// # Writers
//
// A Writer gets whole lines, one at a time, and need not be safe for several goroutines. Metrics
// and Log do not know of each other: give each its own, or one that keeps lines whole, as
// files do. One that fails, panics, writes too little or does not return holds up no Mapping.
// [MetricsConfig].Logger and [LogConfig].Logger are told once.
package esmemf
