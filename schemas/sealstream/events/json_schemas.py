"""The JSON Schemas (draft 2020-12) of events and statements, made from the same tables as the validation.

The invariant: on the same JSON value schema and validation give the same verdict, but for what a schema can't see,
which `BEYOND_THE_SCHEMA` lists and the schema's `$comment` repeats. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import json
from typing import Any

from sealstream.events.fields import FIELDS, MAX_INTEGER, MAX_NESTING, SIGNATURE_FIELDS, SOURCE_FIELDS, Field
from sealstream.events.statements import END, STATEMENTS

__all__ = ["BEYOND_THE_SCHEMA", "json_schema", "schema_texts", "statement_schemas"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

BEYOND_THE_SCHEMA = {
    "bytes": "UTF-8 without BOM, overlong forms or other invalid bytes; no NaN or Infinity; nothing after the object",
    "size": "at most 61,440 bytes as sent and in canonical form (RFC 8785)",
    "names": "a name may occur once in an object",
    "surrogates": "no lone surrogate, escaped or not, in a text or a name",
    "lengths": "limits count bytes of UTF-8; maxLength counts characters, which are at most as many",
    "years": "a timestamp's year must be 0001 to 9999 after conversion to UTC",
}

_NO_NUL = rf"^[^\u0000]*{END}"

_DATE = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIMESTAMP = rf"^(?!0000-(?!12-31)){_DATE}[Tt]{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:[Zz]|[+-]{_CLOCK}){END}"

_UUID = f"^[0-9A-Fa-f]{{8}}(?:-[0-9A-Fa-f]{{4}}){{3}}-[0-9A-Fa-f]{{12}}{END}"


def _ip_pattern() -> str:
    octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    dotted = rf"{octet}(?:\.{octet}){{3}}"
    group = "[0-9A-Fa-f]{1,4}"
    forms = [dotted, f"(?:{group}:){{7}}{group}", f"(?:{group}:){{6}}{dotted}"]
    for left in range(8):  # groups before the "::", which stands for at least one
        head = f"{group}(?::{group}){{{left - 1}}}" if left else ""
        tails = []
        if left < 7:
            tails.append(f"{group}(?::{group}){{0,{6 - left}}}")
        if left < 6:
            tails.append(f"(?:{group}:){{0,{5 - left}}}{dotted}")
        forms.append(f"{head}::" + (f"(?:{'|'.join(tails)})?" if tails else ""))
    return f"^(?:{'|'.join(forms)}){END}"


def _value_schema(level: int) -> dict[str, Any]:
    """A value inside an object: a container at nesting `level`, or a scalar."""
    containers = ["array", "object"] if level <= MAX_NESTING else []
    schema: dict[str, Any] = {
        "type": ["null", "boolean", "number", "string", *containers],
        "pattern": _NO_NUL,
        "minimum": -MAX_INTEGER,
        "maximum": MAX_INTEGER,
    }
    if containers:
        deeper = {"$ref": f"#/$defs/value{level + 1}"}
        schema |= {"items": deeper, "propertyNames": {"pattern": _NO_NUL}, "additionalProperties": deeper}
    return schema


def _field_schema(field: Field) -> dict[str, Any]:
    match field.kind:
        case "choice":
            return {"enum": [*field.choices] if field.required else [*field.choices, None]}
        case "text":
            schema: dict[str, Any] = {"type": "string", "pattern": _NO_NUL}
            if not field.may_be_empty:
                schema["minLength"] = 1
            if field.limit is not None:
                schema["maxLength"] = field.limit
        case "uuid":
            schema = {"type": "string", "pattern": _UUID}
        case "timestamp":
            schema = {"type": "string", "pattern": _TIMESTAMP}
        case "ip":
            schema = {"type": "string", "pattern": _ip_pattern()}
        case "texts":
            schema = {"type": "array", "items": {"type": "string", "pattern": _NO_NUL}}
        case "number":
            schema = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
        case "source":
            schema = {"type": "object", "properties": _properties(SOURCE_FIELDS), "additionalProperties": False}
        case "signature":
            schema = {
                "type": "object",
                "properties": _properties(SIGNATURE_FIELDS),
                "required": [*SIGNATURE_FIELDS],
                "additionalProperties": False,
            }
        case "object":
            schema = {
                "type": "object",
                "propertyNames": {"pattern": _NO_NUL},
                "additionalProperties": {"$ref": "#/$defs/value3"},
            }
    if not field.required:
        schema["type"] = [schema["type"], "null"]
    return schema


def _properties(fields: dict[str, Field]) -> dict[str, Any]:
    return {name: {"description": field.says} | _field_schema(field) for name, field in fields.items()}


def json_schema() -> dict[str, Any]:
    """What a producer may send, as JSON Schema."""
    both = {"properties": {"producer_id": {"type": "string"}, "producer_seq": {"type": "integer"}}}
    neither = {"properties": {"producer_id": {"type": "null"}, "producer_seq": {"type": "null"}}}
    return {
        "$schema": DIALECT,
        "$id": "urn:sealstream:event",
        "$comment": "Beyond this schema: " + "; ".join(f"{name}: {rule}" for name, rule in BEYOND_THE_SCHEMA.items()),
        "title": "Sealstream audit event",
        "description": "Who did what to which resource, when, from where and with what result. "
        "Null means absent for an optional field.",
        "type": "object",
        "properties": _properties(FIELDS),
        "required": [name for name, field in FIELDS.items() if field.required],
        "additionalProperties": False,
        "anyOf": [both | {"required": ["producer_id", "producer_seq"]}, neither],
        "$defs": {f"value{level}": _value_schema(level) for level in range(3, MAX_NESTING + 2)},
    }


def statement_schemas() -> dict[str, Any]:
    """What the metadata of a known action holds, as a JSON Schema of the event; `x-kind`: where it may come from."""
    definitions: dict[str, Any] = {}
    for action, statement in STATEMENTS.items():
        held = statement.metadata
        definitions[action] = {
            "description": statement.says,
            "x-kind": statement.kind,
            "properties": {"metadata": False if held is None else held},
            "required": [] if held is None else ["metadata"],
        }
    return {
        "$schema": DIALECT,
        "$id": "urn:sealstream:statements",
        "$comment": "An action that is not listed is not restricted; members that are not listed are allowed.",
        "title": "Statements about the log itself",
        "type": "object",
        "allOf": [
            {
                "if": {"properties": {"action": {"const": action}}, "required": ["action"]},
                "then": {"$ref": f"#/$defs/{action}"},
            }
            for action in definitions
        ],
        "$defs": definitions,
    }


def schema_texts() -> dict[str, str]:
    """File name to text, as the files lie beside this module."""
    schemas = {"event.schema.json": json_schema(), "statements.schema.json": statement_schemas()}
    return {name: json.dumps(schema, indent=2) + "\n" for name, schema in schemas.items()}
