"""Judges OCSF events by the official schema in its compiled form, as `ocsf-json-schema` packages it.

Stricter than its JSON Schemas: deprecated attributes, enums' captions in the attributes beside them, `type_uid` as the
class's and the activity's, attributes of profiles that are not claimed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

VERSION = "1.8.0"
SHA256 = "221b43d05787aa68d03233589f0eabdab192531d3e4740b856b2e0a4d6d91f82"
"""Of the packaged schema: another file judges nothing here until somebody has looked at it."""


@cache
def schema() -> dict[str, Any]:
    data = files("ocsf_json_schema").joinpath(f"ocsf/{VERSION}.json").read_bytes()
    assert sha256(data).hexdigest() == SHA256, "the packaged OCSF schema has changed"
    found: dict[str, Any] = json.loads(data)
    assert found["version"] == VERSION
    return found


@cache
def _classes() -> dict[int, dict[str, Any]]:
    return {each["uid"]: each for each in schema()["classes"].values()}


def faults(event: Any) -> list[str]:
    """What is wrong with an event; nothing when the schema allows it."""
    if not isinstance(event, dict):
        return ["no object"]
    kind = _classes().get(event.get("class_uid", -1))
    if kind is None:
        return [f"class_uid {event.get('class_uid')!r} is no class"]
    found = list(_object(event, kind, "", frozenset(event.get("metadata", {}).get("profiles", ()))))
    if event.get("type_uid") != kind["uid"] * 100 + event.get("activity_id", -1):
        found.append("type_uid is not class_uid * 100 + activity_id")
    if event.get("metadata", {}).get("version") != VERSION:
        found.append("metadata.version is another")
    return found


def _object(value: dict[str, Any], shape: dict[str, Any], path: str, profiles: frozenset[str]) -> Iterator[str]:
    attributes = {
        name: each
        for name, each in shape["attributes"].items()
        if each.get("profiles") is None or not profiles.isdisjoint(each["profiles"])
    }
    if not attributes:
        return  # the object `object`: anything
    for name, each in attributes.items():
        if each["requirement"] == "required" and name not in value:
            yield f"{path}{name} is missing"
    constraints = shape.get("constraints") or {}
    if (least := constraints.get("at_least_one")) and not any(name in value for name in least):
        yield f"{path or 'the event'}: none of {least}"
    if (one := constraints.get("just_one")) and sum(name in value for name in one) != 1:
        yield f"{path or 'the event'}: not one of {one}"
    for name, inner in value.items():
        each = attributes.get(name)
        if each is None:
            yield f"{path}{name} is unknown"
            continue
        if "@deprecated" in each:
            yield f"{path}{name} is deprecated"
        yield from _attribute(inner, each, f"{path}{name}", profiles)
        if (sibling := each.get("sibling")) in value and "enum" in each and not each.get("is_array"):
            caption = each["enum"].get(str(inner), {}).get("caption")
            if inner != 99 and value[sibling] != caption and name != "type_uid":
                yield f"{path}{sibling} is {value[sibling]!r}: expected {caption!r} for {inner}"
            if name == "type_uid" and value[sibling] != caption:
                yield f"{path}{sibling} is {value[sibling]!r}: expected {caption!r}"


def _attribute(value: Any, each: dict[str, Any], path: str, profiles: frozenset[str]) -> Iterator[str]:
    if each.get("is_array"):
        if not isinstance(value, list):
            yield f"{path} is no array"
            return
        for at, item in enumerate(value):
            yield from _one(item, each, f"{path}[{at}]", profiles)
        return
    yield from _one(value, each, path, profiles)


def _one(value: Any, each: dict[str, Any], path: str, profiles: frozenset[str]) -> Iterator[str]:
    if each["type"] == "object_t":
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        yield from _object(value, schema()["objects"][each["object_type"]], f"{path}.", profiles)
        return
    yield from _scalar(value, each["type"], path)
    if "enum" in each and str(value) not in each["enum"]:
        yield f"{path} is {value!r}: none of the enum's"


def _scalar(value: Any, type_name: str, path: str) -> Iterator[str]:
    rules = schema()["dictionary"]["types"]["attributes"][type_name]
    base = rules.get("type", type_name)
    if base == "json_t":
        return
    number = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        "string_t": isinstance(value, str),
        "boolean_t": isinstance(value, bool),
        "integer_t": number,
        "long_t": number and -(2**63) <= value < 2**63,
        "float_t": number or isinstance(value, float),
    }[base]
    if not fits:
        yield f"{path} is {value!r}: no {type_name}"
        return
    if "regex" in rules and re.search(rules["regex"], value) is None:
        yield f"{path} is {value!r}: not as {type_name} is written"
    if "max_len" in rules and len(value) > rules["max_len"]:
        yield f"{path} is longer than {rules['max_len']}"
    if "range" in rules and not rules["range"][0] <= value <= rules["range"][1]:
        yield f"{path} is {value!r}: out of range"
