package main

import (
	"context"
	"errors"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed429fd032/esm/examples/internal/demo"
)

type settings struct {
	function, endpoint, region string
	records                    int
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	f.StringVar(&s.function, "function", "", "the function to invoke in AWS, by `name` or ARN (default: one that is built and run here)")
	f.StringVar(&s.region, "region", os.Getenv("AWS_REGION"), "the region of the function, with -function")
	f.StringVar(&s.endpoint, "endpoint", "", "the `URL` of another Lambda, with -function")
	f.Check(func() error {
		switch {
		case s.function == "" && s.endpoint != "":
			return errors.New("-endpoint needs -function, what to invoke there")
		case s.function != "" && s.region == "":
			return errors.New("-function needs -region, or the variable AWS_REGION")
		case s.function != "" && os.Getenv("AWS_ACCESS_KEY_ID") == "":
			return errors.New("-function needs credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
		return nil
	})
	f.Number(&s.records, "records", 20_000, 1, 1_000_000, "how many records there are")
	f.JSON()
}

// credentials are those of the environment.
func credentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
	}, nil
}

// noCredentials are for the Lambda here, which looks at none.
func noCredentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "none", SecretAccessKey: "none"}, nil
}
