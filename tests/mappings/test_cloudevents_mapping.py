"""CloudEvents: the official SDK takes every entry and every alert, and the specification's rules for texts hold."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from tests.forward.conftest import make_alert
from tests.mappings.conftest import LOG, entries, entry, known_entries

from sealstream.layout.alerts import encode_alert
from sealstream.mappings import SCHEMAS, mapped_alert, mapped_entry
from sealstream.mappings.cloudevents import ROWS

KNOWN = known_entries()
_NAME = re.compile("[a-z0-9]{1,20}")


def received(document: bytes) -> CloudEvent:
    """As the SDK receives a structured event over HTTP."""
    message = HTTPMessage({"content-type": SCHEMAS["cloudevents"].media_type}, document)
    event = from_structured_event(message, JSONFormat())
    assert isinstance(event, CloudEvent)
    return event


def check(document: bytes) -> CloudEvent:
    event = received(document)
    attributes = event.get_attributes()
    assert event.get_specversion() == "1.0"
    assert isinstance(event.get_time(), datetime)
    assert urlsplit(event.get_source()).netloc == LOG.split("/", 1)[0]
    for name, value in attributes.items():
        assert _NAME.fullmatch(name), name
        if isinstance(value, str):
            assert value
            assert not any(_forbidden(ord(character)) for character in value), (name, value)
    assert event.get_data() == json.loads(document)["data"]
    return event


def _forbidden(code: int) -> bool:
    """Spec 1.0.2, "Type System": String."""
    control = code <= 0x1F or 0x7F <= code <= 0x9F
    return control or 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFF in (0xFFFE, 0xFFFF)


@settings(max_examples=150, deadline=None)
@given(entries())
def test_the_official_sdk_takes_whatever_can_be_sealed(value: bytes) -> None:
    event = check(mapped_entry("cloudevents", value, LOG))
    said = json.loads(value)
    assert event.get_id() == said["hash"]
    assert unquote(event.get_subject() or "") == f"{said['resource_type']}/{said['resource_id']}"
    assert unquote(event.get_extension("auditaction")) == said["action"]


def test_the_official_sdk_takes_statements_claims_and_real_records() -> None:
    kinds = {check(mapped_entry("cloudevents", value, LOG)).get_type() for value in KNOWN.values()}
    assert kinds == {"sealstream.event.v1", "sealstream.control.v1", "sealstream.log.v1"}


def test_the_official_sdk_takes_an_alert() -> None:
    alert = make_alert()
    event = check(mapped_alert("cloudevents", encode_alert(alert), LOG))
    assert (event.get_id(), event.get_type()) == (alert.id, "sealstream.alert.v1")
    assert event.get_data() == json.loads(encode_alert(alert))


def test_sequences_sort_as_the_log_does() -> None:
    """The extension Sequence: texts that compare as the events came."""
    values = [
        received(mapped_entry("cloudevents", entry_at(seq), LOG)).get_extension("sequence") for seq in (9, 10, 99)
    ]
    assert values == sorted(values)


def entry_at(seq: int) -> bytes:
    from tests.mappings.conftest import sealed

    from sealstream.sealing import split_sealed

    event = json.loads(split_sealed(entry()).body)
    event.pop("written")
    return sealed(json.dumps(event, separators=(",", ":")).encode(), seq=seq)


def test_the_table_has_every_attribute_and_no_other() -> None:
    found: set[str] = set()
    for value in KNOWN.values():
        document: dict[str, Any] = json.loads(mapped_entry("cloudevents", value, LOG))
        found |= set(document)
    assert found == {row.path for row in ROWS}
