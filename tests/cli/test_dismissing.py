"""Dead letters put aside: who, why and which are sealed, once, whatever interrupts the command."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from confluent_kafka import Producer
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said, say, wait_until

from sealstream.access import person_at_this_machine
from sealstream.cli import dismissing, retrying, saying
from sealstream.kafka import trim
from sealstream.layout import SegmentLimits
from sealstream.sequencer.judging import REPEATED

pytestmark = long_run

RUBBISH = [b"rubbish %d" % number for number in range(24)]
WHY = "a scan of the ports, ticket 4711"


@pytest.fixture(scope="module")
def lived(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """10 events, 24 records that are none, an event without its action, and a refused control record."""
    pipeline = make_pipeline(SegmentLimits(entries=1_000, bytes=10_000_000, seconds=3_600))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(pipeline.folder / "state"))
        pipeline.send([pipeline.event(n, producer="p") for n in range(10)])
        pipeline.send([*RUBBISH, lacking_its_action(pipeline)])
        pipeline.send([b"{}"], topic=pipeline.topics.control)
        pipeline.start("sequencer", "checkpointing", "postgres-sink")
        wait_until(lambda: len(pipeline.records(pipeline.topics.deadletter)) == 26, 60, pipeline.why)
        yield pipeline
        pipeline.kill_all()


@pytest.fixture(scope="module")
def numbers(lived: Pipeline) -> dict[bytes, int]:
    """The letters' numbers, by the records' bytes."""
    return {record.value or b"": record.offset for record in lived.records(lived.topics.deadletter)}


@pytest.fixture(scope="module")
def rubbish(numbers: dict[bytes, int]) -> list[int]:
    """The numbers of the letters that hold rubbish."""
    return [numbers[each] for each in RUBBISH]


def lacking_its_action(pipeline: Pipeline) -> bytes:
    return pipeline.event(10, producer="p").replace(b'"action":"read",', b"")


def dismiss(pipeline: Pipeline, *words: object, why: str = WHY, config: Path | None = None) -> Said:
    arguments = ("deadletter", "dismiss", *map(str, words), "--reason", why, "--chain", pipeline.name)
    return say(config or pipeline.config, *arguments)


def sealed(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [entry for entry in pipeline.entries() if entry["action"] == "deadletter.dismissed"]


def dismissed(pipeline: Pipeline) -> Counter[int]:
    """How often each letter is named by a dismissal."""
    return Counter(item["letter"] for entry in sealed(pipeline) for item in entry["metadata"]["letters"])


def listed(pipeline: Pipeline, *more: str) -> dict[int, dict[str, Any]]:
    said = pipeline.command("deadletter", "list", "--chain", pipeline.name, "--limit", "100", "--json", *more)
    assert said.code == 0, said.err
    return {letter["offset"]: letter for letter in map(json.loads, said.out.splitlines())}


def forge(pipeline: Pipeline, reason: str, offset: int, digest: str, timestamp_ms: int = 0) -> int:
    """A letter that no sequencer has written."""
    headers = {"reason": reason, "topic": pipeline.topics.raw, "offset": str(offset), "sha256": digest, "length": "9"}
    producer = Producer({"bootstrap.servers": pipeline.kafka.bootstrap})
    producer.produce(
        pipeline.topics.deadletter,
        b"forged",
        partition=0,
        headers={name: text.encode() for name, text in headers.items()},
        timestamp=timestamp_ms,
    )
    assert producer.flush(10) == 0
    return pipeline.records(pipeline.topics.deadletter)[-1].offset


@pytest.mark.parametrize(
    ("words", "why", "told"),
    [
        (["0"], "  ", "--reason is empty"),
        (["0"], "two\nlines", "one line of printable text"),
        (["0"], "x" * 1_001, "at most 1,000 bytes"),
        ([], WHY, "say which letters"),
        (["0", "--all-with-reason", "x"], WHY, "say which letters"),
        (["3-17"], WHY, "'3-17' names no letter"),
        (["9999"], WHY, "there is no dead letter 9999"),
        (["9000..9999"], WHY, "there is no dead letter 9000..9999"),
        (["--all-with-reason", "event is"], WHY, "no dead letter that is kept has the reason 'event is'"),
    ],
)
def test_what_is_not_clear_is_not_done(lived: Pipeline, words: list[str], why: str, told: str) -> None:
    said = dismiss(lived, *words, why=why)
    assert (said.code, told in said.err) == (2, True), said
    assert sealed(lived) == []
    assert not (lived.folder / "pending").exists()


def test_a_dismissal_is_sealed_with_who_why_and_which_records(lived: Pipeline, numbers: dict[bytes, int]) -> None:
    of_control, of_raw = numbers[b"{}"], numbers[RUBBISH[0]]
    said = dismiss(lived, of_control, of_raw, "--by", "ann")
    assert said.code == 0, said.err
    assert f"letter {of_raw}, refused (entry " in said.out
    (statement,) = sealed(lived)
    assert f"sealed: entry {statement['written']['seq']} of chain {lived.name}: 2 letters are dismissed" in said.out
    assert statement["written"]["kind"] == "control"
    person = person_at_this_machine()
    assert (statement["actor_id"], statement["source"]) == (person.id, person.source)
    facts = statement["metadata"]
    assert (facts["reason"], facts["by"]) == (WHY, "ann")
    by_topic = {item["topic"]: item for item in facts["letters"]}
    assert by_topic["raw"]["sha256"] == sha256(RUBBISH[0]).hexdigest()
    assert by_topic["control"]["sha256"] == sha256(b"{}").hexdigest()
    entries = lived.entries()
    for item in facts["letters"]:
        account = entries[item["corrects"]]
        assert (account["action"], account["metadata"]["topic"]) == ("input.passed", item["topic"])
        assert any(each["first"] <= item["offset"] <= each["last"] for each in account["metadata"]["items"])

    told = listed(lived)[of_raw]["dismissed"]
    assert told == {"seq": statement["written"]["seq"], "reason": WHY, "by": person.id, "named": "ann"}
    assert listed(lived)[of_raw]["retried"] is None
    assert not {of_control, of_raw} & listed(lived, "--waiting").keys()
    shown = lived.command("deadletter", "list", "--chain", lived.name, "--limit", "100")
    assert f"dismissed: entry {statement['written']['seq']}, by {person.id} (for ann)" in shown.out

    again = dismiss(lived, of_control)
    assert (again.code, f"letter {of_control} was dismissed already, by " in again.out) == (0, True), again
    assert WHY in again.out
    assert len(sealed(lived)) == 1
    lived.wait_sealed()
    queries = [entry["metadata"] for entry in lived.entries() if entry["action"] == "log.read"]
    assert [each["rows"] for each in queries if each["query"] == f"dismiss {of_control} {of_raw}"] == [2]


def test_status_counts_a_dismissed_letter_as_worked_off(lived: Pipeline, numbers: dict[bytes, int]) -> None:
    def letters() -> dict[str, Any]:
        (chain,) = json.loads(lived.command("status", "--json", "--timeout", "30").out)["chains"]
        return dict(chain["letters"])

    wait_until(lambda: letters()["dismissed"] == 2, 30)
    assert (letters()["last_day"], letters()["retried"]) == (26, 0)


@pytest.mark.parametrize("moment", ["before it is sent", "after it is sent", "after it is sealed"])
def test_a_dismissal_that_was_killed_is_finished_by_the_next(
    lived: Pipeline, rubbish: list[int], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between any two of: written down, sent, sealed, the file removed. Five letters are three statements."""
    which = ["before it is sent", "after it is sent", "after it is sealed"].index(moment)
    mine = rubbish[1 + 5 * which : 6 + 5 * which]
    span = f"{mine[0]}..{mine[-1]}"
    monkeypatch.setattr(dismissing, "MAX_LETTERS", 2)
    produce = saying.produce

    def killed(*arguments: Any, **more: Any) -> None:
        if moment == "after it is sent":
            produce(*arguments, **more)
        if moment != "after it is sealed":
            raise KeyboardInterrupt
        produce(*arguments, **more)

    def not_removed(self: saying.Pending) -> None:
        raise KeyboardInterrupt

    before = len(sealed(lived))
    with monkeypatch.context() as patch:
        patch.setattr(saying, "produce", killed)
        patch.setattr(saying.Pending, "remove", not_removed)
        assert dismiss(lived, span).code == 130
    other = dismiss(lived, rubbish[0])
    assert (other.code, "was dismissed already" in other.out) == (0, True), other
    said = dismiss(lived, span)
    assert (said.code, "what it had begun to say is said first" in said.out) == (0, True), said
    assert "already" not in said.out
    assert [dismissed(lived)[number] for number in mine] == [1] * 5
    assert len(sealed(lived)) == before + 3
    assert not list((lived.folder / "pending").iterdir())


def test_many_that_share_a_reason_are_asked_about_by_their_number(
    lived: Pipeline, rubbish: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a person is asked, somebody else dismisses one of them, and another one comes: neither is touched."""
    open_now = [number for number in rubbish if not dismissed(lived)[number]]
    reason = listed(lived)[rubbish[0]]["reason"]
    questions: list[str] = []
    other = lived.folder / "other"
    other.mkdir()
    (other / "sealstream.toml").write_text(lived.config.read_text())

    def asked(question: str, **more: Any) -> bool:
        questions.append(question)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
        assert dismiss(lived, open_now[0], config=other / "sealstream.toml").code == 0
        lived.send([b"rubbish that came late"])
        wait_until(lambda: len(lived.records(lived.topics.deadletter)) == 27, 30, lived.why)
        return True

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(typer, "confirm", asked)
    said = dismiss(lived, "--all-with-reason", reason)
    assert said.code == 0, said.err
    assert questions == [f"dismiss {len(open_now)} letters?"]
    assert f"letter {open_now[0]} was dismissed already" in said.out
    assert [dismissed(lived)[number] for number in rubbish] == [1] * len(rubbish)
    late = lived.records(lived.topics.deadletter)[-1].offset
    assert {number for number, one in listed(lived, "--waiting").items() if one["reason"] == reason} == {late}
    assert dismiss(lived, "--all-with-reason", reason).code == 0
    assert "nothing was left to dismiss" in dismiss(lived, "--all-with-reason", reason).out


def test_of_two_who_dismiss_at_once_the_first_counts(
    lived: Pipeline, numbers: dict[bytes, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lived.send([b"for two"])
    wait_until(lambda: len(lived.records(lived.topics.deadletter)) == 28, 30, lived.why)
    number = lived.records(lived.topics.deadletter)[-1].offset
    write = saying.Pending.write

    def overtaken(self: saying.Pending, messages: list[saying.Message]) -> None:
        monkeypatch.setattr(saying.Pending, "write", write)
        assert dismiss(lived, number, why="theirs").code == 0
        write(self, messages)

    monkeypatch.setattr(saying.Pending, "write", overtaken)
    said = dismiss(lived, number, why="mine")
    assert (said.code, f"letter {number} was dismissed at the same time by " in said.out) == (0, True), said
    assert listed(lived)[number]["dismissed"]["reason"] == "theirs"


def test_a_correction_that_comes_late_is_sealed_all_the_same(
    lived: Pipeline, numbers: dict[bytes, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that stands without its event is dismissed only on demand; and a dismissed letter is retried."""
    number = numbers[lacking_its_action(lived)]
    corrected = lived.folder / "corrected.json"
    corrected.write_bytes(lived.event(10, producer="p"))
    retry = ("deadletter", "retry", str(number), "--event", str(corrected), "--chain", lived.name)
    say_until_sealed = retrying.say_until_sealed

    def killed(*arguments: Any, **more: Any) -> None:
        say_until_sealed(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retrying, "say_until_sealed", killed)
        assert lived.command(*retry).code == 130
    held = dismiss(lived, number)
    assert (held.code, "is being retried by" in held.out, dismissed(lived)[number]) == (0, True, 0), held
    taken = dismiss(lived, number, "--take-over")
    assert taken.code == 0, taken.err
    claim = listed(lived)[number]["retried"]["seq"]
    assert sealed(lived)[-1]["metadata"]["letters"][0]["instead_of"] == claim
    assert number not in listed(lived, "--waiting")

    late = lived.command(*retry)
    assert late.code == 0, late.err
    found = listed(lived)[number]
    assert (found["retried"]["event_sealed"], found["dismissed"]["reason"]) == (True, WHY)
    shown = lived.command("deadletter", "list", "--chain", lived.name, "--limit", "100")
    assert f"retried: entry {claim}" in shown.out
    already = dismiss(lived, number)
    assert (already.code, f"letter {number} was retried already" in already.out) == (0, True), already

    event = lived.event(11, producer="p")
    lived.send([event.replace(b'"action":"read",', b"")])
    wait_until(lambda: len(lived.records(lived.topics.deadletter)) == 29, 30, lived.why)
    number = lived.records(lived.topics.deadletter)[-1].offset
    assert dismiss(lived, number).code == 0
    corrected.write_bytes(event)
    said = lived.command("deadletter", "retry", str(number), "--event", str(corrected), "--chain", lived.name)
    assert (said.code, "it was dismissed, by " in said.out) == (0, True), said
    assert listed(lived)[number]["retried"]["event_sealed"]


def test_a_repeat_is_dismissed_and_a_letter_of_which_the_chain_knows_nothing_is_not(lived: Pipeline) -> None:
    event = lived.event(3, producer="p")
    lived.send([event])
    lived.wait_sealed()
    offset = lived.records(lived.topics.raw)[-1].offset
    repeat = forge(lived, REPEATED, offset, sha256(event).hexdigest())  # as the sequencer writes one of long ago
    assert repeat not in listed(lived, "--waiting")
    said = dismiss(lived, repeat)
    assert (said.code, f"letter {repeat}, repeated (entry " in said.out) == (0, True), said

    forged = [forge(lived, "forged", offset, "ab" * 32), forge(lived, "forged", 3, "no digest")]
    lived.send([b"real"])
    wait_until(lambda: lived.records(lived.topics.deadletter)[-1].value == b"real", 30, lived.why)
    real = lived.records(lived.topics.deadletter)[-1].offset
    for number in forged:
        refused = dismiss(lived, number, real)
        assert (refused.code, "the chain does not say that offset" in refused.err) == (2, True), refused
    assert dismissed(lived)[real] == 0
    said = dismiss(lived, f"{forged[0]}..{real}")
    assert (said.code, said.out.count("WARNING: left out: the chain does not say")) == (1, 2), said
    assert [dismissed(lived)[number] for number in (*forged, real)] == [0, 0, 1]


def test_dismissals_hurt_no_verifier(lived: Pipeline) -> None:
    lived.wait_stored(lived.wait_sealed())
    for store in ("kafka", "postgres"):
        assert lived.verify(store).faults == []


def test_a_trimmed_chain_still_knows_what_it_reaches_back_to(lived: Pipeline) -> None:
    trim(lived.kafka, lived.topics.chain, 12)
    now_ms = int(time.time() * 1000)
    forged = forge(lived, "forged", 0, "ab" * 32, now_ms + 120_000)
    refused = dismiss(lived, forged)
    assert (refused.code, "the chain does not say that offset 0" in refused.err) == (2, True), refused
    old = forge(lived, "of last year", 0, "ab" * 32, now_ms - 3_600_000)
    said = dismiss(lived, old)
    assert (said.code, "the chain's topic no longer reaches back to it" in said.out) == (0, True), said
    assert "corrects" not in sealed(lived)[-1]["metadata"]["letters"][0]
