"""The bucket: making it, what it refuses, and what a reader of it sees."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from sealstream.archive import ArchiveSettings, ArchiveStore, Bucket, init_bucket
from sealstream.errors import Forked, Misconfigured, Unavailable
from sealstream.layout import Retention, named_retention
from sealstream.layout.archive import SegmentName

SOC2 = named_retention("soc2")


def soon(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


@pytest.fixture
def bucket(archive_settings):
    init_bucket(archive_settings, SOC2)
    bucket = Bucket(archive_settings)
    yield bucket
    bucket.close()


def default_retention(bucket: Bucket) -> dict:
    found = bucket.client.get_object_lock_configuration(Bucket=bucket.settings.bucket)
    return found["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]


def test_init_makes_a_locked_bucket_and_says_what_is_fixed(archive_settings) -> None:
    text = init_bucket(archive_settings, SOC2)
    assert "created with Object Lock" in text
    assert "can't be changed later" in text
    assert "366 days" in text
    bucket = Bucket(archive_settings)
    bucket.check()
    assert default_retention(bucket) == {"Mode": "COMPLIANCE", "Days": 366}
    again = init_bucket(archive_settings, SOC2)
    assert "was there already" in again
    assert default_retention(bucket) == {"Mode": "COMPLIANCE", "Days": 366}


def test_init_lengthens_the_default_retention_and_never_shortens_it(archive_settings) -> None:
    init_bucket(archive_settings, Retention("own", archive_days=10))
    bucket = Bucket(archive_settings)
    assert "lengthened from 10 to 366" in init_bucket(archive_settings, SOC2)
    assert default_retention(bucket)["Days"] == 366
    init_bucket(archive_settings, Retention("own", archive_days=5))
    assert default_retention(bucket)["Days"] == 366


def test_init_finishes_what_a_crash_left(archive_settings) -> None:
    bucket = Bucket(archive_settings)
    bucket.client.create_bucket(Bucket=archive_settings.bucket, ObjectLockEnabledForBucket=True)
    init_bucket(archive_settings, SOC2)
    assert default_retention(bucket) == {"Mode": "COMPLIANCE", "Days": 366}


def test_a_bucket_without_object_lock_is_refused(archive_settings) -> None:
    bucket = Bucket(archive_settings)
    bucket.client.create_bucket(Bucket=archive_settings.bucket)
    for attempt in (bucket.check, lambda: init_bucket(archive_settings, SOC2)):
        with pytest.raises(Misconfigured, match="has no Object Lock: expected ObjectLockEnabled, got none"):
            attempt()


def test_a_missing_bucket_is_named(archive_settings) -> None:
    with pytest.raises(Misconfigured, match="does not exist; make it with `sealstream archive init`"):
        Bucket(archive_settings).check()


@pytest.mark.parametrize("wrong", [{"access_key": "nobody"}, {"secret_key": "wrong"}])
def test_a_wrong_key_is_named(archive_settings, wrong) -> None:
    init_bucket(archive_settings, SOC2)
    with pytest.raises(Misconfigured, match="check access_key, secret_key"):
        Bucket(archive_settings._replace(**wrong)).check()
    with pytest.raises(Misconfigured):
        init_bucket(archive_settings._replace(**wrong), SOC2)


def test_a_server_that_does_not_answer_is_unavailable(archive_settings) -> None:
    gone = archive_settings._replace(endpoint_url="http://127.0.0.1:9", timeout_s=0.5)
    with pytest.raises(Unavailable, match="no complete answer"):
        Bucket(gone).check()


def test_an_endpoint_that_is_no_url_is_named() -> None:
    with pytest.raises(Misconfigured, match="endpoint_url"):
        Bucket(ArchiveSettings("b", "not a url", access_key="a", secret_key="b"))


def test_an_object_is_put_once_and_locked(bucket) -> None:
    until = soon(2)
    assert bucket.put_once("a", b"first", until)
    assert not bucket.put_once("a", b"second", until)
    stored = bucket.stored("a")
    assert len(stored.versions) == 1
    version = stored.versions[0].version_id
    assert bucket.read("a", version, 100) == b"first"
    lock = bucket.lock("a", version)
    assert lock is not None
    assert lock.holds(until)
    assert not lock.holds(until + timedelta(seconds=1))
    with pytest.raises(Misconfigured, match="not allowed"):
        bucket.lengthen("a", version, soon(1))
    bucket.lengthen("a", version, soon(3))
    assert bucket.lock("a", version).holds(soon(2.9))
    with pytest.raises(Forked, match="expected at most 4"):
        bucket.read("a", version, 4)


def test_two_who_put_at_once_make_one_version(bucket) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda i: bucket.put_once("raced", b"%d" % i * 50_000, soon(2)), range(8)))
    assert outcomes.count(True) == 1
    assert len(bucket.stored("raced").versions) == 1


def test_more_keys_than_a_page_are_listed_in_order(bucket) -> None:
    names = [SegmentName("main", f"2026-11-{1 + seq % 28:02d}", seq, seq) for seq in range(1_020)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bucket.put_once(name.manifest_key, b"x", soon(2)), names))
    in_order = sorted(name.manifest_key for name in names)
    assert [stored.key for stored in bucket.list_stored("manifests/chain=main/")] == in_order
    after = "manifests/chain=main/date=2026-11-15"
    assert [stored.key for stored in bucket.list_stored("manifests/chain=main/", after)] == [
        key for key in in_order if key > after
    ]
    assert bucket.list_folders("manifests/chain=main/") == [f"date=2026-11-{day:02d}" for day in range(1, 29)]


def test_versions_are_listed_the_oldest_first_with_delete_markers(bucket) -> None:
    bucket.put_once("a/b", b"0", soon(2))
    for body in (b"1", b"2"):
        bucket.client.put_object(Bucket=bucket.settings.bucket, Key="a/b", Body=body)
    bucket.client.delete_object(Bucket=bucket.settings.bucket, Key="a/b")
    bucket.put_once("a/bc", b"other", soon(2))
    stored = bucket.stored("a/b")
    assert [bucket.read("a/b", version.version_id, 9) for version in stored.versions] == [b"0", b"1", b"2"]
    assert len(stored.delete_markers) == 1
    assert bucket.list_folders("a/") == []
    assert bucket.list_folders("") == ["a"]
    assert stored.counting() == stored.versions[0]
    assert stored.counting(stored.versions[1].version_id) == stored.versions[1]
    assert stored.counting("no such version") is None
    assert bucket.stored("nothing").versions == ()


def test_a_reader_sees_every_segment_and_what_was_done_to_it(bucket) -> None:
    names = [SegmentName("main", "2026-11-23", 0, 9), SegmentName("main", "2026-11-24", 10, 29),
             SegmentName("main", "2026-11-24", 30, 39), SegmentName("main", "2026-11-25", 40, 40)]  # fmt: skip
    for name in names[:3]:
        bucket.put_once(name.object_key, b"object", soon(2))
    for name in (names[0], names[1], names[3]):
        bucket.put_once(name.manifest_key, b"manifest", soon(2))
    name = bucket.settings.bucket
    bucket.client.delete_object(Bucket=name, Key=names[0].object_key)
    bucket.client.put_object(Bucket=name, Key=names[1].object_key, Body=b"newer")
    bucket.client.put_object(Bucket=name, Key="entries/chain=main/date=2026-11-24/readme.txt", Body=b"?")
    bucket.put_once(SegmentName("other", "2026-11-23", 0, 9).object_key, b"another chain's", soon(2))

    store = ArchiveStore(bucket.settings, "main")
    store.check()
    assert store.versioned
    segments = list(store.segments())
    assert [segment.name for segment in segments] == names
    first, second, third, last = segments
    assert len(first.object.delete_markers) == 1
    counting = first.object.counting()
    assert store.read(first.object.key, counting) == b"object"
    assert store.lock(first.object.key, counting).mode == "COMPLIANCE"
    assert [store.read(second.object.key, version) for version in second.object.versions] == [b"object", b"newer"]
    assert second.object.others(second.object.counting()) == second.object.versions[1:]
    assert third.manifest.versions == ()
    assert last.object.versions == ()
    assert store.foreign == ["entries/chain=main/date=2026-11-24/readme.txt"]
    assert [segment.name for segment in store.segments("2026-11-24")] == names[1:]
    store.close()


def test_a_copy_in_a_folder_reads_the_same_way(tmp_path) -> None:
    names = [SegmentName("main", "2026-11-23", 0, 9), SegmentName("main", "2026-11-24", 10, 29)]
    for name in names:
        for key, body in ((name.object_key, b"object"), (name.manifest_key, b"manifest")):
            path = tmp_path / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    (tmp_path / "entries/chain=main/notes.txt").write_text("?")
    store = ArchiveStore(tmp_path, "main")
    assert not store.versioned
    segments = list(store.segments())
    assert [segment.name for segment in segments] == names
    version = segments[1].object.counting("whatever the chain has named")
    assert store.read(segments[1].object.key, version) == b"object"
    assert store.lock(segments[1].object.key, version) is None
    assert store.path(segments[1].manifest.key).read_bytes() == b"manifest"
    assert store.foreign == ["entries/chain=main/notes.txt"]
    assert [segment.name for segment in store.segments("2026-11-24")] == names[1:]


def test_a_folder_without_an_archive_is_refused(tmp_path) -> None:
    with pytest.raises(Misconfigured, match="holds no archive of main"):
        ArchiveStore(tmp_path, "main")
