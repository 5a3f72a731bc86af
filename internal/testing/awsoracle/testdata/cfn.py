"""Judge a template of CloudFormation by cfn-lint.

It reads one template from its standard input, or nothing. It writes the schema that cfn-lint
has for mappings, all errors of the template (the rule, the path and the text) and its version.
Warnings are no errors.
"""

import json
import sys

from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from cfnlint.version import __version__

region = "us-east-1"
template = sys.stdin.read()
found = lint(template, config=ManualArgs(regions=[region], ignore_checks=["W", "I"])) if template else []
schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(region, "AWS::Lambda::EventSourceMapping").schema
json.dump(
    {
        "Version": __version__,
        "Schema": schema,
        "Errors": [{"Rule": m.rule.id, "Path": [str(p) for p in m.path], "Text": m.message} for m in found],
    },
    sys.stdout,
)
