"""OTLP/HTTP logs, judged by OpenTelemetry's own messages: in protobuf and in JSON the same record is the same event."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from tests.collect.conftest import Collected

from sealstream.collect.protobuf import logs_request, logs_response

PROTOBUF = "application/x-protobuf"


def request(*resources: str) -> ExportLogsServiceRequest:
    """One audit event for each resource id, and a record that is none."""
    made = ExportLogsServiceRequest()
    logs = made.resource_logs.add()
    attribute(logs.resource, "service.name", "shop")
    scope = logs.scope_logs.add()
    scope.scope.name = "shop.audit"
    for each in resources:
        record = scope.log_records.add()
        record.time_unix_nano = 1_795_000_000_123_456_789
        record.event_name = "order.cancel"
        record.trace_id = bytes(range(16))
        record.body.string_value = "cancelled"
        for name, value in (
            ("audit.actor_id", "user-1"),
            ("audit.actor_type", "user"),
            ("audit.resource_type", "order"),
            ("audit.resource_id", each),
            ("audit.result", "success"),
            ("items", 3),
        ):
            attribute(record, name, value)
    attribute(scope.log_records.add(), "level", "debug")
    return made


def attribute(parent: Any, key: str, value: str | int) -> None:
    made = parent.attributes.add()
    made.key = key
    if isinstance(value, int):
        made.value.int_value = value
    else:
        made.value.string_value = value


def in_json(made: ExportLogsServiceRequest) -> str:
    """OTLP's JSON: protobuf's own mapping, but ids in hex."""
    document = MessageToDict(made)
    for record in document["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
        if "traceId" in record:
            record["traceId"] = bytes(range(16)).hex()
    return json.dumps(document)


def test_a_record_is_the_same_event_in_both_encodings(collected: Collected) -> None:
    made = request("order-1", "order-2")
    answer = collected.post(made.SerializeToString(), path="/v1/logs", content_type=PROTOBUF)
    assert answer.status_code == 200, answer.text
    told = ExportLogsServiceResponse.FromString(answer.content)
    assert told.partial_success.rejected_log_records == 1
    assert "record 3" in told.partial_success.error_message
    again = collected.post(in_json(made), path="/v1/logs")
    assert again.status_code == 200
    assert again.json()["partialSuccess"]["rejectedLogRecords"] == 1
    events = [
        each
        for several in collected.written().values()
        for each in several
        if each["resource_type"] == "order" and each["source"].get("service") == "shop"
    ]
    assert sorted(each["resource_id"] for each in events) == ["order-1", "order-1", "order-2", "order-2"]
    assert len({each["id"] for each in events}) == 2
    for each in events:
        assert each["timestamp"].endswith(".123456Z")
        assert each["action"] == "order.cancel"
        assert each["trace_id"] == bytes(range(16)).hex()
        assert each["metadata"] == {"attributes": {"items": 3}, "body": "cancelled", "scope": "shop.audit"}


def test_an_id_that_is_a_number_is_the_same_id_as_text(collected: Collected) -> None:
    made = request()
    record = made.resource_logs[0].scope_logs[0].log_records[0]
    record.time_unix_nano = 1_795_000_000_000_000_000
    for name, value in (
        ("audit.actor_id", 42), ("audit.actor_type", "user"), ("audit.action", "order.count"),
        ("audit.resource_type", "order"), ("audit.resource_id", -7), ("audit.result", "success"),
        ("audit.metadata.items", 3),
    ):  # fmt: skip
        attribute(record, name, value)
    for body, kind in ((made.SerializeToString(), PROTOBUF), (in_json(made), "application/json")):
        answer = collected.post(body, path="/v1/logs", content_type=kind)
        assert answer.status_code == 200
        assert answer.content in (b"", b"{}"), answer.content
    one, other = (e for several in collected.written().values() for e in several if e["action"] == "order.count")
    assert one == other
    assert (one["actor_id"], one["resource_id"], one["metadata"]["items"]) == ("42", "-7", 3)


def test_what_is_no_request_is_refused(collected: Collected) -> None:
    for body, kind in (
        (b"\xff\xff", PROTOBUF),
        (b"[]", "application/json"),
        (b'{"resourceLogs": 7}', "application/json"),
    ):
        assert collected.post(body, path="/v1/logs", content_type=kind).status_code == 400


def test_our_reader_of_protobuf_agrees_with_their_writer() -> None:
    made = request("order-1")
    value = made.resource_logs[0].scope_logs[0].log_records[0].attributes.add()
    value.key = "deep"
    value.value.kvlist_value.values.add(key="n").value.int_value = -5
    value.value.kvlist_value.values.add(key="b").value.bool_value = False
    value.value.kvlist_value.values.add(key="d").value.array_value.values.add().double_value = 1.5
    found = logs_request(made.SerializeToString())
    theirs = json.loads(in_json(made))
    deep = found["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"][-1]
    assert deep == {
        "key": "deep",
        "value": {
            "kvlistValue": {
                "values": [
                    {"key": "n", "value": {"intValue": -5}},
                    {"key": "b", "value": {"boolValue": False}},
                    {"key": "d", "value": {"arrayValue": {"values": [{"doubleValue": 1.5}]}}},
                ]
            }
        },
    }
    assert found["resourceLogs"][0]["resource"] == theirs["resourceLogs"][0]["resource"]
    assert ExportLogsServiceResponse.FromString(logs_response(0, "")) == ExportLogsServiceResponse()
    assert ExportLogsServiceResponse.FromString(logs_response(300, "é")).partial_success.error_message == "é"
