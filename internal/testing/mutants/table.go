package main

import "slices"

// The suites that are asked. The model drives the engine against one that is too
// simple to be wrong.
var (
	model  = suite{"./internal/engine", "TestEngineAgreesWithANaiveOne", []string{"-scenarios", "3000"}}
	sender = suite{"./internal/kafka", "Test", nil}
	bounds = suite{"./internal/engine", "TestTheGroupKeepsItsBounds|TestRevokeWaits", nil}
	rules  = suite{"./internal/plan", "Test", nil}
	whole  = func(tests string) suite { return suite{"./internal/testing/proof", tests, nil} }
)

// mutants are the promises of ARCHITECTURE.md, each broken in the place that keeps
// it, and the suites that notice. Each suite that is named has to.
//
// Not here, because nothing can come of them: MayCommit without its look at the
// frontier, since that of a lane only grows, and a position that goes back makes a
// lane of its own and kills the earlier one; and the halves of a bisected batch in
// another order, since portions are sorted before they are tried.
var mutants = slices.Concat([]mutant{
	{
		name: "a commit runs past the frontier",
		pkg:  "internal/engine", symbol: "Books.Frontiers",
		from:   "at := l.frontier()\n",
		to:     "at := l.frontier()\n\t\tif at > 0 && at == l.taken-1 {\n\t\t\tat++\n\t\t}\n",
		suites: []suite{model},
	},
	{
		name: "a dead lane is committed",
		pkg:  "internal/engine", symbol: "Books.MayCommit",
		from:   "!f.lane.dead && ",
		suites: []suite{sender, model},
	},
	{
		name: "a frontier is committed as another member than its partition's",
		pkg:  "internal/engine", symbol: "Books.MayCommit",
		from:   "member == b.engine.membership.id && ",
		suites: []suite{{"./internal/engine", "TestAFrontierIsCommitted", nil}},
	},
	{
		name: "who is late to forget a member takes the partitions of the next",
		pkg:  "internal/engine", symbol: "Engine.Forget",
		from:   " || e.membership.id != id",
		suites: []suite{{"./internal/engine", "TestForget", nil}},
	},
	{
		name: "what a forgotten member gets again goes on where it was",
		pkg:  "internal/engine", symbol: "Engine.Assign",
		from:   "i >= len(tps)",
		to:     "i < 0",
		suites: []suite{{"./internal/engine", "TestWhatBecomesOfForgotten", nil}},
	},
	{
		name: "a partition that went back behind a commit without an answer is not committed",
		pkg:  "internal/engine", symbol: "Engine.reset",
		from:   "max(n.committed, n.offered) > at",
		to:     "n.committed > at",
		suites: []suite{model},
	},
	{
		name: "a partition that went back follows the group forward",
		pkg:  "internal/engine", symbol: "Engine.Place",
		from:   "p.At > l.next",
		to:     "false",
		suites: []suite{model},
	},
	{
		name: "a call that goes on after a revoke counts",
		pkg:  "internal/engine", symbol: "Engine.shelveAll",
		from:   "l.dead = true",
		to:     "l.dead = false",
		suites: []suite{model},
	},
	{
		name: "a seed is not one run",
		pkg:  "internal/engine", symbol: "Engine.startDeliveries",
		from:   "l := e.discards[0]\n",
		to:     "l := e.discards[0]\n\t\tif n := len(e.discards) - 1; time.Now().UnixNano()%2 == 0 {\n\t\t\te.discards[0], e.discards[n] = e.discards[n], e.discards[0]\n\t\t\tl = e.discards[0]\n\t\t}\n",
		suites: []suite{{"./internal/engine", "TestOneSeedIsOneRun", nil}},
	},
	{
		name: "a call is not cancelled when its partition is lost",
		pkg:  "internal/engine", symbol: "Engine.kill",
		from:   "e.busy[l.ID].Cancel(cause)",
		to:     "_ = cause",
		suites: []suite{model},
	},
	{
		name: "a call starts for a partition that is being revoked",
		pkg:  "internal/engine", symbol: "Engine.endLanes",
		from: "l.ending, e.stale = true, true", to: "e.stale = true",
		suites: []suite{model},
	},
	{
		name: "an eviction drops what it gives back",
		pkg:  "internal/engine", symbol: "Engine.evict",
		from:   "l.next, l.unreadable = l.taken, nil",
		to:     "l.unreadable = nil",
		suites: []suite{model},
	},
	{
		// The order of the halves themselves is no promise: they are sorted here.
		name: "a bisected batch is tried in the wrong order",
		pkg:  "internal/plan", symbol: "InOrder",
		from:   "cmp.Compare(a.Records[0].Offset, b.Records[0].Offset)",
		to:     "cmp.Compare(b.Records[0].Offset, a.Records[0].Offset)",
		suites: []suite{model, rules},
	},
	{
		name: "a discard is settled before its destination took it",
		pkg:  "internal/engine", symbol: "Engine.delivered",
		from:   "\t\tr.Deliveries++\n",
		to:     "\t\te.settle(p, r.Records[:1])\n\t\tr.Deliveries++\n",
		suites: []suite{model},
	},
	{
		name: "a stop returns before a hook has heard of the last discard",
		pkg:  "internal/engine", symbol: "Engine.deliverer",
		from: "defer e.deliveryOver()", to: "e.deliveryOver()",
		suites: []suite{{"./internal/testing/proof", "TestStopWaitsForTheHook", nil}},
	},
	{
		name: "two calls of a partition after a reset",
		pkg:  "internal/engine", symbol: "Engine.schedule",
		from:   "\tcase e.busy[l.ID] != nil:\n\t\tl.state = laneBlocked\n",
		suites: []suite{model},
	},
	{
		name: "a worker is leaked",
		pkg:  "internal/engine", symbol: "Engine.worker",
		from:   "e.workers--\n",
		to:     "e.workers--\n\t\t\tdefer func() { select {} }()\n",
		suites: []suite{whole("TestStop|TestGraceful|TestPause")},
	},
	{
		name: "a copied value is corrupt",
		pkg:  "internal/engine", symbol: "segment.copy",
		from:   "c.Key, c.Value = own(k.Key), own(k.Value)\n",
		to:     "c.Key, c.Value = own(k.Key), own(k.Value)\n\t\tif len(c.Value) > 3 {\n\t\t\tc.Value[3]++\n\t\t}\n",
		suites: []suite{model},
	},
	{
		name: "a reset drops the last record that is not settled",
		pkg:  "internal/engine", symbol: "lane.keep",
		from:   "j, _ := plan.Find(s.records, to)\n",
		to:     "j, _ := plan.Find(s.records, to)\n\t\tif j == len(s.records) && j > i {\n\t\t\tj--\n\t\t}\n",
		suites: []suite{model},
	},
	{
		name: "what is abandoned counts as handled",
		pkg:  "internal/plan", symbol: "After",
		from:   ", v.Outcome == OutcomeAbandoned:\n",
		to:     ":\n",
		suites: []suite{model},
	},
	{
		name: "one record more is settled than was handled",
		pkg:  "internal/engine", symbol: "lane.settle",
		from:   "l.settled.Settle(p.from, p.to(), len(records))",
		to:     "l.settled.Settle(p.from, p.to()+1, len(records))",
		suites: []suite{model},
	},
	{
		name: "what is settled above the frontier is not committed",
		pkg:  "internal/engine", symbol: "Engine.settle",
		from:   "\tp.lane.settle(p, records)\n\tp.lane.settles++\n\te.markDirty(p.lane)",
		to:     "\tp.lane.settles++\n\tif p.lane.settle(p, records) {\n\t\te.markDirty(p.lane)\n\t}",
		suites: []suite{whole("TestStopWithAPartialFailure")},
	},
	{
		name: "what an earlier owner settled is settled before it was fetched",
		pkg:  "internal/engine", symbol: "lane.arrived",
		from:   "min(r.Hi, below)",
		to:     "r.Hi",
		suites: []suite{model, {"./internal/engine", "TestWhatIsAhead", nil}},
	},
	{
		name: "records that were written anew are passed over",
		pkg:  "internal/engine", symbol: "lane.disbelief",
		from:   " && r.LeaderEpoch > a.epoch",
		to:     " && r.LeaderEpoch > a.epoch+1000",
		suites: []suite{model, {"./internal/engine", "TestWhatWasWrittenAnew", nil}, whole("TestMetadataThatIsNotBelieved")},
	},
	{
		name: "a mark is believed beyond the end of the log",
		pkg:  "internal/engine", symbol: "lane.disbelief",
		from:   "end > f.HighWatermark",
		to:     "end > f.HighWatermark && end < 0",
		suites: []suite{{"./internal/engine", "TestWhatEndsBefore", nil}, whole("TestMetadataThatIsNotBelieved")},
	},
	{
		name: "what was passed over is believed still when the rest is not",
		pkg:  "internal/engine", symbol: "Engine.disbelieve",
		from:   "if met {",
		to:     "if met && l.dead {",
		suites: []suite{{"./internal/engine", "TestWhatWasWrittenAnew", nil}},
	},
	{
		name: "what the commit says is counted as coming again",
		pkg:  "internal/engine", symbol: "lane.again",
		from:   "l.settled.AboveFrom(l.saidTo)",
		to:     "l.settled.Above()",
		suites: []suite{{"./internal/engine", "TestAgain", nil}, whole("TestRebalanceWithAPartialFailure")},
	},
	{
		name: "the shares of a bound are more than the bound",
		pkg:  "internal/share", symbol: "upTo",
		from:   "i*(m%p)/p",
		to:     "(i*(m%p)+p-1)/p + i%2",
		suites: []suite{{"./internal/share", "Test", nil}, bounds},
	},
	{
		name: "the order of the shares follows the numbers of the partitions",
		pkg:  "internal/share", symbol: "Of",
		from:   "cmp.Compare(a.hash, b.hash), ",
		suites: []suite{{"./internal/share", "Test", nil}},
	},
	{
		name: "a revoke does not wait until the calls of the group fit",
		pkg:  "internal/engine", symbol: "Engine.Revoke",
		from: "ErrRevoked, e.fits)",
		to:   "ErrRevoked, nil)",
		// What the crowd does is drawn, and one in eight never comes to a moment that
		// shows it.
		suites: []suite{bounds, {"./internal/testing/proof", "TestTheGroupKeepsItsBounds/cooperative", []string{"-count=10", "-failfast"}}},
	},
	{
		name: "calls begin on the share of what is being revoked",
		pkg:  "internal/engine", symbol: "Engine.bounds",
		from:   "if l.ending {\n\t\t\tcontinue\n\t\t}\n",
		to:     "_ = l\n",
		suites: []suite{bounds},
	},
	{
		name: "every lane above the average is paused while memory is short",
		pkg:  "internal/engine", symbol: "Engine.review",
		from:   "2*e.quota.bytes",
		to:     "e.quota.bytes",
		suites: []suite{{"./internal/engine", "TestOnlyALane", nil}},
	},
	{
		name: "windows that end early make batches however small",
		pkg:  "internal/engine", symbol: "Engine.endWindows",
		from:   "4*m.records > e.cfg.BatchSize && ",
		to:     "false && ",
		suites: []suite{{"./internal/engine", "TestWindowsEndEarly", nil}},
	},
	{
		name: "a copy ends anywhere in a batch",
		pkg:  "internal/engine", symbol: "arrival.arenaEnd",
		from:   "whole > at",
		to:     "false",
		suites: []suite{{"./internal/engine", "TestACopyKeepsNoMore", nil}},
	},
	{
		name: "what waits for a slow function pins its response",
		pkg:  "internal/engine", symbol: "arrival.pack",
		from:   "n > a.room || ",
		suites: []suite{{"./internal/engine", "TestWhatWaitsIsFreed", nil}},
	},
	{
		name: "what calls take soon stays in its response, however little room there is",
		pkg:  "internal/engine", symbol: "Engine.soon",
		from:   "takes/2*float64(slots) > float64(e.memory.Budget())",
		to:     "slots < 0",
		suites: []suite{{"./internal/engine", "TestWhatCallsTakeSoon", nil}},
	},
	{
		name: "what is queued already is forgotten where more is to stay in its response",
		pkg:  "internal/engine", symbol: "Engine.lookUp",
		from:   "soon - l.bytes",
		to:     "soon",
		suites: []suite{{"./internal/engine", "TestWhatCallsTakeSoon", nil}},
	},
	{
		name: "a revoke beside a stop waits for no call",
		pkg:  "internal/engine", symbol: "Engine.fits",
		from:   "drained == nil || drained[l]",
		to:     "drained == nil",
		suites: []suite{{"./internal/engine", "TestARevokeBesideAStop", nil}},
	},
	{
		name: "what waits for its retry is fetched after a rebalance",
		pkg:  "internal/engine", symbol: "Engine.newcomers",
		from:   "l.state != laneWaiting",
		to:     "true",
		suites: []suite{{"./internal/engine", "TestNewcomersAreFetchedFirst", nil}},
	},
	{
		name: "newcomers wait until the others had their turn",
		pkg:  "internal/engine", symbol: "Engine.review",
		from:   "(newcomers || ",
		to:     "(newcomers && false || ",
		suites: []suite{{"./internal/engine", "TestNewcomersAreFetchedFirst", nil}},
	},
	{
		name: "a newcomer whose broker is silent keeps the others waiting",
		pkg:  "internal/engine", symbol: "Engine.newcomers",
		from:   "now.Before(e.welcomeUntil)",
		to:     "true",
		suites: []suite{{"./internal/engine", "TestNewcomersAreFetchedFirst", nil}},
	},
	{
		name: "a partition that has nothing waits for the retry of another",
		pkg:  "internal/engine", symbol: "Engine.admit",
		from:   "m.Held() <= m.Budget()",
		to:     "false",
		suites: []suite{{"./internal/engine", "TestARetryStarvesNobody", nil}},
	},
	{
		name: "windows end early for a single idle slot",
		pkg:  "internal/engine", symbol: "Engine.endWindows",
		from:   "8*idle < able",
		to:     "idle <= 0",
		suites: []suite{{"./internal/engine", "TestWindowsEndEarly", nil}},
	},
	{
		name: "any signature is taken",
		pkg:  "lambdaapi", symbol: "verifier.verify",
		from:   "subtle.ConstantTimeCompare(want, s.sum) != 1",
		to:     "len(want) != len(s.sum)",
		suites: []suite{{"./lambdaapi", "TestSignatures", nil}},
	},
	{
		name: "a request names any secret",
		pkg:  "lambdaapi", symbol: "Host.allowed",
		from:   "name != path.Clean(name)",
		to:     "name == path.Base(\"\")",
		suites: []suite{{"./lambdaapi", "TestBadInput", nil}},
	},
	{
		name: "hosts write a topic beside each other",
		pkg:  "lambdaapi", symbol: "Topic.try",
		from:   "kgo.TransactionalID(\"esm-\"+t.name)",
		to:     "kgo.TransactionalID(\"esm-\"+newUUID())",
		suites: []suite{{"./lambdaapi", "TestNoChangeIsLost", nil}},
	},
	{
		name: "a mapping is stopped before its calls have ended",
		pkg:  "lambdaapi", symbol: "runner.stop",
		from:   "m.Stop(context.Background())",
		to:     "m.Stop(func() context.Context { c, end := context.WithCancel(context.Background()); end(); return c }())",
		suites: []suite{{"./lambdaapi", "TestAMappingLivesByTheAPI", nil}},
	},
	{
		name: "an unknown lag is drawn as none",
		pkg:  "esmpage", symbol: "pointOf",
		from:   "math.NaN()",
		to:     "0",
		suites: []suite{{"./esmpage", "TestAnUnknownLagIsNull", nil}},
	},
	{
		name: "the page answers whatever host is named",
		pkg:  "esmpage", symbol: "Page.admitted",
		from:   "!slices.Contains(p.config.Hosts, hostOf(r.Host))",
		to:     "r.Host == \"-\"",
		suites: []suite{{"./esmpage", "TestOnlyItsHostsAreAnswered", nil}},
	},
	{
		name: "the time lag leaves out what is unknown",
		pkg:  "internal/engine", symbol: "lane.oldest",
		from:   "return at, false",
		to:     "return at, true",
		suites: []suite{{"./internal/testing/proof", "TestTimeLag", nil}},
	},
	{
		name: "brokers are asked for ends as fast as they answer",
		pkg:  "internal/engine", symbol: "Engine.Asking",
		from:   "l.asked = true",
		to:     "l.asked = false",
		suites: []suite{whole("TestBrokersAreAskedForEndsOnceASecond")},
	},
	{
		name: "an end is as young as its answer",
		pkg:  "internal/engine", symbol: "Engine.Observe",
		from:   "end.Asked, now)",
		to:     "now, now)",
		suites: []suite{{"./internal/engine", "TestWhichEndHolds|TestAnEndIsNoOlder", nil}, whole("TestAnEndIsAsOldAsItsQuestion")},
	},
	{
		name: "a fetch that waited makes an end young",
		pkg:  "internal/engine", symbol: "Engine.receive",
		from:   "l.fetchedFrom, now)",
		to:     "now, now)",
		suites: []suite{{"./internal/engine", "TestAnEndIsNoOlder", nil}, whole("TestAFetchThatWaitsForMemory")},
	},
	{
		name: "an answer that was long under way takes an end back",
		pkg:  "internal/engine", symbol: "lane.ends",
		from:   "at >= l.end || asked.After(l.endHeard)",
		to:     "at >= 0",
		suites: []suite{{"./internal/engine", "TestWhichEndHolds|TestAnEndIsNoOlder", nil}, whole("TestAnEndIsAsOldAsItsQuestion")},
	},
	{
		name: "the end of a log that was cut back stays",
		pkg:  "internal/engine", symbol: "lane.ends",
		from:   " || asked.After(l.endHeard)",
		suites: []suite{{"./internal/engine", "TestWhichEndHolds", nil}},
	},
}, bordering)
