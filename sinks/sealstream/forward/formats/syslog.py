"""RFC 5424 messages with the alert or the sealed entry as JSON, framed by octet counting (RFC 5425 section 4.3). Pure.

The JSON is written in ASCII, so the text needs no byte order mark (RFC 5424 section 6.4), on which receivers' JSON
parsers stumble; it is the same JSON, and canonicalised it is the same bytes.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from sealstream.forward.formats.mapped import told
from sealstream.forward.messages import Message
from sealstream.forward.targets import Target

__all__ = ["framed", "syslog_message"]

_LOG_AUDIT = 13  # RFC 5424 section 6.2.1: the facility
_ALERT = {"low": 5, "medium": 4, "high": 3, "critical": 2}  # notice, warning, error, critical
_ENTRY = {"success": 6, "failure": 5, "denied": 5}  # informational, notice
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]+")


def syslog_message(target: Target, message: Message, host: str) -> bytes:
    """PRI, version, time, `host`, `sealstream`, the chain, what it is, where it comes from, and the JSON."""
    if message.alert is not None:
        severity = _ALERT[message.alert.severity]
    else:
        assert message.entry is not None
        severity = _ENTRY.get(message.entry.result, 6)
    at = datetime.fromisoformat(message.at).astimezone(UTC)
    timestamp = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    text = json.dumps(json.loads(told(target, message)), ensure_ascii=True, separators=(",", ":"))
    header = (
        f"<{_LOG_AUDIT * 8 + severity}>1 {timestamp} {_word(host, 255)} sealstream {_word(message.chain, 128)} "
        f'{message.what} [origin software="sealstream"]'
    )
    return f"{header} {text}".encode("ascii")


def framed(message: bytes) -> bytes:
    """`MSG-LEN SP SYSLOG-MSG`."""
    return b"%d %b" % (len(message), message)


def _word(text: str, most: int) -> str:
    """Printable ASCII without spaces, or the nil value."""
    return _NOT_PRINTABLE.sub("", text)[:most] or "-"
