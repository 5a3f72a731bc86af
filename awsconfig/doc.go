// Package awsconfig makes a Mapping of what is written for AWS: the input of
// CreateEventSourceMapping, templates of CloudFormation and SAM, and what Terraform shows.
//
//	config, err := awsconfig.ParseJSON(data)      // what aws lambda create-event-source-mapping takes
//	found, err := awsconfig.ParseTemplate(data, awsconfig.Values{})
//	found, err := awsconfig.ParseTerraform(data)
//
// A [Config] has AWS's names and AWS's rules for Kafka, and [Config.Plan] makes the
// [esm.Source] and the options of it. What a Config only names, the host finds: the
// function, the secrets, the destination.
//
// # What is refused
//
// Each of these says everything that is wrong at once, with the path, the value and the
// bound: see [Mistakes]. Parameters of other sources are refused by name, and so is what
// is not known. What AWS does with records and this library does not do yet is refused
// too, and marked as [Mistake].Unbuilt: filter criteria, schema registries, the
// consumption mode Queue. To run without them would hand the function other records than
// it gets from AWS.
//
// # What is otherwise than in AWS
//
// A Plan has it as notes to print. The large ones: a Kafka without a login is taken, which
// AWS does not do; LATEST loses nothing; a batch is split after its second failure; subnets
// and groups of pollers do nothing.
package awsconfig
