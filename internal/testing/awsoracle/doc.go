// Package awsoracle has the tests of package awsconfig that ask others what AWS takes: the
// model of the API that botocore has, AWS's own translator of SAM, and cfn-lint with the
// schemas of CloudFormation.
//
// All three are Python, and their tests are skipped unless the variable ESM_AWS_PYTHON of the
// environment names a python3 that can import them:
//
//	python3 -m venv oracle
//	oracle/bin/pip install boto3==1.44.8 botocore==1.44.8 aws-sam-translator==1.115.0 cfn-lint==1.58.0
//	export ESM_AWS_PYTHON=$PWD/oracle/bin/python3
//
// Where awsconfig judges otherwise on purpose, a table has it with the reason. A row that
// nothing needs fails its test, as a difference that no row has does.
package awsoracle
