//go:build !cgo

package main

import (
	"context"
	"errors"

	"github.com/seed429fd032/esm/bench/job"
)

func main() {
	job.Main(func(context.Context, *job.Job) error {
		return errors.New("confluent-kafka-go needs cgo: it is left out")
	})
}
