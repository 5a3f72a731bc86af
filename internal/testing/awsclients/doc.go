// Package awsclients has the tests of package lambdaapi with clients that others wrote: the
// AWS CLI, boto3, AWS's SDKs for JavaScript and Go, and the calls of Terraform. They are real
// clients, and they speak to an endpoint in this process.
//
// Three of them are no Go, and their tests are skipped unless the environment says where
// they are:
//
//	ESM_AWS_CLI     the program aws of the AWS CLI, version 1
//	ESM_AWS_PYTHON  a python3 that can import boto3
//	ESM_AWS_NODE    a folder whose node_modules has @aws-sdk/client-lambda
//
// The CLI has a botocore of its own version, so it and boto3 need an environment each:
//
//	python3 -m venv cli && cli/bin/pip install awscli==1.46.3
//	python3 -m venv boto3 && boto3/bin/pip install boto3==1.44.8
//	npm install --prefix node @aws-sdk/client-lambda@3.1164.0
//	export ESM_AWS_CLI=$PWD/cli/bin/aws ESM_AWS_PYTHON=$PWD/boto3/bin/python3 ESM_AWS_NODE=$PWD/node
package awsclients
