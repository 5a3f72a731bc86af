package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// onKafka is a consumer with a client, of a Kafka in memory that has the topic.
func onKafka(t *testing.T) (*Consumer, *problemBook) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, order0.Topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	c, _, w := ordersConsumer()
	c.client = cl
	return c, w
}

// TestADeletionIsSeenThoughABrokerHasNotHeardOfIt: when the last partition of a
// topic was taken away, nobody asks for it but this.
func TestADeletionIsSeenThoughABrokerHasNotHeardOfIt(t *testing.T) {
	c, w := onKafka(t)
	c.suspect(order0.Topic)
	c.recreated(t.Context()) // it is there still
	if _, err := kadm.NewClient(c.client).DeleteTopic(t.Context(), order0.Topic); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.recreated(t.Context())
		if w.Trouble("topic "+order0.Topic) == nil {
			t.Error("nobody says that the topic is gone")
		}
	}
	if len(c.suspects) != 1 {
		t.Errorf("%v is looked at", c.suspects)
	}
}

// TestASuspectThatIsThereIsForgotten after a second look.
func TestASuspectThatIsThereIsForgotten(t *testing.T) {
	c, _ := onKafka(t)
	c.suspect(order0.Topic)
	for look, left := range []int{1, 0} {
		if c.recreated(t.Context()); len(c.suspects) != left {
			t.Errorf("after look %d %v is looked at", look+1, c.suspects)
		}
	}
}
