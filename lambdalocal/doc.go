// Package lambdalocal runs functions that were written for AWS Lambda without
// AWS: a handler in Go in this process ([Handler]), or a function in any
// language as processes of this machine ([Process]). Neither needs a change of
// the function, an account, a container or a platform.
//
// Both give a function the event that an event source mapping of AWS gives it,
// and read its answer as AWS does:
//
//   - It returned: the batch is settled, whatever it returned. With
//     [WithReportBatchItemFailures] the records that it names have failed.
//   - It failed, by an error, a panic, an exit or its timeout: a failure of the
//     batch, which is an attempt.
//
// A call of a Process goes through HTTP and costs up to a millisecond of CPU, so a
// batch window ([esm.WithBatchWindow]) helps where records come one by one. A Handler
// costs next to nothing.
//
// Neither links the AWS SDK. Handler links aws-lambda-go, as the function does.
package lambdalocal
