"""Splunk's HTTP Event Collector: one JSON object for each message, one after another in a request. Pure.

`event` is the alert or the sealed entry as Kafka has it, or mapped; `fields` are indexed, so that a search finds
repeats by `sealstream_id` and need not parse. https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from sealstream.forward.formats.mapped import told
from sealstream.forward.messages import Message, link_of, readable
from sealstream.forward.targets import Target

__all__ = ["hec_event"]


def hec_event(target: Target, message: Message) -> bytes:
    """One event. `time`: when it happened, in seconds with microseconds, as Splunk reads it."""
    fields: dict[str, str] = {"sealstream_id": message.id, "sealstream_chain": message.chain}
    kind = f"sealstream:{message.what}"
    sent: dict[str, Any] = {
        "time": f"{datetime.fromisoformat(message.at).timestamp():.6f}",
        "source": f"sealstream:{target.log}/{message.chain}" if target.log else f"sealstream:{message.chain}",
        "sourcetype": kind if target.format == "sealstream" else f"{kind}:{target.format}",
        "event": readable(told(target, message)),
        "fields": fields,
    }
    if target.splunk_index:
        sent["index"] = target.splunk_index
    if message.alert is not None:
        fields["severity"] = message.alert.severity
        fields["detector"] = message.alert.detector
        if link := link_of(target, message):
            fields["link"] = link
    elif message.entry is not None:
        fields["sealstream_seq"] = str(message.entry.written.seq)
    return msgspec.json.encode(sent)
