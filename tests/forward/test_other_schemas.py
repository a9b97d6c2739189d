"""Targets that want OCSF, ECS or CloudEvents: alerts, entries and closings, through each kind of receiver."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from pydantic import ValidationError
from standardwebhooks import Webhook
from tests.forward.conftest import SECRET, make_alert
from tests.forward.receivers import HttpReceiver, parse_syslog
from tests.mappings.ocsf_judge import faults
from tests.postgres.conftest import SealedChain

from sealstream.cli.forward_sections import TargetSection
from sealstream.errors import NotCanonical
from sealstream.forward import FORMAT_KINDS, Format, Target, sender_of
from sealstream.forward.formats.otlp import export_request, log_record
from sealstream.forward.formats.splunk import hec_event
from sealstream.forward.formats.standard_webhook import webhook_payload
from sealstream.forward.formats.syslog import syslog_message
from sealstream.forward.messages import Message, alert_message, closing_message, entry_message, trial_message
from sealstream.forward.senders.sending import waiting
from sealstream.layout.alerts import encode_alert
from sealstream.mappings import SCHEMAS, SchemaName, entry_of

LOG = "audit.example.com/acme"
TARGET = Target("t", "webhook", "https://hooks.example.com/in", secret=SECRET, log=LOG)
EVERY = pytest.mark.parametrize("schema", SCHEMAS)
LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.fixture(scope="module")
def entry() -> Message:
    return entry_message(SealedChain("mapped").add(result="denied", resource_id="Akte Müller").to_bytes())


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as started:
        yield started


def alert() -> Message:
    return alert_message(encode_alert(make_alert()))


def closing() -> Message:
    closed = {"action": "alert.closed", "metadata": {"alert": make_alert().id, "as": "benign", "reason": "r"}}
    found = closing_message(SealedChain("mapped").add("control", **closed).to_bytes())
    assert found is not None
    return found


def wanting(schema: SchemaName) -> Target:
    return TARGET._replace(format=schema)


@EVERY
def test_each_receiver_gets_the_entry_from_which_it_can_be_taken_back(schema: SchemaName, entry: Message) -> None:
    target = wanting(schema)
    request = export_request(target, [log_record(target, entry)])
    otlp = json_format.Parse(request, ExportLogsServiceRequest()).resource_logs[0].scope_logs[0].log_records[0]
    splunk = json.loads(hec_event(target, entry))
    documents = {
        "webhook": webhook_payload(target, entry),
        "splunk": json.dumps(splunk["event"]).encode(),
        "syslog": parse_syslog(syslog_message(target, entry, "h")).text.encode(),
        "otlp": otlp.body.string_value.encode(),
    }
    assert {name: entry_of(schema, each) for name, each in documents.items()} == dict.fromkeys(documents, entry.value)
    assert splunk["sourcetype"] == f"sealstream:entry:{schema}"
    assert splunk["fields"]["sealstream_id"] == entry.id


@EVERY
@pytest.mark.parametrize("message", [alert, closing])
def test_alerts_and_their_ends_are_mapped_too(schema: SchemaName, message: Any) -> None:
    document = json.loads(webhook_payload(wanting(schema), message()))
    if schema == "ocsf":
        assert faults(document) == []
        assert document["activity_name"] == {alert: "Create", closing: "Close"}[message]
        assert document["finding_info"]["uid"] == make_alert().id


@EVERY
def test_a_trial_is_a_document_too(schema: SchemaName) -> None:
    """So that `sealstream forward test` shows whether the receiver takes this schema."""
    target = wanting(schema)
    trial = trial_message(target, str(uuid.uuid4()), datetime(2026, 11, 24, 3, tzinfo=UTC))
    document = json.loads(webhook_payload(target, trial))
    assert json.dumps(trial.id) in json.dumps(document)
    assert schema != "ocsf" or faults(document) == []


def test_what_is_no_entry_is_at_fault(entry: Message) -> None:
    with pytest.raises(NotCanonical):
        webhook_payload(wanting("ecs"), entry._replace(value=b"{}"))


def test_cloudevents_arrive_as_the_specification_wants_them_and_signed(receiver: HttpReceiver, entry: Message) -> None:
    target = wanting("cloudevents")._replace(url=receiver.url, allow_networks=LOOPBACK)
    sender = sender_of(target, waiting)
    assert sender.send([sender.prepare(entry)]).end == "taken"
    sender.close()
    (request,) = receiver.requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    Webhook(SECRET).verify(request.body, dict(request.headers))
    event = from_http_event(HTTPMessage(dict(request.headers), request.body), JSONFormat())
    assert (event.get_id(), event.get_source()) == (entry.id, f"//{LOG}/mapped")


# Settings


def section(**said: Any) -> TargetSection:
    needed = {"kind": "webhook", "url": "https://hooks.example.com", "secret": SECRET}
    return TargetSection.model_validate(needed | said)


def test_the_setting_knows_every_schema_and_our_own() -> None:
    assert set(get_args(Format)) == {"sealstream", *SCHEMAS}
    for name in (*SCHEMAS, "sealstream"):
        assert section(format=name).target("t", "", LOG).format == name
    assert section().target("t", "", LOG).format == "sealstream"


def test_a_schema_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="ocsf"):
        section(format="cef")


def test_people_are_not_sent_other_schemas() -> None:
    with pytest.raises(ValidationError, match=r"has no effect for kind slack: it is for otlp, splunk-hec"):
        TargetSection.model_validate({"kind": "slack", "url": "https://hooks.example.com", "format": "ecs"})
    assert {"webhook", "splunk-hec", "syslog", "otlp"} == FORMAT_KINDS
