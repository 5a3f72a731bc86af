// Package function is a Lambda function as it runs in AWS, behind an event
// source mapping with ReportBatchItemFailures. It knows nothing of esm.
package function

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/events"
)

// An Order is the value of a record.
type Order struct {
	Number int `json:"number"`
	Cents  int `json:"cents"`
}

// An Answer says which records failed.
type Answer struct {
	Failures []Failure `json:"batchItemFailures"`
}

// A Failure is one of them.
type Failure struct {
	Item Item `json:"itemIdentifier"`
}

// An Item names a record.
type Item struct {
	Partition string `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Handle writes the orders of an event into the ledger, the file that the
// variable LEDGER names: a line with partition, offset and cents for each. What
// is no order it reports.
func Handle(_ context.Context, event events.KafkaEvent) (Answer, error) {
	ledger, err := os.OpenFile(os.Getenv("LEDGER"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return Answer{}, err
	}
	defer ledger.Close()
	var answer Answer
	for partition, records := range event.Records {
		for _, r := range records {
			order, err := read(r.Value)
			if err != nil {
				answer.Failures = append(answer.Failures, Failure{Item{partition, r.Offset}})
				continue
			}
			if _, err := fmt.Fprintf(ledger, "%d %d %d\n", r.Partition, r.Offset, order.Cents); err != nil {
				return Answer{}, err
			}
		}
	}
	return answer, nil
}

func read(value string) (o Order, err error) {
	text, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(text, &o)
}
