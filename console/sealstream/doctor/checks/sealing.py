"""Whether the chain holds, is signed, and says so of itself: verified anew of late, as `sealstream verify` does it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sealstream.checkpointing import load_signer
from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.health.judging import said_age
from sealstream.layout import ChainSettings
from sealstream.verify import (
    ChainIdentity,
    Report,
    Verification,
    kept_notes,
    verify_archive,
    verify_kafka,
    verify_postgres,
)

__all__ = ["CHECKS"]

_RECENT = timedelta(hours=1)
_UNSIGNED_S = 120.0
_SILENT_S = 180.0
_OPERATING = "docs/operating.md"
_RUNBOOKS = "docs/runbooks/README.md"
_LOST_KEY = "docs/runbooks/lost-signing-key.md"


def _verified(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        stores: dict[str, Callable[[Verification], Report]] = {
            "kafka": lambda asked, chain=chain: verify_kafka(  # type: ignore[misc]
                asking.system.kafka, asked, prefix=chain.prefix, online_days=chain.retention.online_days
            )
        }
        if "reader" in asking.system.dsns:
            stores["postgres"] = lambda asked: verify_postgres(asking.dsn("reader"), asked)
        if asking.system.archive is not None:
            stores["archive"] = lambda asked: verify_archive(asking.archive(), asked)
        for store, verify in stores.items():
            found.append((f"chain {chain.name}, {store}", _verdict(asking, chain, store, verify)))
    return folded(found)


def _verdict(asking: Asking, chain: ChainSettings, store: str, verify: Callable[[Verification], Report]) -> Outcome:
    now = asking.system.clock()
    notes = kept_notes(asking.system.state_dir, chain.origin, chain.vkey, store)
    identity = ChainIdentity(chain.name, chain.origin, chain.vkey)
    asked = Verification(identity, now, since=now - _RECENT, notes=notes)
    report = asking.once(f"verified {store} {chain.name}", lambda: verify(asked))
    if store == "archive" and not report.entries:
        return unknown("nothing is archived yet", to_do="ask again when the first segment has ended")
    said = (
        f"{report.verdict}: {report.entries:,} entries from seq {report.first_seq:,} on were recomputed, signed size "
        f"{report.size:,}, root {report.root.hex()[:16] or '-'}"
    )
    if report.exit_code:
        faults = [f"{fault.kind} {fault.seqs()}: {fault.place}".replace("  ", " ") for fault in report.faults[:5]]
        to_do = f"`sealstream verify {store} --chain {chain.name}` names every fault: {_RUNBOOKS}"
        return failed(said, *faults, to_do=to_do)
    return passed(said)


def _signed(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _signed_of(asking, chain)) for chain in asking.system.chains)


def _signed_of(asking: Asking, chain: ChainSettings) -> Outcome:
    sealed, signed, now = asking.sealed(chain), asking.signed(chain), asking.system.clock().timestamp()
    if not sealed.size:
        return unknown("nothing was ever sealed", to_do=f"start the sequencer: {_OPERATING}")
    to_do = f"start checkpointing: {_OPERATING}"
    if signed.at is None:
        return failed(f"none of {sealed.size:,} entries is signed", to_do=to_do)
    age = said_age(now - signed.at)
    said = f"the newest checkpoint, by the chain's key, is over {signed.size:,} of {sealed.size:,} entries, {age} old"
    if now - signed.at > _UNSIGNED_S and (signed.size < sealed.size or now - signed.at > _UNSIGNED_S + _SILENT_S):
        return failed(said, to_do=to_do)
    return passed(said)


def _key(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        path = asking.system.key_files.get(chain.name)
        if path is None or not path.exists():
            to_do = "run the doctor where checkpointing runs, too"
            found.append((f"chain {chain.name}", unknown("its signing key is not on this machine", to_do=to_do)))
            continue
        try:
            vkey = load_signer(path, chain.origin).vkey
        except Misconfigured as error:
            to_do = f"chmod 600 {path}, owned by checkpointing's user; if others had it: {_LOST_KEY}"
            found.append((f"chain {chain.name}", failed(str(error), to_do=to_do)))
            continue
        if vkey != chain.vkey:
            to_do = "put the right key file back: signing with another key would be a fork"
            found.append((f"chain {chain.name}", failed(f"{path} is not the key of the chain's vkey", to_do=to_do)))
        else:
            since = _since(asking, chain)
            found.append((f"chain {chain.name}", passed(f"{path}: mode 0600, and it fits the chain's vkey{since}")))
    return folded(found)


def _since(asking: Asking, chain: ChainSettings) -> str:
    """A chain keeps its key for life: it is sealed in entry 0, and a chain with another is another chain."""
    try:
        return f"; in use since {asking.entry_0(chain).written.sequenced_at[:10]}, when the chain began"
    except SealstreamError:
        return ""


def _alive(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _alive_of(asking, chain)) for chain in asking.system.chains)


def _alive_of(asking: Asking, chain: ChainSettings) -> Outcome:
    sealed, now = asking.sealed(chain), asking.system.clock().timestamp()
    to_do = f"start the sequencer: {_OPERATING}"
    if sealed.sequenced_at is None:
        return failed("nothing was ever sealed", to_do=to_do)
    said = f"the newest of {sealed.size:,} entries is {said_age(now - sealed.sequenced_at)} old"
    if now - sealed.sequenced_at > _SILENT_S:
        return failed(f"{said}: a heartbeat comes each minute while the sequencer runs", to_do=to_do)
    if sealed.waiting_since is not None and now - sealed.waiting_since > _SILENT_S:
        waits = said_age(now - sealed.waiting_since)
        return failed(f"{said}, and {sealed.waiting:,} events wait, the oldest for {waits}", to_do=to_do)
    return passed(said)


CHECKS = (
    Check(
        "chain.verified",
        "every store verifies: hashes, links, roots, signatures, the account of the input",
        "the last hour is recomputed, from the segment that holds its beginning on, and held against this verifier's "
        "kept checkpoints; `sealstream verify all` recomputes all of it",
        _verified,
    ),
    Check(
        "chain.signed",
        "a signed checkpoint covers the chain, no older than two minutes behind it",
        "the newest note in Kafka, its signature checked with the chain's public key",
        _signed,
    ),
    Check(
        "chain.key",
        "the signing key is readable by its owner alone, and is the chain's",
        "the key file's mode and its public half",
        _key,
    ),
    Check(
        "chain.alive",
        "the chain goes on: an entry or a heartbeat within three minutes, and no event waits",
        "the newest entry in Kafka, and the end of the raw topic",
        _alive,
    ),
)
