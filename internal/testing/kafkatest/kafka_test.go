package kafkatest

import (
	"os"
	"testing"
)

func TestThreeBrokersStartAndLeaveNothingBehind(t *testing.T) {
	if !Wanted() {
		t.Skip(NotWanted)
	}
	k, err := Start(t.Context(), Config{Brokers: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Addrs) != 3 {
		t.Errorf("%d addresses", len(k.Addrs))
	}
	if err := k.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(k.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", k.dir, err)
	}
	for _, b := range k.brokers {
		if b.cmd.ProcessState == nil {
			t.Errorf("broker %d still runs", b.id)
		}
	}
	if err := k.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
}
