"""Checks each line of standard input against the framework's schema of its class; prints what is wrong."""

import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"


def validator(schemas, made, event):
    """That of the event's class with the profiles that it names; made once."""
    key = (event["class_uid"], tuple(event["metadata"]["profiles"]))
    if key not in made:
        schema = schemas.get_class_schema(schemas.lookup_class_name_from_uid(key[0]), profiles=list(key[1]))
        made[key] = jsonschema.Draft202012Validator(schema)
    return made[key]


def main():
    schemas, made, wrong = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION)), {}, 0
    for number, line in enumerate(sys.stdin, 1):
        event = json.loads(line)
        for error in validator(schemas, made, event).iter_errors(event):
            wrong += 1
            action = event["metadata"].get("event_code")
            print(f"line {number}, {action}: {error.json_path}: {error.message[:300]}")
    return 1 if wrong else 0


sys.exit(main())
