"""What strangers wrote is shown to a person as text: a terminal obeys none of it; a pipe gets every byte as it is."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from sealstream.cli import deadletters, dismissing, producers, retrying, stores
from sealstream.cli.fates import Fate
from sealstream.cli.harmless import harmless_lines
from sealstream.cli.letters import Letter
from sealstream.cli.search_output import destination
from sealstream.cli.verify import print_report
from sealstream.postgres import Access, Action, FailingActor
from sealstream.sequencer.producers import ProducerState, Source
from sealstream.verify import Fault, FaultKind, Report

EVIL = "a\x1b]52;c;eA==\x07b\x9b2J\u202ec"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
LETTER = Letter(1, NOW, EVIL, EVIL, 4, 30, "00", f'{{"{EVIL}":1}}'.encode())


class Terminal(io.StringIO):
    """A screen that says that it is one."""

    def isatty(self) -> bool:
        return True


def obeyed(shown: str) -> bool:
    return any(evil in shown for evil in ("\x1b]", "\x07", "\x9b", "\u202e"))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Console:
    """Where the commands print to."""
    console = Console(file=Terminal(), force_terminal=True, width=300, highlight=False)
    for module in (retrying, dismissing, producers, deadletters):
        monkeypatch.setattr(module, "out", console)
    return console


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "table",
    [
        deadletters._table([LETTER], {LETTER.record: Fate()}),
        stores.actions_table([Action("main", 1, NOW, NOW, EVIL, EVIL, EVIL, EVIL, EVIL)]),
        stores.accesses_table([Access("main", 1, NOW, NOW, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL)]),
        stores.failing_table([FailingActor(EVIL, 1, 1, NOW, NOW)]),
    ],
)
def test_no_table_holds_what_a_terminal_obeys(screen: Console, table: RenderableType) -> None:
    screen.print(table)
    assert "\\x1b]52" in text_of(screen)
    assert not obeyed(text_of(screen))


def test_neither_does_a_correction_a_list_of_producers_or_a_verdict(screen: Console) -> None:
    corrected = json.dumps({f"{EVIL}new": EVIL}, ensure_ascii=False).encode()
    retrying._show(LETTER, retrying._Correction(corrected, "id", [EVIL]), None, None)
    dismissing._show([LETTER], {1: None}, EVIL)
    dismissing._show([LETTER] * 21, {1: None}, EVIL)
    state = ProducerState(next=1, last_seen="2026-11-24T03:00:00.000000Z", source=Source(EVIL, EVIL))
    producers._print("main", [producers.Producer(EVIL, "event", state)], 5, NOW, 1, 0)
    report = Report("archive", "main", "o", NOW, faults=[Fault(FaultKind.STALE, EVIL, EVIL)], notes=[EVIL])
    print_report(report, screen)
    assert text_of(screen).count("\\x1b]52") >= 13
    assert not obeyed(text_of(screen))


def test_json_stays_json_on_a_terminal_and_bytes_stay_bytes_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.dumps({"who": "ü\x7f\x9b\u202e", "more": "\x1b"}, ensure_ascii=False).encode()
    for form in (Terminal, io.StringIO):
        monkeypatch.setattr(sys, "stdout", form())
        with destination(None, "json") as (stream, terminal):
            for at in range(len(document)):
                stream.write(document[at : at + 1])
        written: Any = sys.stdout
        shown = written.getvalue()
        assert json.loads(shown) == json.loads(document)
        assert (terminal, obeyed(shown), "\x7f" in shown) == (
            (True, False, False) if form is Terminal else (False, True, True)
        )


def test_lines_and_tabs_are_left_as_they_are() -> None:
    assert harmless_lines("a\tb\r\nc\rd\x1b[2J\x85") == "a\tb\r\nc\\u000dd\\u001b[2J\\u0085"
