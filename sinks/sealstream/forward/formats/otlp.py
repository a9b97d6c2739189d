"""OpenTelemetry's logs over HTTP, in OTLP's JSON (opentelemetry-proto 1.x, `ExportLogsServiceRequest`). Pure.

As that form wants it: names in lowerCamelCase, 64-bit integers as text, trace ids in hex. The body of an entry is the
sealed entry as text, byte for byte, or mapped; of an alert its summary, with the alert as JSON among the attributes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from sealstream.forward.formats.mapped import told
from sealstream.forward.messages import Message, link_of
from sealstream.forward.targets import Target

__all__ = ["export_request", "log_record"]

# Severity numbers of the logs data model: INFO 9, WARN 13, ERROR 17, FATAL 21.
_ALERT = {"low": (9, "INFO"), "medium": (13, "WARN"), "high": (17, "ERROR"), "critical": (21, "FATAL")}
_ENTRY = {"success": (9, "INFO"), "failure": (13, "WARN"), "denied": (13, "WARN")}
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


def export_request(target: Target, records: Sequence[msgspec.Raw]) -> bytes:
    """One request of these records."""
    resource = {"service.name": "sealstream"} | ({"sealstream.log": target.log} if target.log else {})
    return msgspec.json.encode(
        {
            "resourceLogs": [
                {
                    "resource": {"attributes": _attributes(resource)},
                    "scopeLogs": [{"scope": {"name": "sealstream.forward"}, "logRecords": list(records)}],
                }
            ]
        }
    )


def log_record(target: Target, message: Message) -> msgspec.Raw:
    """One `LogRecord`."""
    text = told(target, message).decode()
    attributes: dict[str, Any] = {"sealstream.id": message.id, "sealstream.chain": message.chain}
    if message.alert is not None:
        alert = message.alert
        number, word = _ALERT[alert.severity]
        body = alert.summary
        attributes |= {
            "sealstream.detector": alert.detector,
            "sealstream.subject": alert.subject,
            "sealstream.confidence": float(alert.confidence),
            "sealstream.query": alert.query,
            "sealstream.alert": text,
        }
        if link := link_of(target, message):
            attributes["url.full"] = link
    else:
        entry = message.entry
        assert entry is not None
        number, word = _ENTRY.get(entry.result, (9, "INFO"))
        body = text
        attributes |= {
            "sealstream.seq": entry.written.seq,
            "sealstream.kind": entry.written.kind,
            "sealstream.actor_id": entry.actor_id,
            "sealstream.action": entry.action,
            "sealstream.resource_type": entry.resource_type,
            "sealstream.resource_id": entry.resource_id,
            "sealstream.result": entry.result,
        }
        if entry.ip_address is not None:
            attributes["client.address"] = entry.ip_address
    record: dict[str, Any] = {
        "timeUnixNano": _nanoseconds(message.at),
        "observedTimeUnixNano": str(message.came_ms * 1_000_000),
        "severityNumber": number,
        "severityText": word,
        "eventName": f"sealstream.{message.what}",
        "body": {"stringValue": body},
        "attributes": _attributes(attributes),
    }
    trace = msgspec.json.decode(message.value, type=_Traced).trace_id if message.entry is not None else None
    if trace is not None and _TRACE_ID.fullmatch(trace) and trace.strip("0"):
        record["traceId"] = trace
    return msgspec.Raw(msgspec.json.encode(record))


class _Traced(msgspec.Struct):
    trace_id: str | None = None


def _nanoseconds(at: str) -> str:
    moment = datetime.fromisoformat(at)
    return str(int(moment.replace(microsecond=0).timestamp()) * 1_000_000_000 + moment.microsecond * 1_000)


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value}
