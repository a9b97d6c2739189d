"""PagerDuty's Events API v2. The alert's id is the `dedup_key`: sent again it is the same incident, closed it ends it.

https://developer.pagerduty.com/docs/send-alert-event. Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sealstream.forward.formats.wording import clipped
from sealstream.forward.messages import Message, link_of
from sealstream.forward.targets import Target

__all__ = ["ENQUEUE_URL", "pagerduty_event"]

ENQUEUE_URL = "https://events.pagerduty.com/v2/enqueue"
_SEVERITIES = {"low": "info", "medium": "warning", "high": "error", "critical": "critical"}
_SUMMARY_CHARACTERS = 1_024
_MOST_RANGES = 200


def pagerduty_event(target: Target, message: Message) -> bytes:
    """An event that triggers, or of a closing one that resolves."""
    if message.what == "closing":
        return msgspec.json.encode(resolving(target, message.closed_alert))
    alert = message.alert
    assert alert is not None
    details = msgspec.json.decode(message.value)
    details["seqs"] = details.get("seqs", [])[:_MOST_RANGES]  # an event may have 512 KB; the query finds them all
    payload: dict[str, Any] = {
        "summary": clipped(alert.summary or alert.detector, _SUMMARY_CHARACTERS),
        "source": alert.subject or alert.subject_kind,
        "severity": _SEVERITIES[alert.severity],
        "timestamp": message.at,
        "component": alert.chain,
        "group": alert.incident,
        "class": alert.detector,
        "custom_details": details,
    }
    event: dict[str, Any] = {
        "routing_key": target.secret,
        "event_action": "trigger",
        "dedup_key": alert.id,
        "payload": payload,
        "client": "Sealstream",
    }
    if link := link_of(target, message):
        event["links"] = [{"href": link, "text": "the alert"}]
    return msgspec.json.encode(event)


def resolving(target: Target, alert: str) -> dict[str, str]:
    """The event that ends an alert's incident."""
    return {"routing_key": target.secret, "event_action": "resolve", "dedup_key": alert}
