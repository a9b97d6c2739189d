"""kube-apiserver's audit webhook: an `audit.k8s.io` EventList, or lines of its log file, as events.

What becomes what is the importer's (`sealstream.importers.kubernetes`), ids included: a record that came by the webhook
and is imported from the file as well is known. The invariant: a record too large for an event once it bears the key's
stamp is kept by its size and SHA-256, never refused for it. Pure.
"""

from __future__ import annotations

from typing import Any

from sealstream.collect.judging import Judged, Refusal, accept, fields_of
from sealstream.collect.keys import Key
from sealstream.errors import InvalidEvent
from sealstream.importers import BrokenFile, Composer, Event, LeftOut, Record, Unreadable, records_of
from sealstream.importers.kubernetes import KUBERNETES
from sealstream.web.problems import Problem

__all__ = ["judge_audit"]

_GZIP = b"\x1f\x8b"


def judge_audit(key: Key, body: bytes, most: int) -> tuple[Judged, int]:
    """Each record's verdict, and how many were left out: earlier stages of requests that have others.

    Refusals are counted by record, from 1. Raises a `Problem`: 400 or 413 for the body as a whole.
    """
    if body.startswith(_GZIP):  # which a file may be, and the importer unpacks without this request's bounds
        raise Problem(400, "damaged-body", "the body is gzip: expected the header Content-Encoding to say so")
    judged, left_out = Judged([], [], []), 0
    composer = Composer(KUBERNETES)
    try:
        for place, record in enumerate(records_of([body], KUBERNETES), 1):
            if place > most:
                raise Problem(413, "too-many-events", f"the body holds too many records: expected at most {most:,}")
            if isinstance(record, Unreadable):
                judged.refusals.append(Refusal(place, "", record.why))
                continue
            try:
                made = composer.event(record)
                if isinstance(made, LeftOut):
                    left_out += 1
                else:
                    _accept(judged, made, record, key)
            except InvalidEvent as error:
                judged.refusals.append(Refusal(place, error.field, error.reason))
    except BrokenFile as error:
        raise Problem(400, "not-json", f"the body can't be read: {error}") from error
    return judged, left_out


def _accept(judged: Judged, made: Event, record: Record, key: Key) -> None:
    fields = fields_of(made.value)
    try:
        accept(judged, fields, key)
    except InvalidEvent as error:
        metadata: dict[str, Any] = fields["metadata"]
        if error.field or "source" not in metadata:
            raise
        metadata.pop("source")
        metadata["source_bytes"] = len(record.raw)
        accept(judged, fields, key)
