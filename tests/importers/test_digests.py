"""CloudTrail's digests: what was changed, deleted, added or appended is found, what holds is vouched for."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

import pytest
from tests.importers.trails import ACCOUNT, BEGIN, HOUR, Trail, new_key

from sealstream.importers.digest_files import PublicKey
from sealstream.importers.digests import Validation

KEY, LATER_KEY = new_key(), new_key()


@pytest.fixture
def trail() -> Trail:
    return Trail(12, lambda _hour: KEY)


def found(validation: Validation, *kinds: str) -> list[tuple[str, str]]:
    return [(each.kind, each.file) for each in validation.findings if not kinds or each.kind in kinds]


def test_a_whole_trail_holds(trail: Trail) -> None:
    verdict = trail.judge()
    assert (verdict.exit_code, verdict.findings) == (0, [])
    assert (verdict.digests, verdict.valid_digests, verdict.named_logs) == (12, 12, 24)
    assert sorted(verdict.vouched) == sorted(log for hour in trail.logs for log in hour)


@pytest.mark.parametrize("below", ["", "AWSLogs/", f"AWSLogs/{ACCOUNT}/"])
def test_of_a_copy_all_but_the_newest_digest_can_be_judged(trail: Trail, below: str) -> None:
    verdict = trail.judge_copy(below)
    assert found(verdict) == [
        ("unverified", trail.digests[-1].removeprefix(below)),
        *[("note", log.removeprefix(below)) for log in trail.logs[-1]],
    ]
    assert (verdict.exit_code, verdict.valid_digests, len(verdict.vouched)) == (2, 11, 22)


def test_a_log_that_was_changed_or_deleted(trail: Trail) -> None:
    changed, deleted = trail.logs[3][0], trail.logs[7][1]
    trail.put(changed, gzip.compress(trail.content(changed).replace(b"Describe", b"Delete")))
    del trail.objects[deleted]
    verdict = trail.judge()
    assert found(verdict) == [("missing", deleted), ("invalid", changed)]
    assert verdict.exit_code == 1
    assert changed not in verdict.vouched
    assert len(verdict.vouched) == 22


@pytest.mark.parametrize("appended", [gzip.compress(b'{"Records":[]}'), b"not gzip"], ids=["member", "bytes"])
def test_data_appended_to_a_log_or_a_digest(trail: Trail, appended: bytes) -> None:
    log, digest = trail.logs[3][0], trail.digests[7]
    trail.put(log, trail.objects[log][0] + appended)
    trail.put(digest, trail.objects[digest][0] + appended)
    verdict = trail.judge()
    assert set(found(verdict, "invalid")) == {("invalid", log), ("invalid", digest)}
    assert all("appended" in each.why for each in verdict.findings if each.kind == "invalid")


def test_a_log_of_several_gzip_members_holds(trail: Trail) -> None:
    log = trail.logs[3][0]
    content = trail.content(log)
    trail.put(log, gzip.compress(content[:20]) + gzip.compress(content[20:]))
    assert trail.judge().exit_code == 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_digests_missing_in_a_row_are_all_said(trail: Trail, count: int) -> None:
    gone = trail.digests[6 - count + 1 : 7]
    for key in gone:
        del trail.objects[key]
    verdict = trail.judge()
    (missing,) = [each for each in verdict.findings if each.kind == "missing"]
    assert missing.file == gone[-1]
    begin, end = BEGIN + (7 - count) * HOUR, BEGIN + 7 * HOUR
    assert f"covers {begin:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ} (about {count} digest" in missing.why
    assert {file for _, file in found(verdict, "unnamed")} == {
        log for hour in trail.logs[7 - count : 7] for log in hour
    }


def test_digests_missing_behind_a_changed_one_are_said(trail: Trail) -> None:
    trail.put(trail.digests[7], gzip.compress(trail.content(trail.digests[7]).replace(b"SHA-256", b"SHA-255")))
    for key in trail.digests[4:7]:
        del trail.objects[key]
    verdict = trail.judge()
    assert found(verdict, "invalid", "missing") == [("missing", trail.digests[8]), ("invalid", trail.digests[7])]
    assert "(about 4 digests)" in next(each.why for each in verdict.findings if each.kind == "missing")


def test_a_log_that_nobody_delivered(trail: Trail) -> None:
    forged = trail.logs[5][0].replace("_0005", "_f0rg3d")
    trail.put(forged, trail.objects[trail.logs[5][0]][0])
    assert found(trail.judge()) == [("unnamed", forged)]


def test_a_log_of_the_running_hour_is_no_fault(trail: Trail) -> None:
    name = trail.logs[-1][0].rpartition("/")[0]
    fresh = f"{name}/{ACCOUNT}_CloudTrail_eu-west-1_{BEGIN + 12 * HOUR:%Y%m%dT%H%M}Z_fresh.json.gz"
    trail.put(fresh, gzip.compress(b'{"Records":[]}'))
    verdict = trail.judge()
    assert (found(verdict), verdict.exit_code) == ([("note", fresh)], 0)
    assert fresh not in verdict.vouched


def test_a_digest_signed_by_somebody_else(trail: Trail) -> None:
    forged = Trail(12, lambda _hour: LATER_KEY)
    trail.objects[trail.digests[4]] = forged.objects[trail.digests[4]]
    verdict = trail.judge()
    assert ("invalid", trail.digests[4]) in found(verdict)
    assert not set(trail.logs[4]) & verdict.vouched.keys()


def test_a_digest_with_another_signature_in_its_metadata(trail: Trail) -> None:
    data, signature = trail.objects[trail.digests[4]]
    assert signature is not None
    trail.objects[trail.digests[4]] = (data, signature[:-2] + ("00" if signature[-2:] != "00" else "01"))
    assert found(trail.judge(), "invalid") == [("invalid", trail.digests[4])]


def test_a_digest_that_was_moved(trail: Trail) -> None:
    elsewhere = trail.digests[4].replace("2026/11/20", "2026/11/19")
    trail.objects[elsewhere] = trail.objects.pop(trail.digests[4])
    verdict = trail.judge()
    assert ("invalid", elsewhere) in found(verdict)
    assert "was moved" in next(each.why for each in verdict.findings if each.file == elsewhere)


def test_keys_are_rotated() -> None:
    trail = Trail(12, lambda hour: KEY if hour < 6 else LATER_KEY)
    assert trail.judge().findings == []
    old, new = trail.keys
    # The newest one's key is enough: its digests say, by hash, what the older ones are.
    assert trail.judge([new]).findings == []
    verdict = trail.judge([old])
    assert found(verdict, "unverified", "invalid") == [
        *[("unverified", name) for name in reversed(trail.digests[6:])],
    ]
    assert verdict.exit_code == 2
    assert len(verdict.vouched) == 12


def test_a_key_that_its_file_does_not_name_is_tried(trail: Trail) -> None:
    assert trail.judge([PublicKey(KEY.public_key(), frozenset({"some-name"}))]).findings == []
    assert trail.judge([PublicKey(LATER_KEY.public_key(), frozenset())]).exit_code == 2


def test_validation_that_was_switched_off_is_noted() -> None:
    trail = Trail(12, lambda _hour: KEY, off=range(4, 7))
    verdict = trail.judge()
    assert found(verdict) == [("note", trail.digests[4])]
    assert (verdict.exit_code, len(verdict.vouched)) == (0, 18)


def test_what_lies_before_the_time_that_is_asked_for_need_not_be_there(trail: Trail) -> None:
    for key in trail.digests[:5]:
        del trail.objects[key]
    for key in (log for hour in trail.logs[:5] for log in hour):
        del trail.objects[key]
    assert found(trail.judge()) == [("missing", trail.digests[4])]
    assert trail.judge(since=BEGIN + 5 * HOUR + timedelta(minutes=1)).findings == []


def test_that_the_newest_were_taken_away_shows_by_until_when_they_must_be(trail: Trail) -> None:
    end = BEGIN + 12 * HOUR
    assert trail.judge(until=end).exit_code == 0
    for hour in (10, 11):
        del trail.objects[trail.digests[hour]]
        for log in trail.logs[hour]:
            del trail.objects[log]
    verdict = trail.judge(until=end)
    assert found(verdict) == [("missing", trail.digests[9])]
    assert verdict.exit_code == 1
    assert trail.judge().exit_code == 0  # as the page says: nothing follows them that could tell


def test_what_is_no_digest_or_no_gzip_is_said(trail: Trail) -> None:
    trail.put(trail.digests[3], b"\x1f\x8bbroken")
    trail.put(trail.digests[8], gzip.compress(json.dumps([1]).encode()))
    trail.put(trail.logs[5][0], b"\x1f\x8bbroken")
    verdict = trail.judge()
    assert {file for _, file in found(verdict, "invalid")} == {trail.digests[3], trail.digests[8], trail.logs[5][0]}


def test_no_digests_at_all_is_no_verdict() -> None:
    assert Trail(0, lambda _hour: KEY).judge([]).exit_code == 2
