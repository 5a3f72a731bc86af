// Command function is a Lambda function as it is deployed: it writes which
// records it got into the file that the variable SEEN names, if there is one.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() { lambda.Start(handle) }

func handle(_ context.Context, event events.KafkaEvent) error {
	name := os.Getenv("SEEN")
	if name == "" {
		return nil
	}
	var lines strings.Builder
	for _, records := range event.Records {
		for _, r := range records {
			fmt.Fprintf(&lines, "%d %d\n", r.Partition, r.Offset)
		}
	}
	seen, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer seen.Close()
	_, err = seen.WriteString(lines.String())
	return err
}
