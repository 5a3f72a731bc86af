"""A Lambda function for tests, as users write one. The value of the first
record says what it does, as in the function in Go beside it."""

import base64
import json
import os
import sys
import time
import urllib.request

if os.environ.get("FUNCTION_INIT") == "exit":
    print("this function cannot begin", file=sys.stderr)
    sys.exit(7)
if os.environ.get("FUNCTION_INIT") == "hang":
    time.sleep(3600)


def remember(event, context):
    name = os.environ.get("FUNCTION_SEEN")
    if not name:
        return
    line = {
        "request": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "deadline": context.get_remaining_time_in_millis() > 0,
        "pid": os.getpid(),
        "at": time.time_ns(),
        "event": event,
    }
    with open(f"{name}.{os.getpid()}", "a", encoding="utf-8") as f:
        f.write(json.dumps(line) + "\n")


def twice(context):
    url = "http://{}/2018-06-01/runtime/invocation/{}/response".format(
        os.environ["AWS_LAMBDA_RUNTIME_API"], context.aws_request_id
    )
    urllib.request.urlopen(urllib.request.Request(url, data=b'"the first answer"', method="POST")).read()
    raise RuntimeError("the second answer")


def handler(event, context):
    remember(event, context)
    what, argument = "", ""
    for records in event["records"].values():
        if records and records[0]["value"] is not None:
            what, _, argument = base64.b64decode(records[0]["value"]).decode().partition(" ")
    if what == "error":
        raise RuntimeError("told to fail")
    if what == "panic":
        os.abort()
    if what == "exit":
        os._exit(3)
    if what == "hang":
        time.sleep(3600)
    if what == "sleep":
        time.sleep(float(argument.removesuffix("ms")) / 1000)
    if what == "answer":
        return json.loads(argument)
    if what == "large":
        return "x" * (7 << 20)
    if what == "flood":
        for _ in range(5000):
            print("y" * 1000)
    if what == "say":
        print(argument, flush=True)
    if what == "twice":
        twice(context)
    if what == "grow":
        grown = []
        for _ in range(64):
            grown.append(bytearray(b"\x01" * (16 << 20)))
            time.sleep(0.02)
        time.sleep(3600)
    return "what a function returns is no matter"
