"""Entries and alerts in other people's schemas: OCSF, the Elastic Common Schema, CloudEvents; and entries back. Pure.

One module each holds the mapping as a table, which docs/schemas.md shows. A document keeps the sealed entry whole, so
that whoever has it can verify it (`entry_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from sealstream.errors import NotCanonical
from sealstream.mappings import cloudevents, ecs, ocsf
from sealstream.mappings.exported import Exported, alert_exported, entry_exported

__all__ = ["SCHEMAS", "Schema", "SchemaName", "entry_of", "mapped_alert", "mapped_entry"]

SchemaName = Literal["ocsf", "ecs", "cloudevents"]


class Schema(NamedTuple):
    """`media_type`: of one document. `document`: made of an entry or alert; `entry_of`: the reverse."""

    title: str
    media_type: str
    document: Callable[[Exported], dict[str, Any]]
    entry_of: Callable[[Mapping[str, Any]], bytes]


SCHEMAS: dict[SchemaName, Schema] = {
    "ocsf": Schema(f"OCSF {ocsf.VERSION}", "application/json", ocsf.document, ocsf.entry_of),
    "ecs": Schema(f"Elastic Common Schema {ecs.VERSION}", "application/json", ecs.document, ecs.entry_of),
    "cloudevents": Schema(
        f"CloudEvents {cloudevents.VERSION}",
        "application/cloudevents+json",
        cloudevents.document,
        cloudevents.entry_of,
    ),
}


def mapped_entry(schema: SchemaName, value: bytes, log: str = "") -> bytes:
    """A sealed entry as one JSON document without line breaks. `log`: the log's name, for the origin.

    Raises `NotCanonical` when it is no sealed entry; hashes are not computed.
    """
    return _encode(SCHEMAS[schema].document(entry_exported(value, log)))


def mapped_alert(schema: SchemaName, value: bytes, log: str = "") -> bytes:
    """An alert, as a record of `audit.alerts` has it, as one JSON document. Raises `NotCanonical`."""
    return _encode(SCHEMAS[schema].document(alert_exported(value, log)))


def entry_of(schema: SchemaName, document: bytes) -> bytes:
    """The sealed entry that a document was made of, byte for byte, after its hash was computed again.

    Raises `NotCanonical`: it is none, it holds none (an alert's), or somebody changed it.
    """
    try:
        made = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}: {document[:80]!r}") from error
    if not isinstance(made, dict):
        raise NotCanonical(f"no document of {schema}: expected a JSON object, got {document[:80]!r}")
    return SCHEMAS[schema].entry_of(made)


_encode = msgspec.json.Encoder().encode
