// Command cmd is what is deployed to Lambda: the function with its runtime.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/seed429fd032/esm/examples/migrate/function"
)

func main() { lambda.Start(function.Handle) }
