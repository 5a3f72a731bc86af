// Command function is a Lambda function for tests, as users write one: with
// aws-lambda-go, and without a word about esm. The value of the first record
// says what it does.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

func main() {
	if os.Getenv("FUNCTION_INIT") == "exit" {
		fmt.Fprintln(os.Stderr, "this function cannot begin")
		os.Exit(7)
	}
	if os.Getenv("FUNCTION_INIT") == "hang" {
		time.Sleep(time.Hour)
	}
	lambda.Start(handle)
}

func handle(ctx context.Context, event events.KafkaEvent) (any, error) {
	remember(ctx, event)
	what, argument := "", ""
	for _, records := range event.Records {
		if len(records) > 0 {
			text, err := base64.StdEncoding.DecodeString(records[0].Value)
			if err != nil {
				return nil, err
			}
			what, argument, _ = strings.Cut(string(text), " ")
		}
	}
	switch what {
	case "error":
		return nil, errors.New("told to fail")
	case "panic":
		panic("told to panic")
	case "exit":
		os.Exit(3)
	case "hang":
		time.Sleep(time.Hour)
	case "sleep":
		d, err := time.ParseDuration(argument)
		if err != nil {
			return nil, err
		}
		time.Sleep(d)
	case "answer":
		return json.RawMessage(argument), nil
	case "large":
		return strings.Repeat("x", 7<<20), nil
	case "flood":
		for range 5000 {
			fmt.Println(strings.Repeat("y", 1000))
		}
	case "say":
		fmt.Println(argument)
	case "twice":
		return nil, twice(ctx)
	case "grow":
		grown := make([][]byte, 0, 64)
		for range 64 {
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = 1
			}
			grown = append(grown, b)
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		fmt.Println(len(grown))
	}
	return "what a function returns is no matter", nil
}

// remember writes what it got to the file of this process, a line for each
// invocation.
func remember(ctx context.Context, event events.KafkaEvent) {
	name := os.Getenv("FUNCTION_SEEN")
	if name == "" {
		return
	}
	line := struct {
		Request  string            `json:"request"`
		ARN      string            `json:"arn"`
		Custom   map[string]string `json:"custom"`
		Deadline bool              `json:"deadline"`
		PID      int               `json:"pid"`
		At       int64             `json:"at"`
		Event    events.KafkaEvent `json:"event"`
	}{PID: os.Getpid(), At: time.Now().UnixNano(), Event: event}
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		line.Request, line.ARN, line.Custom = lc.AwsRequestID, lc.InvokedFunctionArn, lc.ClientContext.Custom
	}
	_, line.Deadline = ctx.Deadline()
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	// A file of its own: another process may be killed while it writes.
	f, err := os.OpenFile(fmt.Sprintf("%s.%d", name, os.Getpid()), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.Write(append(text, '\n')); err != nil {
		panic(err)
	}
}

// twice answers by itself, so that the runtime's answer is the second one.
func twice(ctx context.Context) error {
	lc, _ := lambdacontext.FromContext(ctx)
	resp, err := http.Post("http://"+os.Getenv("AWS_LAMBDA_RUNTIME_API")+"/2018-06-01/runtime/invocation/"+lc.AwsRequestID+"/response",
		"application/json", strings.NewReader(`"the first answer"`))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the first answer: %s", resp.Status)
	}
	return errors.New("the second answer")
}
