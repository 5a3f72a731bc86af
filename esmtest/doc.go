// Package esmtest helps to test what is built with package esm: functions,
// invokers that wrap others, and hosts.
//
// It has a Kafka in memory ([NewKafka]) that needs no network and no process,
// an [Invoker] that follows a script and remembers its calls, and [Start],
// which runs a real Mapping between the two and stops it at the end of the
// test. Nothing of it is a mock: the Mapping is the one that runs in
// production, and the client speaks Kafka's protocol.
//
// # Virtual time
//
// Inside a testing/synctest bubble, time passes as soon as nothing else is left
// to do, so that a test of retries over hours takes milliseconds:
//
//	func TestRetries(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
//			inv := esmtest.NewInvoker(t).Fail(2, errBilling)
//			esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithBackoff(esm.Constant(2*time.Minute)))
//			k.Produce("orders", "a", "b")
//			time.Sleep(5 * time.Minute)
//			if got := inv.Calls(); len(got) != 3 || got[2].At.Sub(got[1].At) != 2*time.Minute {
//				t.Fatal(got)
//			}
//			if got := k.Committed("billing", "orders", 0); got != 2 {
//				t.Fatal(got)
//			}
//		})
//	}
//
// Run such tests with
//
//	go test -tags synctests ./...
//
// The tag makes the locks of the Kafka client known to synctest. Without it the
// clock of a bubble may stand still, so [NewKafka] fails at once in a bubble
// that lacks it. Outside a bubble everything here works in real time, with and
// without the tag.
//
// # The tag, editors and CI
//
// Your own test files need no build tag: what they use is the same with it and
// without. Do not give them a line //go:build synctests, because then whoever
// forgets the tag hears nothing. go test and go vet pass over such a file in
// silence, and gopls says "No packages found for open file", finds no mistakes in
// it, and leaves it out when it looks for references or renames. The file without
// that line compiles and fails, and says why.
//
// To have the tag everywhere, in CI as well:
//
//	GOFLAGS=-tags=synctests
//
// in the environment, or for good with go env -w. go test, go vet and gopls go
// by it. A -tags on the command line takes its place and is not added to it. Else
// tell each tool: gopls by its setting
//
//	"buildFlags": ["-tags=synctests"]
//
// VS Code by .vscode/settings.json, which is for gopls and for the tests that it
// runs:
//
//	{"go.buildTags": "synctests"}
//
// and GoLand in its settings under Go, Build Tags, Custom tags. (The command line
// and gopls 0.23 were tried; of the other two it is what their documentation
// says.)
//
// # What a function calls
//
// The clock of a bubble stands still while anything in it waits for a real
// socket. So in a bubble
//
//   - HTTP is [NewServer], not httptest.NewServer: see its example. From Go 1.27 on
//     there is also httptest.NewTestServer.
//   - gRPC is its own test/bufconn, or a kfake.VirtualNetwork: either gives
//     grpc.Server.Serve a listener and grpc.WithContextDialer a dialer. Whatever else
//     takes a net.Listener works the same way.
//   - database/sql needs a driver without sockets, such as SQLite in Go or a mock.
//     Open and close the sql.DB in the bubble, since it has goroutines.
//   - what can only be real is tested outside of a bubble, with [Invoker.Wait] in
//     place of time.Sleep.
//
// # What stops a bubble
//
// A test that stops its clock would hang until go test ends it, after ten minutes.
// The kit looks from outside, says which goroutines stop it, and ends the process
// as go test does: for a server on a real socket [Start] fails at once, and for the
// rest it takes half a minute in which nothing in the bubble moves. These were seen:
//
//   - a real socket, of a server or a client.
//   - a mutex that is held across a wait: by a time.Sleep, a channel, a call. That
//     includes a sync.Once whose function waits.
//   - a channel, a timer, a context or a WaitGroup that was made outside of the
//     bubble. The runtime ends the program itself if one that was made inside is
//     used outside, such as a context of t of the test around, whose Done is asked
//     for first in the bubble.
//
// These fail otherwise, with words of their own:
//
//   - the t of the test around the bubble, and a [Kafka], an [Invoker] or a
//     [Server] that was made elsewhere than it is used: at once.
//   - a goroutine that is left at the end: synctest says "deadlock: main bubble
//     goroutine has exited but blocked goroutines remain", and shows it. Whatever has
//     goroutines is closed with t.Cleanup in the bubble.
//   - t.Run, t.Parallel and t.Deadline in a bubble: testing panics. Call t.Parallel
//     before synctest.Test.
//   - a time from before the bubble. Its clock begins at midnight UTC on January 1,
//     2000, so such a time is decades ahead, and nobody says so.
//   - records that are compressed with zstd: its decoder outlives the bubble, which
//     the runtime does not forgive.
//   - the leader of a partition moved right after a client has joined: the client
//     may then ask again and again without a pause, and the clock stands still.
//
// # Bytes of records are read-only
//
// The same bytes come again after a failure, so what a function wrote into them
// comes too. [Start], a scripted [Invoker] and [TestInvoker] fail the test if bytes of
// a key, a value or a header are not what they were, and name the record. To store
// something else in a record, or to forward it, harms nothing. Wrap an Invoker that
// has a reason to write in [MayWrite]. What a [esm.Destination] does is not looked
// at.
//
// # Twice, late, and beside its neighbour
//
// Kafka hands over each record at least once, so sooner or later a function sees one
// again: after a crash, after a rebalance, or while another process has it. [Storm] makes
// all of that happen to your function, by a plan that a seed repeats.
//
// # Your own Invoker
//
// [TestInvoker] proves that an Invoker of your own does what a Mapping expects
// of one, whether it wraps another one or reaches a function somewhere else. One
// that drops records on purpose, as a filter does, says so with [Drops].
package esmtest
