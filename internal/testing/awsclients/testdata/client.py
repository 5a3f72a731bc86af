"""A client of Lambda's API by boto3.

It reads one JSON object a line from its standard input, and writes one back for each: the
first says where the endpoint is and with which keys it signs, each other one is a call.
"""

import datetime
import json
import sys

import boto3
from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.exceptions import ClientError


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    raise TypeError(type(value))


def open_client(to):
    return boto3.client(
        "lambda",
        endpoint_url=to["URL"],
        region_name=to["Region"],
        aws_access_key_id=to["Key"],
        aws_secret_access_key=to["Secret"],
        aws_session_token=to["Token"] or None,
        config=Config(signature_version=UNSIGNED) if to["Unsigned"] else None,
    )


def call(client, asked):
    if asked["Op"] == "paginate":
        pages = client.get_paginator("list_event_source_mappings").paginate(
            PaginationConfig={"PageSize": asked["PageSize"]}, **asked["In"]
        )
        return {"UUIDs": [m["UUID"] for page in pages for m in page["EventSourceMappings"]]}
    out = getattr(client, xform_name(asked["Op"]))(**asked["In"])
    del out["ResponseMetadata"]
    return out


client = None
for line in sys.stdin:
    asked = json.loads(line)
    try:
        if client is None:
            client = open_client(asked)
            said = {"Out": {"Version": boto3.__version__}}
        else:
            said = {"Out": call(client, asked)}
    except ClientError as e:
        said = {"Code": e.response["Error"]["Code"], "Message": e.response["Error"]["Message"]}
    except Exception as e:
        said = {"Broken": repr(e)}
    print(json.dumps(said, default=plain), flush=True)
