"""A producer's own signature on an event: what is signed, where it stands in the canonical bytes, how it is made.

The signature stands in the event's member `signature`, {`key`, `value`}. It covers, after a line that no other
signature of this log begins with and a line that names the key, the canonical event without that member, and without
`source.authenticated_as`, which a collector writes. A key's name ends in its chain's origin, so a signature counts in
one chain and in no other; the event's id, time and number are in the bytes, so it counts for one event.

The invariant: putting a signature in and taking it out are inverse, byte for byte. Pure; `cryptography` is imported
where it is used, since a thin install lacks it.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

import msgspec

from sealstream.errors import NotCanonical
from sealstream.sealing.canonical import canonical_json, parse_json
from sealstream.sealing.notes import BadNote, Signer, Verifier, from_base64

__all__ = [
    "PRODUCER_NAME",
    "EventSigner",
    "Signature",
    "key_label",
    "producer_key_name",
    "signed_message",
    "split_signature",
    "verifies",
]

PRODUCER_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,62}")
"""The part of a producer key's name before `@<origin>`."""

_PREFIX = b"sealstream event signature v1\n"
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_BEGINS = b',"signature":{"key":"'
_member = re.compile(rb',"signature":\{"key":(%b),"value":(%b)\}' % (_TEXT, _TEXT)).match
_SOURCE = b',"source":{'
# What may stand behind `source` in a canonical event. Only the event's own `source` has all of it up to the end.
_from_source = re.compile(
    rb',"source":\{(?:"[a-z_]+":%b,?)*\}(?:,"subject_id":%b)?(?:,"tenant":%b)?,"timestamp":%b(?:,"trace_id":%b)?'
    rb'(?:,"user_agent":%b)?\}' % ((_TEXT,) * 6)
).fullmatch
_STAMPED = b'"authenticated_as":'


class Signature(NamedTuple):
    """An event's signature: the key's label and what stands for its value, both as they came, and the event without."""

    key: str
    value: str
    unsigned: bytes


def producer_key_name(name: str, origin: str) -> str:
    """The name of a producer's key for the chain with this origin: `<name>@<origin>`. Raises `BadNote`."""
    if not PRODUCER_NAME.fullmatch(name):
        raise BadNote(f"a producer key's name {name[:80]!r}: expected 1 to 63 of a-z, 0-9 and . _ -")
    return f"{name}@{origin}"


def key_label(verifier: Verifier) -> str:
    """How an event names a key: the part of its name before the origin, `+`, and its key id in hex."""
    return f"{verifier.name.partition('@')[0]}+{verifier.key_id.hex()}"


def signed_message(verifier: Verifier, unsigned: bytes) -> bytes:
    """What a producer's key signs for an event (canonical, without `signature`). Raises `NotCanonical`."""
    if _STAMPED in unsigned:
        unsigned = _without_stamp(unsigned)
    return b"%b%b+%b\n%b" % (_PREFIX, verifier.name.encode(), verifier.key_id.hex().encode(), unsigned)


def split_signature(canonical: bytes) -> Signature | None:
    """The signature of a canonical event, and the event without it; None: it has none.

    Behind an event's own `signature` only texts and `source` follow, so the last place that looks like it is it.
    """
    at = canonical.rfind(_BEGINS)
    found = _member(canonical, at) if at > 0 else None
    if found is None:
        return None
    tail = canonical[found.end() :]
    if not _ends_event(tail):
        return None  # a member of `metadata` that looks like one
    key, value = (msgspec.json.decode(each) for each in found.groups())
    return Signature(key, value, canonical[:at] + tail)


class EventSigner:
    """Signs events with a producer's key. Its text never appears in `repr`."""

    def __init__(self, signer: Signer) -> None:
        name, at, origin = signer.name.partition("@")
        if not at or not PRODUCER_NAME.fullmatch(name):
            raise BadNote(f"the key of {signer.name[:120]}: expected a producer's, <name>@<origin of the chain>")
        self.origin = origin
        self.label = key_label(signer.verifier)
        self._signer = signer
        self._member = b',"signature":{"key":"%b","value":"' % self.label.encode()

    @property
    def vkey(self) -> str:
        """The public key, as C2SP text."""
        return self._signer.vkey

    @property
    def added_bytes(self) -> int:
        """How much longer an event is with the signature."""
        return len(self._member) + 88 + len('"}')

    def signed(self, canonical: bytes) -> bytes:
        """The canonical event (which has no signature) with this key's. Some 45 us. Raises `NotCanonical`."""
        signature = self._signer.signature(signed_message(self._signer.verifier, canonical))
        member = b'%b%b"}' % (self._member, base64.b64encode(signature))
        at = canonical.rfind(_SOURCE)
        if at > 0 and _from_source(canonical, at):
            return canonical[:at] + member + canonical[at:]
        event = parse_json(canonical)
        if not isinstance(event, dict) or "signature" in event:
            raise NotCanonical("an event to sign: expected an object without a member signature")
        return canonical_json(
            {**event, "signature": {"key": self.label, "value": base64.b64encode(signature).decode()}}
        )

    def __repr__(self) -> str:
        return f"EventSigner({self.vkey!r})"


def verifies(verifier: Verifier, signature: Signature) -> bool:
    """Whether the signature is this key's on this event. Some 120 us."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = from_base64(signature.value)
    if raw is None or len(raw) != 64:
        return False
    try:
        message = signed_message(verifier, signature.unsigned)
        Ed25519PublicKey.from_public_bytes(verifier.public_key).verify(raw, message)
    except (InvalidSignature, NotCanonical, ValueError):
        return False
    return True


def _ends_event(tail: bytes) -> bool:
    """Whether these bytes are the end of an event behind `signature`."""
    return _from_source(tail, 0) is not None or _from_source(b',"source":{}' + tail) is not None


def _without_stamp(unsigned: bytes) -> bytes:
    """The event without `source.authenticated_as`, and without a `source` that held nothing else."""
    event = parse_json(unsigned)
    source = event.get("source") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(source, dict) or "authenticated_as" not in source:
        return unsigned
    rest = {name: value for name, value in source.items() if name != "authenticated_as"}
    event = {name: value for name, value in event.items() if name != "source"}
    return canonical_json(event | {"source": rest} if rest else event)
