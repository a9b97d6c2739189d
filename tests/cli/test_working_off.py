"""Dead letters retried, missing numbers listed, a chain shown and kept for longer: on one chain that lives on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said, say, wait_until

from sealstream.access import person_at_this_machine
from sealstream.archive import ArchiveStore
from sealstream.cli import retrying, saying
from sealstream.cli.letters import Letter
from sealstream.cli.retrying import check_may_be_retried
from sealstream.cli.settings import load_settings
from sealstream.errors import Misconfigured
from sealstream.layout import SegmentLimits
from sealstream.sequencer.judging import REPEATED

# Letters of the chain, by number: each an event that lacks its action, and has one of the producer's numbers.
PLAIN, BEFORE_CLAIM, AFTER_CLAIM, AFTER_EVENT, AFTER_SEALED, SENT_AGAIN, FINISHED, TAKEN_OVER = range(8)


pytestmark = long_run


@pytest.fixture(scope="module")
def lived(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """30 events of producer `p`, eight of them refused; 7 and 8 never came; and a refused control record."""
    pipeline = make_pipeline(SegmentLimits(entries=20, bytes=1_000_000, seconds=3_600))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(pipeline.folder / "state"))
        for n in (n for n in range(30) if n not in (7, 8)):
            event = pipeline.event(n, producer="p", source={"host": "ward-3", "service": "clinic"})
            if 10 <= n < 18:
                event = event.replace(b'"action":"read",', b"")
            pipeline.send([event])
        pipeline.start()
        pipeline.wait_sealed()
        pipeline.send([b"{}"], topic=pipeline.topics.control)
        wait_until(lambda: len(pipeline.records(pipeline.topics.deadletter)) == 9, 60, pipeline.why)
        yield pipeline
        pipeline.kill_all()


def corrected(pipeline: Pipeline, letter: int) -> Path:
    """A file with the letter's event as it should have been, as a person would write it."""
    event = json.loads(pipeline.event(10 + letter, producer="p"))
    path = pipeline.folder / f"letter-{letter}.json"
    path.write_text(json.dumps(event | {"action": "mended"}, indent=2))
    return path


def retry(pipeline: Pipeline, letter: int, *more: str) -> Said:
    return pipeline.command("deadletter", "retry", str(letter), "--chain", pipeline.name, "--by", "ann", *more)


def other_folder(pipeline: Pipeline, name: str, retention: str = "") -> Path:
    """The settings as another person has them, on another machine."""
    folder = pipeline.folder / name
    folder.mkdir()
    text = pipeline.config.read_text()
    if retention:
        text, found = re.subn(r'^retention = ".*"$', retention, text, flags=re.MULTILINE)
        assert found == 1
    (folder / "sealstream.toml").write_text(text)
    return folder / "sealstream.toml"


def sealed(pipeline: Pipeline, action: str) -> list[dict[str, Any]]:
    return [entry for entry in pipeline.entries() if entry["action"] == action]


def producers(pipeline: Pipeline, *more: str) -> dict[str, Any]:
    said = pipeline.command("producers", "--chain", pipeline.name, "--json", *more)
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_missing_numbers_are_listed_with_what_to_do(lived: Pipeline) -> None:
    found = producers(lived, "--gaps")
    assert (found["producers"], found["with_gaps"]) == (1, 1)
    (shown,) = found["shown"]
    assert (shown["producer_id"], shown["state"], shown["next"], shown["missing"]) == ("p", "open", 30, 10)
    assert shown["missing_ranges"] == [[7, 8], [10, 17]]
    assert (shown["service"], shown["host"]) == ("clinic", "ward-3")
    said = lived.command("producers", "--chain", lived.name)
    assert "7-8, 10-17" in said.out
    assert "clinic at ward-3" in said.out
    assert "missing-numbers.md" in said.out
    assert f"`sealstream search producer:p --chain {lived.name} -n 1" in said.out


def test_a_letter_that_still_does_not_hold_is_not_sent(lived: Pipeline) -> None:
    said = retry(lived, PLAIN)
    assert (said.code, "action is missing" in said.err) == (2, True), said
    assert sealed(lived, "deadletter.retried") == []
    assert not (lived.folder / "pending").exists()
    said = retry(lived, 99)
    assert (said.code, "there is no dead letter 99" in said.err) == (2, True)


def test_a_retry_seals_the_correction_beside_the_refusal_once(lived: Pipeline) -> None:
    said = retry(lived, PLAIN, "--event", str(corrected(lived, PLAIN)))
    assert said.code == 0, said.err
    assert '+ action: "mended"' in said.out
    (statement,) = sealed(lived, "deadletter.retried")
    entries = {entry["written"]["seq"]: entry for entry in lived.entries()}
    facts = statement["metadata"]
    refusal = entries[facts["corrects"]]
    assert refusal["action"] == "input.passed"
    assert any(item["first"] <= facts["offset"] <= item["last"] for item in refusal["metadata"]["items"])
    (event,) = (entry for entry in entries.values() if entry["id"] == facts["event"])
    assert (event["action"], event["producer_seq"], event["written"]["kind"]) == ("mended", 10, "event")
    assert (statement["actor_id"], statement["source"]) == (
        person_at_this_machine().id,
        person_at_this_machine().source,
    )
    assert (facts["by"], statement["written"]["kind"]) == ("ann", "control")
    assert statement["written"]["seq"] < event["written"]["seq"]
    assert producers(lived)["shown"][0]["missing_ranges"] == [[7, 8], [11, 17]]

    def letters() -> dict[str, Any]:
        (chain,) = json.loads(lived.command("status", "--json", "--timeout", "30").out)["chains"]
        return dict(chain["letters"])

    wait_until(lambda: letters()["retried"] == 1, 30)
    assert letters()["last_day"] > 1

    again = retry(lived, PLAIN, "--event", str(corrected(lived, PLAIN)))
    assert (again.code, "was retried already, by " in again.out) == (0, True), again
    assert len(sealed(lived, "deadletter.retried")) == 1
    listed = lived.command("deadletters", "list", "--chain", lived.name, "--json")
    first, second = (json.loads(line) for line in listed.out.splitlines()[:2])
    assert first["retried"] == {
        "seq": statement["written"]["seq"],
        "event": facts["event"],
        "event_sealed": True,
        "by": statement["actor_id"],
        "named": "ann",
    }
    assert second["retried"] is None
    waiting = lived.command("deadletter", "list", "--chain", lived.name, "--waiting", "--json")
    assert [json.loads(line)["offset"] for line in waiting.out.splitlines()][:5] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("letter", [BEFORE_CLAIM, AFTER_CLAIM, AFTER_EVENT, AFTER_SEALED])
def test_a_retry_that_was_killed_is_finished_by_the_next(
    lived: Pipeline, letter: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between any two of: written down, claim sent, event sent, both sealed, file removed."""
    produce, sent = saying.produce, 0

    def killed(*arguments: Any, **more: Any) -> None:
        nonlocal sent
        if letter == BEFORE_CLAIM:
            raise KeyboardInterrupt
        produce(*arguments, **more)
        sent += 1
        if (letter, sent) in ((AFTER_CLAIM, 1), (AFTER_EVENT, 2)):
            raise KeyboardInterrupt

    def not_removed(self: saying.Pending) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saying, "produce", killed)
        patch.setattr(saying.Pending, "remove", not_removed)
        assert retry(lived, letter, "--event", str(corrected(lived, letter))).code == 130
    said = retry(lived, letter)  # without the correction: it was written down
    assert said.code == 0, said.err
    offsets = [entry["metadata"]["letter"] for entry in sealed(lived, "deadletter.retried")]
    assert offsets.count(letter) == 1
    assert [e["producer_seq"] for e in sealed(lived, "mended")].count(10 + letter) == 1
    assert not list((lived.folder / "pending").iterdir())


def claimed_by_ann_alone(lived: Pipeline, letter: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann's claim is sealed; her command was killed before it sent the event."""
    say_until_sealed = retrying.say_until_sealed

    def killed(*arguments: Any, **more: Any) -> None:
        say_until_sealed(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retrying, "say_until_sealed", killed)
        assert retry(lived, letter, "--event", str(corrected(lived, letter))).code == 130


def test_a_letter_that_two_retry_gets_one_event(lived: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with settings of their own, so that neither finds what the other has begun."""
    bob = other_folder(lived, "bob")

    def retry_as_bob(letter: int, *more: str) -> Said:
        event = json.loads(corrected(lived, letter).read_bytes()) | {"action": "mended-by-bob"}
        (bob.parent / "event.json").write_text(json.dumps(event))
        given = ("--chain", lived.name, "--event", str(bob.parent / "event.json"))
        return say(bob, "deadletter", "retry", str(letter), *given, *more)

    for letter in (FINISHED, TAKEN_OVER):
        claimed_by_ann_alone(lived, letter, monkeypatch)
    listed = lived.command("deadletter", "list", "--chain", lived.name, "--waiting", "--json").out
    waiting = {found["offset"]: found["retried"] for found in map(json.loads, listed.splitlines())}
    assert (waiting[FINISHED]["named"], waiting[FINISHED]["event_sealed"]) == ("ann", False)
    refused = retry_as_bob(FINISHED)
    assert (refused.code, "is being retried by" in refused.err) == (2, True), refused

    # Bob takes over, and while he is asked whether to send it, Ann finishes hers.
    check_number = retrying._check_number

    def finished_meanwhile(*arguments: Any) -> None:
        check_number(*arguments)
        monkeypatch.setattr(retrying, "_check_number", check_number)
        finished = retry(lived, FINISHED)
        assert finished.code == 0, finished.err

    monkeypatch.setattr(retrying, "_check_number", finished_meanwhile)
    late = retry_as_bob(FINISHED, "--take-over")
    assert (late.code, "your correction was not sent" in late.out) == (0, True), late

    # Bob takes over from Ann, who is gone; her event arrives all the same, and she is told so when she is back.
    (begun,) = (lived.folder / "pending").iterdir()
    taken = retry_as_bob(TAKEN_OVER, "--take-over")
    assert taken.code == 0, taken.err
    numbers = [e["producer_seq"] for action in ("mended", "mended-by-bob") for e in sealed(lived, action)]
    assert (numbers.count(10 + FINISHED), numbers.count(10 + TAKEN_OVER)) == (1, 1)
    assert [entry["producer_seq"] for entry in sealed(lived, "mended-by-bob")] == [10 + TAKEN_OVER]
    lived.send([message["value"].encode() for message in json.loads(begun.read_text())["messages"][1:]])
    back = retry(lived, TAKEN_OVER)
    assert (back.code, "your own correction, event" in back.out, "was sent before" in back.out) == (0, True, True), back
    assert not list((lived.folder / "pending").iterdir())


def test_dead_letters_are_read_on_record(lived: Pipeline) -> None:
    """Repeats and conflicts are copies of sealed events: whoever reads them has read the log."""
    said = lived.command("deadletter", "show", str(PLAIN), "--chain", lived.name)
    assert said.code == 0, said.err
    lived.wait_sealed()
    reads = [entry for entry in sealed(lived, "log.read") if entry["metadata"]["what"] == "deadletter"]
    queries = {read["metadata"]["query"]: read for read in reads}
    assert queries[f"show {PLAIN}"]["metadata"] | {"store": "kafka", "rows": 1} == queries[f"show {PLAIN}"]["metadata"]
    assert queries[f"show {PLAIN}"]["actor_id"] == person_at_this_machine().id
    assert "list --limit 20 --waiting" in queries


def test_what_may_not_be_retried_is_said_why(lived: Pipeline) -> None:
    lived.send([lived.event(10 + SENT_AGAIN, producer="p")])  # its producer was mended, and has sent it itself
    lived.wait_sealed()
    said = retry(lived, SENT_AGAIN, "--event", str(corrected(lived, SENT_AGAIN)))
    assert (said.code, "number 15 of producer p was sealed meanwhile" in said.err) == (2, True), said
    of_control = lived.records(lived.topics.deadletter)[8].offset
    said = retry(lived, of_control)
    assert (said.code, "only who made it can make it anew" in said.err) == (2, True), said
    repeat = Letter(9, datetime.now(UTC), REPEATED, lived.topics.raw, 5, 2, "ab" * 32, b"{}")
    with pytest.raises(Misconfigured, match="was sealed long ago"):
        check_may_be_retried(repeat, lived.topics)


def test_a_letter_of_which_the_chain_knows_nothing_is_refused(lived: Pipeline) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": lived.kafka.bootstrap})
    event = lived.event(500)
    headers = {"reason": b"forged", "topic": lived.topics.raw.encode(), "offset": b"3", "sha256": b"ab" * 32}
    producer.produce(
        lived.topics.deadletter, event, partition=0, headers={**headers, "length": str(len(event)).encode()}
    )
    producer.flush(10)
    number = lived.records(lived.topics.deadletter)[-1].offset
    said = retry(lived, number)
    assert (said.code, "the chain does not say that offset 3" in said.err) == (2, True), said


def retention(pipeline: Pipeline, *arguments: str) -> Said:
    return pipeline.command("chain", "retention", pipeline.name, *arguments)


def locks(pipeline: Pipeline) -> dict[int, timedelta]:
    """For how long each segment's object and manifest are locked at least, counted from its day's end; by first seq."""
    found: dict[int, timedelta] = {}
    store = ArchiveStore(pipeline.archive, pipeline.name)
    try:
        for segment in store.segments():
            day = datetime.fromisoformat(segment.name.date).replace(tzinfo=UTC)
            held = [store.lock(each.key, each.versions[0]) for each in (segment.object, segment.manifest)]
            found[segment.name.first_seq] = min(lock.until for lock in held if lock is not None) - day
    finally:
        store.close()
    return found


def test_a_policy_is_extended_and_never_shortened(lived: Pipeline) -> None:
    lived.wait_archived(20)
    shown = retention(lived)
    assert "1d: all of it stays online, 1 day locked in the archive" in shown.out.replace("\n", " ")
    extended = retention(lived, "gdpr:10d", "--by", "bea")
    assert extended.code == 0, extended.err
    assert "the same" in extended.out  # Kafka and Postgres
    (statement,) = sealed(lived, "retention.extended")
    assert (statement["actor_id"], statement["written"]["kind"]) == (person_at_this_machine().id, "control")
    assert statement["metadata"] == {
        "from": {"policy": "1d", "archive_days": 1},
        "to": {"policy": "gdpr:10d", "archive_days": 10},
        "by": "bea",
    }
    for shorter, why in (("9d", "locked for 9 days"), ("pci", "Kafka and Postgres could be trimmed after 366 days")):
        said = retention(lived, shorter)
        assert (said.code, why in said.err) == (2, True), said
    again = retention(lived, "gdpr:10d")
    assert (again.code, "is kept so already" in again.out) == (0, True), again
    assert len(sealed(lived, "retention.extended")) == 1

    # Another host's settings file, which still has the old policy, is brought up to what is sealed.
    elsewhere = other_folder(lived, "retention", 'retention = "1d"')
    told = say(elsewhere, "chain", "retention", lived.name, "gdpr:10d")
    assert (told.code, "said 1d: it says gdpr:10d now" in told.out.replace("\n", " ")) == (0, True), told
    assert load_settings(elsewhere).chains[lived.name].retention == "gdpr:10d"
    assert len(sealed(lived, "retention.extended")) == 1

    # What is archived from the statement on has the new lock: the sink with the old settings ends, and is started anew.
    lived.send([lived.event(n) for n in range(1_000, 1_045)])
    wait_until(lambda: lived.running["archive-sink"].poll() is not None, 60, lived.why)
    assert "promises gdpr:10d" in lived.log("archive-sink")
    assert lived.running.pop("archive-sink").returncode == 2
    lived.start("archive-sink")
    lived.wait_archived(statement["written"]["seq"] + 1)
    assert {days.days for days in locks(lived).values()} >= {1, 10}
    assert lived.verify("archive").faults == []

    lengthened = retention(lived, "--extend-objects")
    assert lengthened.code == 0, lengthened.err
    assert min(locks(lived).values()) >= timedelta(days=10)
    assert " 0 locks lengthened" in retention(lived, "--extend-objects").out
    report = lived.verify("archive")
    assert report.faults == []
    assert any("retention extended from 1d (1 days) to gdpr:10d (10 days)" in note for note in report.notes)


def test_a_chain_is_shown_with_a_store_down(lived: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lived.command("chain", "show", lived.name, "--json")
    assert whole.code == 0, whole.err
    found = json.loads(whole.out)
    assert (found["origin"], found["state"]) == (lived.chain.origin, {"open": True})
    assert found["retention"]["archive_days"] == 10
    assert [promise["retention"]["policy"] for promise in found["retention"]["sealed"]] == ["1d", "gdpr:10d"]
    assert found["sealed"]["size"] == lived.size()
    assert found["sealed"]["checkpoint"]["size"] > 0
    assert found["topics"][lived.topics.producers]["cleanup"] == "compact"
    assert found["postgres"]["first_seq"] == 0
    assert found["archive"]["segments"] >= 2
    assert found["archive"]["oldest_locked_until"] is not None
    monkeypatch.setenv("SEALSTREAM_ARCHIVE__ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SEALSTREAM_POSTGRES__READER_DSN", "postgresql://nobody@127.0.0.1:9/none")
    down = lived.command("chain", "show", lived.name)
    assert down.code == 2
    assert lived.chain.origin in down.out
    assert "no answer from Postgres" in down.out.replace("\n", " ")
    listed = json.loads(lived.command("chain", "list", "--json").out)
    assert [chain["retention"] for chain in listed] == ["gdpr:10d"]


def test_the_correction_hurts_no_verifier(lived: Pipeline) -> None:
    lived.wait_stored(lived.wait_sealed())
    for store in ("kafka", "postgres"):
        assert lived.verify(store).faults == []
