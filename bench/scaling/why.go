package main

// why says why ours is not first, in the rows where it is not.
var why = map[string]string{
	"knee":        "it goes on beyond the knee for what a fifth of latency brings, and is done twice as soon as the one that is first, which is slow enough never to reach the knee.",
	"ramp":        "its p99 is less than a second longer, with fewer pollers: it does not go up for what piles up within a second, and lets pollers go after a minute. The one that is first keeps them for five.",
	"sawtooth":    "its p99 is less than a second longer, with fewer pollers: it does not go up for what piles up within a second, and lets pollers go after a minute. The one that is first keeps them for five.",
	"day":         "its p99 is less than a second longer, with a fifth fewer pollers: it does not go up for what piles up within a second, and lets pollers go after a minute. The one that is first keeps them for five.",
	"unknown lag": "the number does not go down while lags are unknown, and what came then counts as what arrives for half a minute after. The one that is first goes down on its last lag.",
}
