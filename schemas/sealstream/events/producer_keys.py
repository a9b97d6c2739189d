"""Which keys producers may sign with, at each place of a chain, and whether an event is signed as it should be.

A `KeyRing` is fed with the control statements of one chain in order (`producer_key.registered`, `.revoked`) and asked
of each event behind them. Place decides, and no clock: a key counts behind the entry that registers it and until the
entry that revokes it; only an `expires_at` is held against the entry's own `sequenced_at`. So the sequencer, which
seals what is refused (`signature.refused`), and every verifier that reads the same entries come to the same judgement.

The rules for what a statement may change: a key revoked never counts again; a label once taken is never another key's;
a registration for another chain, a malformed one, and those beyond `MAX_KEYS` count for nothing. A revoked key's demand
for signatures outlives it, unless the revocation lifts it: else whoever stole the key could go on without.

Pure; nothing to lose in a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from sealstream.errors import NotCanonical
from sealstream.events.canonical_events import ValidEvent
from sealstream.sealing import PRODUCER_NAME, BadNote, Verifier, key_label, parse_vkey, split_signature, verifies

__all__ = ["KEY_STATEMENTS", "MAX_KEYS", "KeyRing", "ProducerKey", "RefusedSignature"]

KEY_STATEMENTS = frozenset(("producer_key.registered", "producer_key.revoked"))
MAX_KEYS = 1_000
"""Of one chain, the revoked ones counted: what is remembered of them stays bounded."""


class ProducerKey(NamedTuple):
    """A key as its statements left it. `service`, `tenant`: whose events it may sign (None: any). `demands`: events of
    this scope must be signed by such a key. `expires_at`: a time; None: never. `registered`, `revoked`: these entries
    say so; `doubted_from`: nothing that it signed from this entry on is to be believed.
    """

    vkey: str
    service: str | None
    tenant: str | None
    demands: bool
    expires_at: str | None
    registered: int
    revoked: int | None = None
    doubted_from: int | None = None

    @property
    def verifier(self) -> Verifier:
        """The key itself."""
        return parse_vkey(self.vkey)

    @property
    def label(self) -> str:
        """How events name it."""
        return key_label(self.verifier)


class RefusedSignature(NamedTuple):
    """Why an event is not signed as it should be (`WHY_REFUSED`), and the key that it names, if it names one."""

    why: str
    key: str | None = None


class _Source(msgspec.Struct):
    service: str | None = None


class _Scope(msgspec.Struct):
    tenant: str | None = None
    source: _Source | None = None


_decode_scope = msgspec.json.Decoder(_Scope).decode


class KeyRing:
    """The keys of the chain with this origin, as of the statements said so far."""

    def __init__(self, origin: str, keys: Iterable[ProducerKey] = ()) -> None:
        self._origin = origin
        self._keys: dict[str, ProducerKey] = {}
        self._verifiers: dict[str, Verifier] = {}
        self._demands: tuple[tuple[str | None, str | None], ...] = ()
        self._changed: dict[str, None] = {}
        for key in keys:
            self._put(key.label, key)
        self._changed.clear()

    def __len__(self) -> int:
        return len(self._keys)

    def listed(self) -> list[ProducerKey]:
        """All that were ever registered, in the order of their places."""
        return sorted(self._keys.values(), key=lambda key: key.registered)

    def key(self, label: str) -> ProducerKey | None:
        """The key with this label."""
        return self._keys.get(label)

    @property
    def demands(self) -> bool:
        """Whether any event must be signed."""
        return bool(self._demands)

    def changed(self) -> dict[str, ProducerKey | None]:
        """Keys that changed since the last call, by label; None: there is none with this label."""
        changed = {label: self._keys.get(label) for label in self._changed}
        self._changed.clear()
        return changed

    def write_again(self, labels: Iterable[str]) -> None:
        """Whatever is on record of these is not to be trusted: they count as changed."""
        self._changed.update(dict.fromkeys(labels))

    def copy(self) -> KeyRing:
        """A ring of its own with the same keys."""
        other = KeyRing(self._origin)
        other._keys, other._verifiers, other._demands = dict(self._keys), dict(self._verifiers), self._demands
        return other

    def say(self, action: str, metadata: Mapping[str, Any], seq: int) -> None:
        """Entry `seq`, of kind `control`, says this; `metadata` fits its schema. What is of no key changes nothing."""
        if action == "producer_key.registered":
            self._registered(metadata, seq)
        elif action == "producer_key.revoked":
            self._revoked(metadata, seq)

    def _registered(self, metadata: Mapping[str, Any], seq: int) -> None:
        try:
            verifier = parse_vkey(metadata["vkey"])
        except BadNote:
            return
        name, _, origin = verifier.name.partition("@")
        if origin != self._origin or not PRODUCER_NAME.fullmatch(name):
            return
        label = key_label(verifier)
        known = self._keys.get(label)
        if known is None:
            if len(self._keys) >= MAX_KEYS:
                return
        elif known.vkey != metadata["vkey"] or known.revoked is not None:
            return
        key = ProducerKey(
            metadata["vkey"],
            metadata.get("service"),
            metadata.get("tenant"),
            metadata["signing"] == "required",
            metadata.get("expires_at"),
            known.registered if known is not None else seq,
        )
        self._put(label, key)

    def _revoked(self, metadata: Mapping[str, Any], seq: int) -> None:
        label = str(metadata["key"])
        known = self._keys.get(label)
        if known is None:
            return
        doubted = [each for each in (known.doubted_from, metadata.get("from_seq")) if each is not None]
        key = known._replace(
            demands=known.demands and metadata.get("signing") != "optional",
            revoked=seq if known.revoked is None else known.revoked,
            doubted_from=min(doubted, default=None),
        )
        if key != known:
            self._put(label, key)

    def _put(self, label: str, key: ProducerKey) -> None:
        self._keys[label] = key
        self._changed[label] = None
        self._verifiers[label] = key.verifier
        self._demands = tuple({(each.service, each.tenant) for each in self._keys.values() if each.demands})

    def judge(self, event: ValidEvent, sequenced_at: str) -> RefusedSignature | None:
        """None: signed by a key that counts for it here, or not signed and need not be."""
        label = event.signature_key
        if label is None:
            missing = bool(self._demands) and self._must_sign(event.canonical)
            return RefusedSignature("missing") if missing else None
        key = self._keys.get(label)
        if key is None:
            return RefusedSignature("unknown", label)
        if key.revoked is not None:
            return RefusedSignature("revoked", label)
        if key.expires_at is not None and key.expires_at <= sequenced_at:
            return RefusedSignature("expired", label)
        if (key.service is not None or key.tenant is not None) and not _within(key, *_scope_of(event.canonical)):
            return RefusedSignature("scope", label)
        signature = split_signature(event.canonical)
        if signature is None or not verifies(self._verifiers[label], signature):
            return RefusedSignature("false", label)
        return None

    def _must_sign(self, canonical: bytes) -> bool:
        said_service, said_tenant = _scope_of(canonical)
        return any(
            (service is None or service == said_service) and (tenant is None or tenant == said_tenant)
            for service, tenant in self._demands
        )


def _scope_of(canonical: bytes) -> tuple[str | None, str | None]:
    """Service and tenant, as the event says."""
    try:
        said = _decode_scope(canonical)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotCanonical(f"no event: {error}") from error
    return said.source.service if said.source is not None else None, said.tenant


def _within(key: ProducerKey, service: str | None, tenant: str | None) -> bool:
    return (key.service is None or key.service == service) and (key.tenant is None or key.tenant == tenant)
