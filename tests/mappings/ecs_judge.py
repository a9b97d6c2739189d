"""Judges ECS documents by the official schema: `EcsFlat` of Elastic's own npm package `@elastic/ecs` (Apache-2.0).

No registry for Python has it. The package is fetched by npm, its SHA-512 is checked, and Node reads it; where one of
them is missing, or the registry is, there is nothing to judge by: tests that need it are skipped with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSION = "9.4.0"
SHA512 = "znk6Jr38KNRsyUKstormNX4QKtqnwQY1EWqrMCWIg/nY6dC1imSxzrdR6xuljxnY6JHj+/9NdTiRohVbeUEA/Q=="
_OWN = "sealstream"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z")
_READ = "const e = require(process.argv[1]); process.stdout.write(JSON.stringify({v: e.EcsVersion, f: e.EcsFlat}))"

Flat = dict[str, dict[str, Any]]


class NoSchema(Exception):
    """Why there is none here."""


def fetch(folder: Path) -> Flat:
    """The flat fields by their names. Raises `NoSchema`."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise NoSchema("npm and node are not here: they bring Elastic's own schema")
    packed = subprocess.run(
        [npm, "pack", f"@elastic/ecs@{VERSION}", "--silent"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if packed.returncode != 0:
        raise NoSchema(f"npm can't fetch @elastic/ecs: {packed.stderr.strip()[:300]}")
    archive = folder / packed.stdout.split()[-1]
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == SHA512, f"@elastic/ecs {VERSION} is not the package that it was"
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    read = subprocess.run(
        [node, "-e", _READ, str(folder / "package")], capture_output=True, text=True, timeout=60, check=True
    )
    found = json.loads(read.stdout)
    assert found["v"] == VERSION
    flat: Flat = found["f"]
    return flat


def faults(document: dict[str, Any], flat: Flat) -> list[str]:
    """What is wrong with a document; nothing when the schema allows it. Fields below `sealstream` are our own."""
    found = [fault for path, value in leaves(document) for fault in _field(path, value, flat)]
    found += [f"{name} is missing" for name in ("@timestamp", "ecs") if name not in document]
    event = document.get("event", {})
    expected: set[str] = set()
    for category in event.get("category", ()):
        allowed = {each["name"]: each for each in flat["event.category"]["allowed_values"]}
        expected |= set(allowed.get(category, {}).get("expected_event_types", ()))
    if expected and not expected.issuperset(event.get("type", ())):
        found.append(f"event.type {event.get('type')} is not expected beside event.category {event['category']}")
    return found


def leaves(document: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value by its dotted name; lists whole."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _field(path: str, value: Any, flat: Flat) -> Iterator[str]:
    if path.startswith(f"{_OWN}."):
        return
    field = flat.get(path)
    if field is None:
        yield f"{path} is no field of ECS"
        return
    is_array = "array" in field["normalize"]
    if is_array != isinstance(value, list):
        yield f"{path} is {'no' if is_array else 'an'} array"
        return
    for each in value if is_array else [value]:
        if not _fits(each, field["type"]):
            yield f"{path} is {each!r}: no {field['type']}"
        allowed = [one["name"] for one in field.get("allowed_values") or ()]
        if allowed and each not in allowed:
            yield f"{path} is {each!r}: none of {allowed}"


def _fits(value: Any, kind: str) -> bool:
    if kind in ("keyword", "match_only_text", "wildcard", "constant_keyword", "text"):
        return isinstance(value, str)
    if kind in ("long", "integer"):
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if kind == "date":
        return isinstance(value, str) and _DATE.fullmatch(value) is not None
    if kind == "ip":
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return False
        return True
    raise AssertionError(f"the judge does not know the type {kind}")
