module github.com/seed429fd032/esm/bench/peers/watched

go 1.26.0

require (
	github.com/prometheus/client_golang v1.25.0
	github.com/seed429fd032/esm v0.0.0
	github.com/seed429fd032/esm/bench/job v0.0.0
	github.com/seed429fd032/esm/esmotel v0.0.0
	github.com/seed429fd032/esm/esmprom v0.0.0
	github.com/twmb/franz-go v1.22.3
	go.opentelemetry.io/otel/sdk v1.47.0
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/emmansun/base64 v0.9.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/twmb/franz-go/pkg/kmsg v1.15.1 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	go.opentelemetry.io/otel/trace v1.47.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/seed429fd032/esm => ../../../
	github.com/seed429fd032/esm/bench/job => ../../job
	github.com/seed429fd032/esm/esmotel => ../../../esmotel
	github.com/seed429fd032/esm/esmprom => ../../../esmprom
)
