package esmprom

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed429fd032/esm"
)

// A partitionGauge is a gauge of one partition.
type partitionGauge struct {
	desc *prometheus.Desc
	of   func(*esm.PartitionStats) (value float64, known bool)
}

func ofPartition(name, help string, of func(*esm.PartitionStats) (float64, bool)) partitionGauge {
	return partitionGauge{description("partition_"+name, help, "topic", "partition"), of}
}

func offset(name, help string, of func(*esm.PartitionStats) int64) partitionGauge {
	return ofPartition(name, help+" Absent while it is unknown.", func(p *esm.PartitionStats) (float64, bool) { return float64(of(p)), of(p) >= 0 })
}

var partitionGauges = [...]partitionGauge{
	ofPartition("offset_lag", "Records of the partition that are not settled. Absent while it is unknown.", func(p *esm.PartitionStats) (float64, bool) { return float64(p.Lag), p.LagKnown }),
	offset("committed_offset", "The committed offset.", func(p *esm.PartitionStats) int64 { return p.Committed }),
	offset("end_offset", "The end of the partition.", func(p *esm.PartitionStats) int64 { return p.End }),
	ofPartition("oldest_timestamp_seconds", "Timestamp of the oldest record that is not settled. Absent if there is none or it is unknown.", func(p *esm.PartitionStats) (float64, bool) { return moment(p.Oldest) }),
	ofPartition("blocker_attempts", "Attempts that failed of the records that hold the partition up, 0 if none do.", func(p *esm.PartitionStats) (float64, bool) {
		if p.Blocker == nil {
			return 0, true
		}
		return float64(p.Blocker.Attempts), true
	}),
	ofPartition("blocked_since_timestamp_seconds", "Since when records hold the partition up. Absent if none do.", func(p *esm.PartitionStats) (float64, bool) {
		if p.Blocker == nil {
			return 0, false
		}
		return moment(p.Blocker.Since)
	}),
}

func (v *view) showPartitions(to *sheet) {
	for i := range v.partitions {
		p := &v.partitions[i]
		topic, partition := labelOf(p.Topic), strconv.Itoa(int(p.Partition))
		for _, g := range partitionGauges {
			if value, known := g.of(p); known {
				to.add(g.desc, prometheus.GaugeValue, value, topic, partition)
			}
		}
	}
}
