// Package lambdaapi serves AWS Lambda's REST API for event source mappings, and runs the
// mappings in the process of the host: what the AWS CLI, the SDKs and Terraform make with
// it are Mappings of this library.
//
// A [Host] has the eight operations: CreateEventSourceMapping, GetEventSourceMapping,
// ListEventSourceMappings, UpdateEventSourceMapping, DeleteEventSourceMapping, ListTags,
// TagResource and UntagResource. Package awsconfig judges what a request says, and every
// mistake is answered at once. An update changes a Mapping while it runs, where
// [esm.Mapping.Update] can; a function, a login or a change between provisioned and on demand
// takes a new one, which begins where the old one committed.
//
// # States
//
// A mapping is Creating until this host has tried to start it. Then it is Enabled, even if it
// could not start: LastProcessingResult says PROBLEM and why, it is tried again for as long as
// it takes, after a pause of a minute at most, and no other mapping waits for it. The same
// holds for one that its function halted. Disabled has left its group. Deleting, until this host has
// stopped it; then it is not found. Each host answers with what it sees itself.
//
// What runs can always be stopped: an update that only disables a mapping is taken whatever
// the host has lost since, as the secret or the function. Of a mapping that is not to run, the
// host looks for another function, login or destination only. All is judged again when it is
// to run.
//
// # Stores
//
// [Memory] ends with the process, [File] is for one host, and [Topic] for several: each runs
// what it has the functions of, partitions are spread over them by the consumer group, and
// the bounds of pollers hold for all of them together ([esm.WithGroupBounds]). A change that
// was acknowledged is not lost, whatever dies when. Config.MaxMappings bounds how many mappings
// a Store has.
//
// # Who may ask
//
// With Config.Keys, requests must be signed as AWS's clients do (Signature Version 4):
// header Host and X-Amz-Date among what is signed, five minutes of difference at most, the
// body's hash, no signed URLs. Who reads a request on its way can send it again within these
// five minutes: use TLS beyond a machine.
//
// Without it, only requests of this machine are taken, from whichever user of it. A proxy on
// this machine makes every request one of this machine: those that say so in a header, such as
// X-Forwarded-For, are refused, and one that says nothing is not noticed. Put no proxy before
// it, or give it Keys.
//
// Requests of web pages are refused, and so are names of hosts that are not ours, since a
// page can give a name of its own the address 127.0.0.1.
//
// Whoever may ask decides which brokers a mapping reads, and which secrets are sent there,
// of those that begin with Config.Secrets; the host's own identity (IAM) goes to brokers of
// Config.IAMBrokers only. The time that a request may take to come is the
// http.Server's: set its ReadTimeout.
package lambdaapi
