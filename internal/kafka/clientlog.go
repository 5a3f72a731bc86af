package kafka

import (
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clientLog gives what the Kafka client says to a slog.Logger, a level lower
// than it says it: its errors are ours to judge, and come to the user as
// problems in State.
type clientLog struct{ *Consumer }

func (c clientLog) Level() kgo.LogLevel {
	switch {
	case c.joining.Load():
		return kgo.LogLevelDebug // nothing is read yet, which would be dear
	case c.watch.Logs(slog.LevelDebug):
		return kgo.LogLevelInfo
	case c.watch.Logs(slog.LevelInfo):
		return kgo.LogLevelWarn
	}
	return kgo.LogLevelError
}

func (c clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if c.joining.Load() {
		c.overhear(msg, keyvals)
		if level == kgo.LogLevelDebug || level == kgo.LogLevelInfo && !c.watch.Logs(slog.LevelDebug) {
			return
		}
	}
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		to = slog.LevelWarn
	case kgo.LogLevelWarn:
		to = slog.LevelInfo
	}
	c.watch.Log(to, "kafka client: "+msg, keyvals...)
}

// overhear learns why the group is not joined, which the client tells nobody while
// it asks again. If it says so in other words one day, a start that fails misses
// its reason, and the sweep sees that.
func (c clientLog) overhear(msg string, keyvals []any) {
	ofGroup, why := false, error(nil)
	for i := 0; i+1 < len(keyvals); i += 2 {
		switch key, value := keyvals[i], keyvals[i+1]; v := value.(type) {
		case string:
			ofGroup = ofGroup || key == "group" || key == "request" && slices.Contains(groupRequests, v)
		case error:
			if k := (*kerr.Error)(nil); errors.As(v, &k) {
				why = k
			}
		}
	}
	if why == nil && strings.Contains(msg, "UnknownMemberID") {
		why, ofGroup = kerr.UnknownMemberID, true
	}
	if why != nil && ofGroup {
		c.raise("group", why)
	}
}

// groupRequests are those that it takes to join.
var groupRequests = []string{"FindCoordinator", "JoinGroup", "SyncGroup", "ConsumerGroupHeartbeat", "OffsetFetch"}
