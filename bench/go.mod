module github.com/seed429fd032/esm/bench

go 1.26.0

require (
	github.com/seed429fd032/esm v0.0.0
	github.com/seed429fd032/esm/bench/job v0.0.0
	github.com/twmb/franz-go v1.22.3
	github.com/twmb/franz-go/pkg/kadm v1.20.0
)

require (
	github.com/emmansun/base64 v0.9.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/twmb/franz-go/pkg/kmsg v1.15.1 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace (
	github.com/seed429fd032/esm => ../
	github.com/seed429fd032/esm/bench/job => ./job
)
