"""The same function in Python, as it runs in AWS."""

import base64
import json
import os


def handler(event, context):
    failures = []
    with open(os.environ["LEDGER"], "a", encoding="ascii") as ledger:
        for partition, records in event["records"].items():
            for r in records:
                try:
                    order = json.loads(base64.b64decode(r["value"]))
                    cents = int(order["cents"])
                except (TypeError, KeyError, ValueError):
                    item = {"partition": partition, "offset": r["offset"]}
                    failures.append({"itemIdentifier": item})
                    continue
                ledger.write(f"{r['partition']} {r['offset']} {cents}\n")
    return {"batchItemFailures": failures}
