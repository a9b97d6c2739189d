"""Which of the dead letters wait for somebody: purely, from what the topic holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sealstream.health import letters
from sealstream.health.letters import DeadLetters, dead_letters
from sealstream.kafka import KafkaSettings, Record
from sealstream.layout import ChainSettings, Retention
from sealstream.sequencer.judging import REPEATED, dead_letter

NOW = 1_796_947_200.0
CHAIN = ChainSettings("main", "a", "key", Retention("soc2", 366))
HOUR_S, DAY_S = 3_600, 86_400


def letter(offset: int, reason: str, age_s: float = HOUR_S) -> Record:
    made = dead_letter("audit.raw.main", offset, b"{}", bytes(32), reason)
    return Record(offset, int((NOW - age_s) * 1000), None, made.value, made.headers)


def counted(monkeypatch: pytest.MonkeyPatch, topic: list[Record], first: int = 0) -> DeadLetters:
    def read(_kafka: Any, _topic: str, _partition: int, begin: int, stop: int) -> Iterator[list[Record]]:
        yield [record for record in topic if begin <= record.offset < stop]

    monkeypatch.setattr(letters, "start_offset", lambda *_asked: first)
    monkeypatch.setattr(letters, "end_offset", lambda *_asked, **_how: topic[-1].offset + 1 if topic else first)
    monkeypatch.setattr(letters, "read_partition", read)
    return dead_letters(KafkaSettings("nobody:1"), CHAIN, NOW)


def test_a_repeat_of_what_was_sealed_long_ago_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(monkeypatch, [letter(0, REPEATED), letter(1, "timestamp: missing"), letter(2, REPEATED)])
    assert (found.kept, found.last_day, found.waiting) == (3, 1, 1)


def test_a_refused_record_is_not_hidden_behind_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    repeats = [letter(offset, REPEATED) for offset in range(1, 3_001)]
    found = counted(monkeypatch, [letter(0, "no JSON"), *repeats])
    assert (found.waiting, found.more) == (1, False)


def test_of_many_letters_the_last_are_read_and_of_old_ones_none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(monkeypatch, [letter(offset, "no JSON") for offset in range(3_000)])
    assert (found.kept, found.waiting, found.more) == (500, 500, True)
    old = [letter(offset, "no JSON", age_s=2 * DAY_S) for offset in range(2_000)]
    found = counted(monkeypatch, [*old, letter(2_000, REPEATED)])
    assert (found.kept, found.waiting, found.more) == (500, 0, True)
    assert counted(monkeypatch, []) == DeadLetters(0, False, 0)
