"""A reader lists a bucket into which a sink is writing: what it puts meanwhile is seen whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sealstream.archive import ArchiveSettings, ArchiveStore, Bucket, Stored
from sealstream.layout.archive import SegmentName


def test_a_segment_that_is_archived_while_the_bucket_is_listed_does_not_look_broken(
    bucket: ArchiveSettings, monkeypatch: pytest.MonkeyPatch
):
    names = [SegmentName("main", "2026-11-24", first, first + 9) for first in (0, 10)]
    until = datetime.now(UTC) + timedelta(days=1)
    writer = Bucket(bucket)

    def archive(name: SegmentName) -> None:
        assert writer.put_once(name.object_key, b"object", until)
        assert writer.put_once(name.manifest_key, b"manifest", until)

    archive(names[0])
    real = Bucket.list_stored

    def list_stored(self: Bucket, prefix: str, after: str = "") -> Iterator[Stored]:
        listed = list(real(self, prefix, after))
        if prefix.startswith("entries/chain=main/") and prefix.endswith("/"):
            archive(names[1])  # the sink is quicker than the next question
        yield from listed

    monkeypatch.setattr(Bucket, "list_stored", list_stored)
    store = ArchiveStore(bucket, "main")
    try:
        found = list(store.segments())
    finally:
        store.close()
        writer.close()
    assert [segment.name for segment in found] == names
    assert all(len(segment.object.versions) == len(segment.manifest.versions) == 1 for segment in found)
