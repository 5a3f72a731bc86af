"""Make templates of CloudFormation of templates of SAM, by AWS's translator.

It reads one JSON list from its standard input, of objects with a template as text and the
values of its parameters. It writes what the translator makes of each, or what it says is
wrong, the properties that events of Kafka may have, and the version of the translator.
"""

import copy
import json
import logging
import os
import sys

os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
logging.disable(logging.CRITICAL)

from samtranslator import __version__  # noqa: E402
from samtranslator.model.eventsources.pull import MSK, SelfManagedKafka  # noqa: E402
from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402


class Policies:
    """The managed policies of an account that has none."""

    def load(self):
        return {}


made = []
for asked in json.load(sys.stdin):
    template = yaml_parse(asked["Template"])
    try:
        whole = transform(copy.deepcopy(template), asked["Parameters"] or {}, Policies())
        made.append({"Template": json.dumps(whole)})
    except InvalidDocumentException as e:
        made.append({"Error": e.message + " " + " ".join(c.message for c in e.causes)})
properties = sorted({*MSK.property_types, *SelfManagedKafka.property_types})
json.dump({"Version": __version__, "Made": made, "Properties": properties}, sys.stdout)
