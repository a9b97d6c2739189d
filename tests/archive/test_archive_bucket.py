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
def locked(bucket):
    locked = Bucket(bucket)
    yield locked
    locked.close()


def default_retention(bucket: Bucket) -> dict:
    found = bucket.client.get_object_lock_configuration(Bucket=bucket.settings.bucket)
    return found["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]


def test_init_makes_a_locked_bucket_and_says_what_is_fixed(new_bucket) -> None:
    text = init_bucket(new_bucket, SOC2)
    assert "created with Object Lock" in text
    assert "can't be changed later" in text
    assert "366 days" in text
    bucket = Bucket(new_bucket)
    bucket.check()
    assert default_retention(bucket) == {"Mode": "COMPLIANCE", "Days": 366}
    again = init_bucket(new_bucket, SOC2)
    assert "was there already" in again
    assert default_retention(bucket) == {"Mode": "COMPLIANCE", "Days": 366}


def test_init_lengthens_the_default_retention_and_never_shortens_it(new_bucket) -> None:
    init_bucket(new_bucket, Retention("own", archive_days=10))
    bucket = Bucket(new_bucket)
    assert "lengthened from 10 to 366" in init_bucket(new_bucket, SOC2)
    assert default_retention(bucket)["Days"] == 366
    init_bucket(new_bucket, Retention("own", archive_days=5))
    assert default_retention(bucket)["Days"] == 366


def test_init_finishes_what_a_crash_left(new_bucket) -> None:
    bucket = Bucket(new_bucket)
    bucket.client.create_bucket(Bucket=new_bucket.bucket, ObjectLockEnabledForBucket=True)
    init_bucket(new_bucket, SOC2)
    assert default_retention(bucket) == {"Mode": "COMPLIANCE", "Days": 366}


def test_a_bucket_without_object_lock_is_refused(new_bucket) -> None:
    bucket = Bucket(new_bucket)
    bucket.client.create_bucket(Bucket=new_bucket.bucket)
    for attempt in (bucket.check, lambda: init_bucket(new_bucket, SOC2)):
        with pytest.raises(Misconfigured, match="has no Object Lock: expected ObjectLockEnabled, got none"):
            attempt()


def test_a_missing_bucket_is_named(new_bucket) -> None:
    with pytest.raises(Misconfigured, match="does not exist; make it with `sealstream archive init`"):
        Bucket(new_bucket).check()


@pytest.mark.parametrize("wrong", [{"access_key": "nobody"}, {"secret_key": "wrong"}])
def test_a_wrong_key_is_named(new_bucket, wrong) -> None:
    init_bucket(new_bucket, SOC2)
    with pytest.raises(Misconfigured, match="check access_key, secret_key"):
        Bucket(new_bucket._replace(**wrong)).check()
    with pytest.raises(Misconfigured):
        init_bucket(new_bucket._replace(**wrong), SOC2)


def test_a_server_that_does_not_answer_is_unavailable(new_bucket) -> None:
    gone = new_bucket._replace(endpoint_url="http://127.0.0.1:9", timeout_s=0.5)
    with pytest.raises(Unavailable, match="no complete answer"):
        Bucket(gone).check()


def test_an_endpoint_that_is_no_url_is_named() -> None:
    with pytest.raises(Misconfigured, match="endpoint_url"):
        Bucket(ArchiveSettings("b", "not a url", access_key="a", secret_key="b"))


def test_an_object_is_put_once_and_locked(locked) -> None:
    until = soon(2)
    assert locked.put_once("a", b"first", until)
    assert not locked.put_once("a", b"second", until)
    stored = locked.stored("a")
    assert len(stored.versions) == 1
    version = stored.versions[0].version_id
    assert locked.read("a", version, 100) == b"first"
    lock = locked.lock("a", version)
    assert lock is not None
    assert lock.holds(until)
    assert not lock.holds(until + timedelta(seconds=1))
    with pytest.raises(Misconfigured, match="not allowed"):
        locked.lengthen("a", version, soon(1))
    locked.lengthen("a", version, soon(3))
    assert locked.lock("a", version).holds(soon(2.9))
    with pytest.raises(Forked, match="expected at most 4"):
        locked.read("a", version, 4)


def test_two_who_put_at_once_make_one_version(locked) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda i: locked.put_once("raced", b"%d" % i * 50_000, soon(2)), range(8)))
    assert outcomes.count(True) == 1
    assert len(locked.stored("raced").versions) == 1


def test_more_keys_than_a_page_are_listed_in_order(locked) -> None:
    names = [SegmentName("main", f"2026-11-{1 + seq % 28:02d}", seq, seq) for seq in range(1_020)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: locked.put_once(name.manifest_key, b"x", soon(2)), names))
    in_order = sorted(name.manifest_key for name in names)
    assert [stored.key for stored in locked.list_stored("manifests/chain=main/")] == in_order
    after = "manifests/chain=main/date=2026-11-15"
    assert [stored.key for stored in locked.list_stored("manifests/chain=main/", after)] == [
        key for key in in_order if key > after
    ]
    assert locked.list_folders("manifests/chain=main/") == [f"date=2026-11-{day:02d}" for day in range(1, 29)]


def test_versions_are_listed_the_oldest_first_with_delete_markers(locked) -> None:
    locked.put_once("a/b", b"0", soon(2))
    for body in (b"1", b"2"):
        locked.client.put_object(Bucket=locked.settings.bucket, Key="a/b", Body=body)
    locked.client.delete_object(Bucket=locked.settings.bucket, Key="a/b")
    locked.put_once("a/bc", b"other", soon(2))
    stored = locked.stored("a/b")
    assert [locked.read("a/b", version.version_id, 9) for version in stored.versions] == [b"0", b"1", b"2"]
    assert len(stored.delete_markers) == 1
    assert locked.list_folders("a/") == []
    assert locked.list_folders("") == ["a"]
    assert stored.counting() == stored.versions[0]
    assert stored.counting(stored.versions[1].version_id) == stored.versions[1]
    assert stored.counting("no such version") is None
    assert locked.stored("nothing").versions == ()


def test_a_reader_sees_every_segment_and_what_was_done_to_it(locked) -> None:
    names = [SegmentName("main", "2026-11-23", 0, 9), SegmentName("main", "2026-11-24", 10, 29),
             SegmentName("main", "2026-11-24", 30, 39), SegmentName("main", "2026-11-25", 40, 40)]  # fmt: skip
    for name in names[:3]:
        locked.put_once(name.object_key, b"object", soon(2))
    for name in (names[0], names[1], names[3]):
        locked.put_once(name.manifest_key, b"manifest", soon(2))
    name = locked.settings.bucket
    locked.client.delete_object(Bucket=name, Key=names[0].object_key)
    locked.client.put_object(Bucket=name, Key=names[1].object_key, Body=b"newer")
    locked.client.put_object(Bucket=name, Key="entries/chain=main/date=2026-11-24/readme.txt", Body=b"?")
    locked.put_once(SegmentName("other", "2026-11-23", 0, 9).object_key, b"another chain's", soon(2))

    store = ArchiveStore(locked.settings, "main")
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
