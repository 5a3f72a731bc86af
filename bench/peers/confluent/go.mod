module github.com/seed429fd032/esm/bench/peers/confluent

go 1.26.0

require github.com/seed429fd032/esm/bench/job v0.0.0

require github.com/confluentinc/confluent-kafka-go/v2 v2.11.1

replace github.com/seed429fd032/esm/bench/job => ../../job
