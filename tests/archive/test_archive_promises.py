"""What a chain has promised of its retention: the sink archives nothing for less, and a verifier sees who did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sealstream.archive import lengthen_locks, trimming
from sealstream.archive import sink as sink_module
from sealstream.archive.trimming import Trimmer
from sealstream.errors import Misconfigured
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import start_offset
from sealstream.layout import Retention, longest_retention, named_retention, retention_members, shortens
from sealstream.verify import ChainIdentity, FaultKind, Verification, verify_archive, verify_kafka

A_YEAR, TWO_YEARS = named_retention("soc2"), named_retention("2y")
PCI, HIPAA = named_retention("pci"), named_retention("hipaa")


def extend(stage: Any, before: Retention, after: Retention) -> int:
    """Seals an extension; the seq of its entry."""
    event = control_statement(
        "retention.extended",
        id=f"0193a8f2-7c1e-7000-8000-{after.archive_days:012d}",
        timestamp=format_timestamp(stage.chain.at),
        actor_id="ann",
        actor_type="admin",
        resource_type="chain",
        resource_id=stage.chain.name,
        metadata={"from": retention_members(before), "to": retention_members(after)},
    )
    stage.chain.control(event)
    return len(stage.chain.entries) - 1


def set_retention(stage: Any, retention: Retention) -> None:
    stage.chain.settings = stage.chain.settings._replace(retention=retention)


def refused(stage: Any, match: str) -> None:
    sink = stage.sink()
    with pytest.raises(Misconfigured, match=match):
        stage.run(sink)
    sink.close()


def asked(stage: Any) -> Verification:
    chain = stage.chain
    return Verification(
        ChainIdentity(chain.name, chain.origin, chain.settings.vkey), now=max(chain.at, datetime.now(UTC))
    )


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("soc2", "hipaa", ""),
        ("pci", "hipaa", ""),
        ("pci", "2y", ""),
        ("gdpr:2y", "2y", ""),
        ("hipaa", "soc2", "locked for 366 days after an entry, hipaa promises 2,196"),
        ("soc2", "pci", "could be trimmed after 366 days, soc2 promises that they are never trimmed"),
        ("2y", "731d", "locked for 731 days"),
    ],
)
def test_what_shortens_a_policy(before: str, after: str, why: str) -> None:
    said = shortens(named_retention(before), named_retention(after))
    assert (why in said) if why else (said == "")


def test_two_promises_are_kept_together() -> None:
    assert longest_retention(A_YEAR, HIPAA) == HIPAA
    both = longest_retention(A_YEAR, PCI)
    assert (both.archive_days, both.online_days) == (732, None)


def test_gdpr_names_no_time() -> None:
    with pytest.raises(Misconfigured, match="your purpose does"):
        named_retention("gdpr")


def test_a_sink_archives_nothing_for_less_than_was_promised(stage) -> None:
    s = stage()
    s.chain.events(20)
    seq = extend(s, A_YEAR, TWO_YEARS)
    s.chain.events(20)
    s.publish()
    refused(s, f"entry {seq} .* promises 2y: the archive would be locked for 366 days")
    assert all(manifest.last_seq < seq for manifest in s.manifests())
    set_retention(s, TWO_YEARS)
    s.archive_all()
    behind = [manifest for manifest in s.manifests() if manifest.last_seq >= seq]
    assert behind
    for manifest in behind:
        kept = datetime.fromisoformat(manifest.retain_until) - datetime.fromisoformat(manifest.last_sequenced_at)
        assert kept >= timedelta(days=732)
    report = verify_archive(s.bucket_settings, asked(s))
    assert not [fault for fault in report.faults if fault.kind is not FaultKind.STALE]
    assert any(f"entry {seq}: retention extended from soc2 (366 days) to 2y" in note for note in report.notes)
    # A later life with the old settings begins behind the statement: the newest lock tells.
    set_retention(s, A_YEAR)
    sink = s.sink()
    with pytest.raises(Misconfigured, match=f"entry {seq} .* promises 2y"):
        sink.step()
    sink.close()


def test_settings_longer_than_entry_0_are_taken_and_shorter_ones_refused(stage) -> None:
    s = stage()
    s.chain.events(25)
    s.publish()
    set_retention(s, Retention("100d", 100))
    refused(s, "entry 0 of the chain promises soc2")
    set_retention(s, TWO_YEARS)
    s.archive_all()
    s.check()


def test_a_promise_that_was_broken_is_a_fault_and_an_event_of_that_name_is_none(stage, monkeypatch) -> None:
    s = stage()
    s.chain.event(action="retention.extended", metadata={"from": 1, "to": {"policy": "x", "archive_days": 99_999}})
    s.chain.events(10)
    seq = extend(s, A_YEAR, TWO_YEARS)
    s.chain.events(30)
    s.publish()
    with monkeypatch.context() as patch:
        patch.setattr(sink_module, "check_promises", lambda *_: None)
        s.archive_all()
    report = verify_archive(s.bucket_settings, asked(s))
    broken = [fault for fault in report.faults if fault.kind is FaultKind.UNLOCKED]
    expected = [m.segment for m in s.manifests() if m.first_seq > seq]
    assert [fault.place for fault in broken] == [segment.manifest_key for segment in expected]
    assert expected
    assert "the chain promises 2y, 732 days" in broken[0].detail
    assert "WORM-locked" not in report.assurance
    lengthen_locks(s.bucket_settings, s.chain.name, 732)  # what was sealed of them stays, and is still a fault
    assert [f.kind for f in verify_archive(s.bucket_settings, asked(s)).faults].count(FaultKind.UNLOCKED) == len(broken)


def test_an_extension_beyond_every_calendar_counts_for_nothing(stage) -> None:
    s = stage()
    s.chain.events(20)
    extend(s, A_YEAR, Retention("for ever", 999_999_999_999))
    s.chain.events(30)
    s.publish()
    s.archive_all()
    s.check()
    assert [f for f in verify_archive(s.bucket_settings, asked(s)).faults if f.kind is not FaultKind.STALE] == []


def test_a_topic_that_was_trimmed_before_the_extension_is_not_missing_its_head(stage) -> None:
    s = stage(at=datetime.now(UTC) - timedelta(days=400), retention=PCI)
    s.chain.events(20)
    s.chain.at = datetime.now(UTC) - timedelta(days=365, hours=12)
    s.chain.events(20)
    s.chain.at = datetime.now(UTC)
    s.chain.events(21, after_s=0.0001)
    s.publish()
    s.archive_all()
    trimmer = Trimmer(s.kafka, s.chain.settings, s.bucket, trimming.ColumnMaker(), kept_entries=20)
    while trimmer.step(s.chain.segments[-1].last_seq + 1):
        pass
    assert start_offset(s.kafka, s.topics.chain) > 0

    def kinds() -> set[FaultKind]:
        report = verify_kafka(s.kafka, asked(s), prefix=s.chain.prefix, online_days=None)
        return {fault.kind for fault in report.faults}

    assert FaultKind.MISSING in kinds()
    extend(s, PCI, HIPAA)
    s.publish()
    assert FaultKind.MISSING not in kinds()
