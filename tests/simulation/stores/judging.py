"""What the stores must hold when a history has come to rest, beyond the entries themselves (which the judge compares).

Postgres: the position behind the last row, every segment's note, the newest checkpoint. The archive: one version of
each object and manifest, as long under lock as the chain promises, manifests that describe their objects and name the
one before, one sealed `segment.archived` for each, equal to it; and nothing trimmed from Kafka that the archive lacks.
Like the judge it recomputes with `hashlib` and `json` alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from tests.simulation.stores.postgres_model import State
from tests.simulation.stores.s3_model import StoredVersion

__all__ = ["Found", "Trimmed", "check_archive", "check_postgres", "check_trimmed"]

_SEAL_BYTES = 154


class Found(NamedTuple):
    """`missing`: what may still come; `wrong`: what never mends."""

    missing: list[str]
    wrong: list[str]


class Trimmed(NamedTuple):
    """Where each topic of a chain begins now."""

    raw: int
    control: int
    first_seq: int


def check_postgres(state: State, chain: str, segments: Mapping[int, set[bytes]], newest: int) -> Found:
    """`segments`: by size, the notes that were committed as a segment's; `newest`: the largest signed size."""
    missing, wrong = [], []
    rows = state.rows.get(chain, {})
    position = state.positions.get(chain, (0, 0))[0]
    if position != len(rows):
        wrong.append(f"Postgres: the position is {position}, but {len(rows)} rows are stored")
    notes = state.notes.get(chain, {})
    stored = {size: note.note for (size, ends), note in notes.items() if ends}
    for size, signed in segments.items():
        if size not in stored:
            missing.append(f"Postgres: the note of the segment that ends at size {size} is not stored")
        elif stored[size] not in signed:
            wrong.append(f"Postgres: the stored note of size {size} is none that was signed")
    largest = max((size for size, ends in notes if not ends), default=0)
    if largest != newest:
        missing.append(f"Postgres: the newest checkpoint has size {largest}, {newest} is signed")
    return Found(missing, wrong)


def check_archive(
    objects: Mapping[str, Sequence[StoredVersion]],
    sealed: Sequence[bytes],
    segments: Mapping[int, set[bytes]],
    archive_days: int,
) -> Found:
    """`sealed`: the chain's records; `segments`: by size, the notes that were committed as a segment's."""
    missing: list[str] = []
    wrong: list[str] = []
    said = _statements(sealed)
    previous: str | None = None
    first_seq = 0
    for size in sorted(segments):
        name = f"segment {first_seq}-{size - 1}"
        found = [_oldest(objects, kind, first_seq, size - 1, wrong) for kind in ("entries", "manifests")]
        first_seq = size
        if found[0] is None or found[1] is None:
            missing.append(f"archive: {name} has no {'object' if found[0] is None else 'manifest'}")
            continue
        (key, version), (manifest_key, manifest_version) = found
        manifest = json.loads(manifest_version.body or b"")
        digest = sha256(manifest_version.body or b"").hexdigest()
        facts = {
            "object": key,
            "object_version": version.version_id,
            "object_sha256": sha256(version.body or b"").hexdigest(),
        }
        for member, wanted in facts.items():
            if manifest[member] != wanted:
                wrong.append(f"archive: the manifest of {name} says {member} {manifest[member]}: it is {wanted}")
        if manifest.get("previous_manifest_sha256") != previous:
            wrong.append(f"archive: the manifest of {name} names another manifest before it")
        if manifest["checkpoint"].encode() not in segments[size]:
            wrong.append(f"archive: the manifest of {name} holds a note that was not signed for it")
        previous = digest
        last = json.loads(sealed[size - 1][:-_SEAL_BYTES] + b"}")["written"]["sequenced_at"]
        promised = datetime.fromisoformat(last) + timedelta(days=archive_days)
        for held in (version, manifest_version):
            if held.mode != "COMPLIANCE" or held.until is None or held.until < promised:
                wrong.append(f"archive: {name} is locked {held.mode} until {held.until}: expected {promised}")
        facts |= {
            "manifest": manifest_key,
            "manifest_version": manifest_version.version_id,
            "manifest_sha256": digest,
            "retain_until": manifest["retain_until"],
        }
        if key not in said:
            missing.append(f"archive: {name} is archived, but the chain does not say so")
        elif said[key] != [facts]:
            wrong.append(f"archive: {name} should be sealed once as {facts}, the chain says {said[key]}")
    return Found(missing, wrong)


def check_trimmed(trimmed: Trimmed, sealed: Sequence[bytes], archived: Iterable[bytes]) -> list[str]:
    """Nothing is gone from a topic that is not in the archive. `archived`: bodies, in order."""
    last: dict[str, Any] = {"seq": -1, "raw_offset": -1, "control_offset": -1}
    for body in archived:
        last = json.loads(body)["written"]
    faults = []
    for name, begins, kept in (
        ("raw", trimmed.raw, last["raw_offset"] + 1),
        ("control", trimmed.control, last["control_offset"] + 1),
        ("chain", trimmed.first_seq, last["seq"] + 1),
    ):
        if begins > kept:
            faults.append(f"{name} begins at {begins}, but the archive accounts only for what is below {kept}")
    return faults


def _statements(sealed: Sequence[bytes]) -> dict[str, list[dict[str, Any]]]:
    """What the chain says of each object, in order."""
    said: dict[str, list[dict[str, Any]]] = {}
    for value in sealed:
        if b'"action":"segment.archived"' in value:
            fields = json.loads(value)
            if fields["written"]["kind"] == "control":
                said.setdefault(fields["metadata"]["object"], []).append(fields["metadata"])
    return said


def _oldest(
    objects: Mapping[str, Sequence[StoredVersion]], kind: str, first: int, last: int, faults: list[str]
) -> tuple[str, StoredVersion] | None:
    name = f"/{first:020}-{last:020}."
    keys = [key for key in objects if key.startswith(kind) and name in key]
    if len(keys) > 1:
        faults.append(f"archive: {kind} {first}-{last} stands under several keys: {keys}")
    for key in keys:
        versions = [each for each in objects[key] if each.body is not None]
        hidden = len(versions) < len(objects[key])  # a put over somebody's delete marker succeeds; the oldest counts
        if len(versions) > 1 and not hidden:
            faults.append(f"archive: {key} has {len(versions)} versions")
        if versions:
            return key, versions[0]
    return None
