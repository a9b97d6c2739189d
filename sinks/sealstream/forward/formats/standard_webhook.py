"""Standard Webhooks 1.0: a JSON payload, and a signature over id, time of the attempt and payload.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. The id is the same in each
attempt, the time is the attempt's own: a receiver refuses what is older than some minutes, and passes over an id that
it has had. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec

from sealstream.errors import Misconfigured
from sealstream.forward.formats.mapped import told
from sealstream.forward.messages import Message, link_of, readable
from sealstream.forward.targets import Target

__all__ = ["TYPES", "signed_headers", "signing_keys", "webhook_payload"]

TYPES = {"alert": "alert.raised", "entry": "entry.sealed", "closing": "alert.closed"}
_PREFIX = "whsec_"
_KEY_BYTES = (24, 64)  # spec, "Signature scheme"


def signing_keys(secret: str) -> list[bytes]:
    """The keys in a target's secret: `whsec_` and base64, several with spaces between, while one replaces another.

    Raises `Misconfigured`, without a word of the secret.
    """
    keys = []
    for each in secret.split():
        try:
            key = base64.b64decode(each.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Misconfigured(f"expected {_PREFIX} and the key in base64") from error
        if not (each.startswith(_PREFIX) and _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]):
            least, most = _KEY_BYTES
            raise Misconfigured(
                f"expected {_PREFIX} and a key of {least} to {most} bytes in base64, got {len(key)} bytes"
            )
        keys.append(key)
    if not keys:
        raise Misconfigured(f"expected {_PREFIX} and the key in base64, got nothing")
    return keys


def webhook_payload(target: Target, message: Message) -> bytes:
    """`{type, timestamp, data, link}`; `data` is the alert or the sealed entry, byte for byte as Kafka has it.

    In other people's schemas it is the document alone: its receivers know no envelope of ours.
    """
    if target.format != "sealstream":
        return told(target, message)
    members: dict[str, Any] = {
        "type": TYPES[message.what],
        "timestamp": message.at,
        "data": readable(message.value),
    }
    if link := link_of(target, message):
        members["link"] = link
    return msgspec.json.encode(members)


def signed_headers(
    identity: str, payload: bytes, keys: Sequence[bytes], now_s: int, media_type: str = "application/json"
) -> dict[str, str]:
    """The headers of one attempt: one signature for each key."""
    signed = f"{identity}.{now_s}.".encode() + payload
    signatures = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    return {
        "Content-Type": media_type,
        "webhook-id": identity,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
