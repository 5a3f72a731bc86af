// Command forward is a Lambda function for tests that asks a server in the test
// what to do with an event: with aws-lambda-go.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() { lambda.Start(handle) }

func handle(ctx context.Context, event json.RawMessage) (json.RawMessage, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("FUNCTION_ASKS"), bytes.NewReader(event))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var order struct {
		Answer json.RawMessage `json:"answer"`
		Err    string          `json:"error"`
		Panic  string          `json:"panic"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&order); err != nil {
		return nil, fmt.Errorf("%s: %w", resp.Status, err)
	}
	if order.Panic != "" {
		panic(order.Panic)
	}
	if order.Err != "" {
		return nil, errors.New(order.Err)
	}
	return order.Answer, nil
}
