"""Judge values by botocore's model of CreateEventSourceMapping.

It reads one JSON object from its standard input: the values to judge, each as the path of a
field and the value. It writes all fields of the request, and for each value why the model
refuses it, or "", and the version of botocore.
"""

import json
import sys

import botocore
import regex
from botocore.loaders import Loader

shapes = Loader().load_service_model("lambda", "service-2", "2015-03-31")["shapes"]
fields = {}
patterns = {}


def walk(path, name):
    shape = shapes[name]
    kind = shape["type"]
    fields[path] = {
        "Path": path,
        "Shape": name,
        "Type": kind,
        "Min": shape.get("min"),
        "Max": shape.get("max"),
        "Pattern": shape.get("pattern", ""),
        "Enum": shape.get("enum", []),
    }
    if kind == "structure":
        for member, of in shape["members"].items():
            walk(path + "." + member if path else member, of["shape"])
    elif kind == "list":
        walk(path + "[]", shape["member"]["shape"])
    elif kind == "map":
        walk(path + "{key}", shape["key"]["shape"])
        walk(path + "{}", shape["value"]["shape"])


def matches(pattern, text):
    # The digits of the model are those of ASCII, and the pattern is of the whole text.
    if pattern not in patterns:
        patterns[pattern] = regex.compile(pattern.replace(r"\d", "[0-9]"))
    return patterns[pattern].fullmatch(text) is not None


KINDS = {
    "string": str,
    "integer": int,
    "timestamp": (int, float),
    "boolean": bool,
    "list": list,
    "map": dict,
    "structure": dict,
}


def refusal(name, value):
    """Say what is wrong with a value of a shape, or "". Null is the same as nothing."""
    shape = shapes[name]
    kind = shape["type"]
    if value is None:
        return ""
    if not isinstance(value, KINDS[kind]) or isinstance(value, bool) != (kind == "boolean"):
        return "it is no " + kind
    size = value if kind == "integer" else len(value) if kind in ("string", "list", "map") else None
    if size is not None and size < shape.get("min", size):
        return "its minimum is %s" % shape["min"]
    if size is not None and size > shape.get("max", size):
        return "its maximum is %s" % shape["max"]
    if "enum" in shape and value not in shape["enum"]:
        return "it is none of its enumeration"
    if "pattern" in shape and not matches(shape["pattern"], value):
        return "it is not of its pattern"
    inner = []
    if kind == "structure":
        for member, v in value.items():
            if member not in shape["members"]:
                return "it has no member " + member
            inner.append((shape["members"][member]["shape"], v))
        for member in shape.get("required", []):
            if value.get(member) is None:
                return "it requires " + member
    elif kind == "list":
        inner = [(shape["member"]["shape"], v) for v in value]
    elif kind == "map":
        inner = [(shape["key"]["shape"], k) for k in value]
        inner += [(shape["value"]["shape"], v) for v in value.values()]
    for of, v in inner:
        why = refusal(of, v)
        if why:
            return why
    return ""


walk("", "CreateEventSourceMappingRequest")
asked = json.load(sys.stdin)
json.dump(
    {
        "Version": botocore.__version__,
        "Fields": list(fields.values()),
        "Refusals": [refusal(fields[path]["Shape"], value) for path, value in asked["Values"] or []],
    },
    sys.stdout,
)
