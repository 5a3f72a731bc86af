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
// In a bubble, do not compress records with zstd: its decoder outlives the
// bubble, which the runtime does not forgive. And do not move the leader of a
// partition right after a client has joined: the client may then ask again and
// again without a pause, and the clock stands still. Both work in real time.
//
// # Your own Invoker
//
// [TestInvoker] proves that an Invoker of your own does what a Mapping expects
// of one, whether it wraps another one or reaches a function somewhere else.
package esmtest
