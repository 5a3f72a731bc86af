package lambdaapi

import (
	"regexp"
	"strings"
)

// A FunctionName is what a mapping calls, taken apart: "billing", "billing:PROD",
// "123456789012:function:billing", or a whole ARN.
type FunctionName struct {
	Partition, Region, Account string // "" where it is not said
	Name                       string
	Qualifier                  string // an alias or a version, or ""
}

var namePattern = regexp.MustCompile(`^(?:arn:(aws[a-zA-Z-]*):lambda:)?(?:((?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?(?:(\d{12}):)?(?:function:)?([a-zA-Z0-9\-_.]+)(?::(\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9\-_]+))?$`)

// nameOf takes a name apart.
func nameOf(s string) (n FunctionName, ok bool) {
	parts := namePattern.FindStringSubmatch(s)
	if parts == nil {
		return n, false
	}
	return FunctionName{parts[1], parts[2], parts[3], parts[4], parts[5]}, true
}

// in fills in what is not said.
func (n FunctionName) in(partition, region, account string) FunctionName {
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	n.Partition, n.Region, n.Account = or(n.Partition, partition), or(n.Region, region), or(n.Account, account)
	return n
}

// String is the ARN, with the qualifier that was given.
func (n FunctionName) String() string {
	arn := []string{"arn", n.Partition, "lambda", n.Region, n.Account, "function", n.Name}
	if n.Qualifier != "" {
		arn = append(arn, n.Qualifier)
	}
	return strings.Join(arn, ":")
}

// matches reports whether a mapping of n is asked for by other, which says what it cares
// for.
func (n FunctionName) matches(other FunctionName) bool {
	same := func(is, asked string) bool { return asked == "" || is == asked }
	return n.Name == other.Name && same(n.Partition, other.Partition) && same(n.Region, other.Region) &&
		same(n.Account, other.Account) && same(n.Qualifier, other.Qualifier)
}
