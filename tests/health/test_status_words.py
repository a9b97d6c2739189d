"""What status says is wrong, in words, and with which page: pure, from what stores and processes answered."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from rich.console import Console
from tests.pipeline import say

from sealstream.cli.last_words import last_error
from sealstream.cli.main import run
from sealstream.cli.settings import Settings, write_settings
from sealstream.cli.status import processes_of
from sealstream.cli.status_view import screen
from sealstream.errors import RolledBack, Unavailable
from sealstream.health.asking import (
    Archived,
    Producers,
    RolledUp,
    Sealed,
    Signed,
    Stored,
    Trouble,
    at_once,
    check_listens,
)
from sealstream.health.judging import ChainView, Finding, ProcessView, exit_code, findings
from sealstream.health.letters import DeadLetters
from sealstream.health.views import LateReview
from sealstream.kafka.settings import TopicMissing
from sealstream.layout.figures import ALL, FORWARD_LAG, FORWARD_LAG_SECONDS, LAG_ENTRIES, LAG_SECONDS, Figure
from sealstream.sealing import new_signing_key, signer

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
WELL = ChainView(
    "main",
    closed=False,
    segment_entries=100_000,
    segment_seconds=300,
    sealed=Sealed(1_000, NOW - 5, 0, None),
    signed=Signed(1_000, NOW - 4, 900, NOW - 200),
    letters=DeadLetters(0, False, 0),
    producers=Producers(3, 0, 0, 0),
    stored=Stored(1_000, NOW - 5, 1_100),
    archived=Archived(900, NOW - 210),
)
NEVER_SIGNED = {"signed": Signed(0, None, 0, None), "archived": Archived(0, None)}
RUNNING = ProcessView("sequencer", "running", url="http://127.0.0.1:1", alive=True, ready=True)


def found(view: ChainView | None = None, *processes: ProcessView) -> list[Finding]:
    return findings(processes, [view] if view is not None else [], NOW)


def test_nothing_is_said_of_what_is_well() -> None:
    assert found(WELL, RUNNING) == []
    assert exit_code([]) == 0


@pytest.mark.parametrize(
    ("change", "words", "page"),
    [
        ({"sealed": Sealed(1_000, NOW - 5, 12, NOW - 400)}, "12 events not sealed, the oldest for 6 min", "operating"),
        ({"sealed": Sealed(1_000, NOW - 300, 0, None)}, "not even the heartbeat of each minute", "operating"),
        (
            {"signed": Signed(900, NOW - 300, 900, NOW - 400)},
            "100 entries not signed, the last checkpoint is 5 min old",
            "",
        ),
        ({"signed": Signed(1_001, NOW, 900, NOW - 200)}, "1,001 entries, but Kafka holds 1,000: it was", "lost-kafka"),
        ({"stored": Stored(1_500, NOW, 0)}, "Postgres holds 1,500 entries, but Kafka holds 1,000", "lost-kafka"),
        ({"archived": Archived(1_100, NOW)}, "the archive holds 1,100 entries", "lost-kafka"),
        ({"stored": Stored(7, None, 7), "behind_since": NOW - 600}, "Postgres is 993 entries behind", "lagging-sink"),
        (
            {"archived": Archived(0, None), "signed": Signed(1_000, NOW, 900, NOW - 700)},
            "900 entries of ended",
            "lagging",
        ),
        ({"archived": Archived(800, NOW - 90_001)}, "25 h old", "lagging-sink"),
        (
            {"archived": Archived(0, None), "unarchived_since": NOW - 3_600},
            "900 entries of ended segments not archived; the archive holds nothing, the first segment ended 60 min ago",
            "lagging",
        ),
        (
            NEVER_SIGNED | {"began_at": NOW - 3_600},
            "none is signed, the oldest came 60 min ago",
            "operating",
        ),
        (
            NEVER_SIGNED | {"sealed": Sealed(1_000, NOW - 170, 0, None)},
            "1,000 entries, none is signed, the oldest came at least 2 min ago",
            "operating",
        ),
        (
            {"signed": Signed(1_000, NOW - 4, 0, None), "archived": Archived(0, None), "began_at": NOW - 90_001},
            "no segment has ended since its first entry came 25 h ago",
            "operating",
        ),
        (
            {"rolled_up": RolledUp(400, NOW - 900, 440), "untold_since": NOW - 840},
            "600 entries not rolled up, the oldest for 14 min: no alert can come of them",
            "operating",
        ),
        (
            {"late_reviews": (LateReview("2026-10", NOW - 9e6), LateReview("2026-11", NOW - 3 * 86_400))},
            "the review of 2026-11 is overdue for 3 days, and 1 older one, too",
            "docs/reviews",
        ),
        ({"letters": DeadLetters(9, False, 1)}, "1 record refused or too late in the last day", "dead-letters"),
        ({"letters": DeadLetters(9, False, 3, 2)}, "1 record refused or too late in the last day (2 more were", "dead"),
        (
            {"letters": DeadLetters(9, False, 4, 2, 1)},
            "1 record refused or too late in the last day (2 more were sent",
            "",
        ),
        ({"letters": DeadLetters(9, False, 4, 2, 1)}, "again since, 1 dismissed): `sealstream deadletter list", "dead"),
        ({"letters": DeadLetters(9, False, 2, 0, 1)}, "last day (1 more were dismissed): `sealstream", "dead-letters"),
        ({"signed": Trouble("not signed by the chain's key", "", True)}, "Kafka: not signed by", "lost-kafka"),
    ],
)
def test_what_is_wrong_is_said_with_its_page(change: dict[str, object], words: str, page: str) -> None:
    (said,) = found(WELL._replace(**change))
    assert said.severity == "wrong"
    assert words in said.words
    assert page in said.page
    assert (ROOT / said.page).is_file(), said.page
    assert exit_code([said]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"signed": Signed(900, NOW - 9e6, 900, NOW - 9e6)},
        {"signed": Signed(1_200, NOW - 9e6, 900, NOW - 9e6)},
        {"stored": Stored(1_200, NOW - 9e6, 1_100)},
        {"stored": Stored(800, NOW - 9e6, 900), "behind_since": NOW - 9e6},
        {"archived": Archived(1_200, NOW - 9e6)},
        {"archived": Archived(100, NOW - 9e6)},
    ],
)
def test_of_a_closed_chain_nothing_is_wrong_that_no_process_will_ever_do(change: dict[str, object]) -> None:
    closed = WELL._replace(closed=True, sealed=Sealed(1_000, NOW - 9e6, 0, None))
    assert found(closed._replace(**change), RUNNING) == []
    assert found(WELL._replace(**change), RUNNING) != []


def test_a_closed_chains_lost_topics_are_a_note_and_a_forged_checkpoint_is_not() -> None:
    lost = Trouble("topic audit.chain.main does not exist", TopicMissing.runbook, is_wrong=True)
    assert [each.severity for each in found(WELL._replace(sealed=lost))] == ["wrong"]
    closed = WELL._replace(closed=True)
    assert {each.severity for each in found(closed._replace(sealed=lost, rolled_up=lost))} == {"note"}
    forged = Trouble("no signature of the key", "", is_wrong=True)
    assert [each.severity for each in found(closed._replace(signed=forged))] == ["wrong"]
    screened = io.StringIO()
    Console(file=screened, width=120).print(screen([], [], [closed._replace(sealed=lost)], [], NOW))
    assert "Kafka has no topic of it" in screened.getvalue()


@pytest.mark.parametrize("archived", [None, Archived(0, None)])
def test_a_closed_chain_that_no_store_holds_is_wrong(archived: Archived | None) -> None:
    lost = Trouble("topic audit.chain.main does not exist", TopicMissing.runbook, is_wrong=True)
    silent = {"sealed": lost, "signed": lost, "letters": lost, "producers": lost}
    nowhere = WELL._replace(**silent, closed=True, stored=Stored(0, None, 0), archived=archived)
    (said,) = found(nowhere)
    assert (said.severity, said.page) == ("wrong", "docs/runbooks/lost-kafka.md")
    assert "no other store holds an entry of it" in said.words
    down = Trouble("connection refused")
    assert {each.severity for each in found(nowhere._replace(stored=down))} == {"note", "unknown"}
    assert {each.severity for each in found(nowhere._replace(stored=Stored(9, None, 0)))} == {"note"}


def test_of_a_closed_chain_letters_are_a_note_and_silent_producers_are_as_they_should_be() -> None:
    change = {"letters": DeadLetters(3, False, 3), "producers": Producers(3, 2, 0, 0)}
    assert sorted(each.severity for each in found(WELL._replace(**change))) == ["note", "wrong"]
    (said,) = found(WELL._replace(**change, closed=True))
    assert said.severity == "note"
    assert "3 records refused" in said.words


def test_a_closed_chains_ports_and_those_of_what_is_not_set_up_are_asked_no_more() -> None:
    ports = ("sequencer", "checkpointing", "postgres-sink", "checkpointing-main-r2", "forward", "watch")
    section = {"vkey": "v", "key_file": "k", "retention": "soc2"}
    closed = section | {"closed_at": "2026-11-24T03:00:00.000000Z", "continued_as": "main-r2"}
    settings = Settings.model_validate(
        {
            "log": "log.example",
            "chains": {"main": closed, "main-r2": section},
            "archive": {"bucket": ""},
            "metrics": {"ports": {name: 9_100 + number for number, name in enumerate(ports)}},
        }
    )
    asked = {view.name for view in processes_of(settings, [], NOW)}
    assert asked == {"sequencer", "checkpointing-main-r2", "postgres-sink-main-r2", "watch"}


def test_what_is_asked_where_each_chain_has_a_sequencer_and_others_machines_have_more() -> None:
    ports = {"sequencer": 9_100, "sequencer-main-r2": 9_101, "archive-sink-main-r2": 9_102}
    section = {"vkey": "v", "key_file": "k", "retention": "soc2"}
    closed = section | {"closed_at": "2026-11-24T03:00:00.000000Z", "continued_as": "main-r2"}
    members = {
        "log": "log.example",
        "chains": {"main": closed, "main-r2": section},
        "archive": {"bucket": ""},
        "metrics": {"ports": ports, "targets": {"forward": "http://10.0.0.5:9471"}},
    }
    own = {"checkpointing-main-r2", "postgres-sink-main-r2", "forward"}
    settings = Settings.model_validate(members)
    assert {view.name for view in processes_of(settings, [], NOW)} == own | {"sequencer-main-r2"}
    del members["chains"]["main-r2"]  # type: ignore[attr-defined]
    assert {view.name for view in processes_of(Settings.model_validate(members), [], NOW)} == {
        "sequencer-main-r2",
        "archive-sink-main-r2",
        "forward",
    }


def test_an_idle_chain_and_a_burst_are_no_faults() -> None:
    idle = {"sealed": Sealed(1_000, NOW - 61, 0, None), "signed": Signed(999, NOW - 119, 900, NOW - 40_000)}
    assert found(WELL._replace(**idle, archived=Archived(900, NOW - 40_100))) == []
    burst = {"sealed": Sealed(90_000, NOW, 5_000, NOW - 2), "signed": Signed(88_000, NOW - 1, 900, NOW - 200)}
    assert found(WELL._replace(**burst, behind_since=NOW - 20)) == []
    counting = {"rolled_up": RolledUp(998, NOW - 1, 1_090), "untold_since": NOW - 1}
    assert found(WELL._replace(**counting)) == []
    first_after_a_quiet_day = {"signed": Signed(1_000, NOW, 1_000, NOW - 10), "archived": Archived(900, NOW - 70_000)}
    assert found(WELL._replace(**first_after_a_quiet_day)) == []


def test_a_chain_that_just_began_is_no_fault() -> None:
    began = {"sealed": Sealed(40, NOW - 1, 0, None), "stored": Stored(40, NOW - 1, 44)}
    assert found(WELL._replace(**began, **NEVER_SIGNED, began_at=NOW - 100)) == []
    first = {"signed": Signed(40, NOW - 1, 40, NOW - 30), "archived": Archived(0, None), "unarchived_since": NOW - 500}
    assert found(WELL._replace(**began, **first)) == []
    (said,) = found(WELL._replace(**NEVER_SIGNED))
    assert said.severity == "unknown"
    assert "nothing is signed, and when its first entry came could not be asked" in said.words
    assert found(WELL._replace(sealed=Sealed(0, None, 0, None), **NEVER_SIGNED, stored=Stored(0, None, 0)))[1:] == []


def test_where_there_is_no_archive_nothing_is_missed_in_it() -> None:
    assert found(WELL._replace(archived=None, signed=Signed(1_000, NOW, 900, NOW - 90_000)), RUNNING) == []


def test_a_store_that_does_not_answer_is_unknown_and_hides_nothing() -> None:
    down = Trouble("nobody answers at 127.0.0.1:5432: Connection refused")
    said = found(WELL._replace(stored=down, letters=DeadLetters(5, False, 5)))
    assert [each.severity for each in said] == ["wrong", "unknown"]
    assert said[1].words == "Postgres does not answer: nobody answers at 127.0.0.1:5432: Connection refused"
    assert said[1].page == "docs/runbooks/lost-postgres.md"
    full = Trouble('connecting to Postgres: Postgres says too many connections for role "s" [53300]')
    (refused,) = found(WELL._replace(stored=full))
    page, _, section = refused.page.partition("#")
    assert section == "what-postgres-says"
    assert "### What Postgres says" in (ROOT / page).read_text()
    kafka = dict.fromkeys(("sealed", "signed", "letters", "producers"), Trouble("no answer within 3.5 s"))
    (one,) = found(WELL._replace(**kafka))
    assert one.words == "Kafka does not answer: no answer within 3.5 s"
    assert exit_code([one]) == 2


def test_gaps_and_silence_are_worth_a_look_and_no_alarm() -> None:
    said = found(WELL._replace(producers=Producers(5, 2, 1, 44)))
    assert [each.severity for each in said] == ["note", "note"]
    assert "44 numbers of 1 producer never came" in said[0].words
    assert "2 producers silent for a day" in said[1].words
    assert exit_code(said) == 0


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (
            RUNNING._replace(state="stopped: alarm", because=("two roots",), runbook="docs/runbooks/fork.md"),
            "two roots",
        ),
        (RUNNING._replace(state="restarting", exit_code=2), "ended with exit code 2 and is started again"),
        (
            RUNNING._replace(
                state="starting", exit_code=2, restarts=4, last_error="connecting to Postgres: password ... failed"
            ),
            "ended with exit code 2 (restarted 4 times so far) and was started again 0 s ago: connecting to Postgres: "
            "password ... failed; `sealstream config check`",
        ),
        (
            RUNNING._replace(exit_code=2, restarts=2, running_s=9.0),
            "started again 9 s ago: `sealstream logs sequencer`",
        ),
        (RUNNING._replace(state=None, trouble="Connection refused"), "does not answer at http://127.0.0.1:1"),
        (RUNNING._replace(alive=False, because=("the loop has not moved for 300 s",)), "stands: the loop has not"),
        (RUNNING._replace(ready=False, because=("postgres does not answer",)), "is not ready: postgres does not"),
    ],
)
def test_a_process_says_what_it_lacks(process: ProcessView, words: str) -> None:
    (said,) = found(None, process)
    assert (said.severity, said.about) == ("wrong", "sequencer")
    assert words in said.words
    assert (ROOT / said.page).is_file()


@pytest.mark.parametrize(
    ("name", "entries", "seconds", "label"),
    [
        ("forward", FORWARD_LAG, FORWARD_LAG_SECONDS, "target"),
        ("sequencer", LAG_ENTRIES, LAG_SECONDS, "chain"),
    ],
)
def test_what_lags_in_several_places_waits_as_long_as_the_oldest_of_them(
    name: str, entries: Figure, seconds: Figure, label: str
) -> None:
    waits = {"soc": (7, 240.0), "siem": (1_000, 90.0), "mail": (0, 0.0)}
    told = {(entries.name, ((label, each),)): float(count) for each, (count, _) in waits.items()}
    told |= {(seconds.name, ((label, each),)): oldest for each, (_, oldest) in waits.items()}
    console = Console(file=io.StringIO(), width=200)
    console.print(screen([], [ProcessView(name, url="http://127.0.0.1:1", told=told)], [], [], NOW))
    assert "1,007, 4 min" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_process_that_has_just_been_started_is_waited_for() -> None:
    (said,) = found(None, RUNNING._replace(ready=False, because=("it is starting",), running_s=3.0))
    assert (said.severity, said.words) == ("unknown", "sequencer was started 3 s ago: it is starting")


def test_what_is_starting_is_not_well_yet() -> None:
    said = found(None, RUNNING._replace(name="kafka", state="starting", url="", alive=None, ready=None))
    assert [(each.severity, each.words) for each in said] == [("unknown", "kafka is starting")]
    assert exit_code(said) == 2
    assert found(WELL._replace(letters=DeadLetters(9, False, 3, 1, 2))) == []
    assert found(WELL._replace(letters=DeadLetters(9, False, 3, 3)), RUNNING._replace(restarts=1, exit_code=-9)) == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"level": "error", "reason": "no such role"}', '{"level": "info", "event": "started"}'], "no such role"),
        (["sealstream: error: no \x1b[2Jkey", "what to do: docs/x.md", "%3|1|FAIL|rdkafka"], "error: no \\x1b[2Jkey"),
        (["Traceback (most recent call last):", "  File x", "ValueError: seven"], "ValueError: seven"),
        (["[2026-11-24] ERROR disk", "[2026-11-24] INFO bye"], "[2026-11-24] ERROR disk"),
        (["bye"], "bye"),
        (['{"level": "warning", "event": "waiting"}'], ""),
    ],
)
def test_why_a_program_ended_is_the_last_error_in_its_log(lines: list[str], words: str) -> None:
    assert last_error(lines) == words


def test_a_producers_clock_that_is_ahead_is_told() -> None:
    labels = (("bound", "least"), ("chain", "main"), ("process", "sequencer"))
    (said,) = found(None, RUNNING._replace(told={("sealstream_producer_clock_skew_seconds", labels): -7_300.0}))
    assert (said.severity, said.words) == ("note", "a producer's clock is 2 h ahead of the broker's")


def test_all_is_asked_at_once_and_given_up_in_time() -> None:
    def late() -> str:
        time.sleep(5)
        return "too late"

    def away() -> str:
        raise Unavailable("nobody there")

    def rolled_back() -> str:
        raise RolledBack("less than was signed")

    begun = time.monotonic()
    answers = at_once(
        {"late": late, "away": away, "rolled back": rolled_back, "bug": lambda: str(1 / 0), "well": lambda: "yes"}, 0.3
    )
    assert time.monotonic() - begun < 2
    assert answers["late"] == Trouble("no answer within 0.3 s")
    assert answers["away"] == Trouble("nobody there")
    assert answers["rolled back"] == Trouble("less than was signed", RolledBack.runbook, True)
    assert answers["bug"] == Trouble("ZeroDivisionError: division by zero")
    assert answers["well"] == "yes"


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(Unavailable) as raised:
        check_listens(["postgresql://reader:secret@127.0.0.1:1/sealstream"])
    assert re.search(r"^nobody answers at 127\.0\.0\.1:1: .*refused", str(raised.value))


def test_status_works_when_everything_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    key = new_signing_key("audit.example.com/main")
    write_settings(
        tmp_path / "sealstream.toml",
        {
            "log": "audit.example.com",
            "kafka": {"bootstrap": "127.0.0.1:1"},
            "postgres": {"reader_dsn": "postgresql://reader:secret@127.0.0.1:1/sealstream"},
            "archive": {"endpoint_url": "http://127.0.0.1:1"},
            "chains": {"main": {"vkey": signer(key).vkey}},
        },
    )
    begun = time.monotonic()
    said = say(tmp_path / "sealstream.toml", "status")
    assert time.monotonic() - begun < 5
    assert said.code == 2
    for store in ("Kafka", "Postgres", "the archive"):
        assert f"{store} does not answer: nobody answers at 127.0.0.1:1: Connection refused" in said.out
    assert "secret" not in said.out
    write_settings(tmp_path / "sealstream.toml", {"archive": {"bucket": ""}})
    assert "archive" not in say(tmp_path / "sealstream.toml", "status").out
    write_settings(tmp_path / "sealstream.toml", {"archive": {"bucket": "audit-archive"}})
    write_settings(tmp_path / "sealstream.toml", {"metrics": {"ports": {"sequencer": 1}}})
    said = say(tmp_path / "sealstream.toml", "status", "--json")
    told = json.loads(said.out)
    assert (said.code, told["verdict"], told["exit_code"]) == (1, "wrong", 1)
    assert told["findings"][0]["words"] == "sequencer does not answer at http://127.0.0.1:1: Connection refused"
    assert {each["name"] for each in told["processes"]} == {*ALL[:4]}


def test_the_data_directory_that_is_named_wins_over_the_settings_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALSTREAM_CONFIG", raising=False)
    key = signer(new_signing_key("audit.example.com/main"))
    write_settings(tmp_path / "sealstream.toml", {"kafka": {"bootstrap": "127.0.0.1:1"}, "chains": {}})
    write_settings(
        tmp_path / "other" / "sealstream.toml",
        {"kafka": {"bootstrap": "127.0.0.1:1"}, "chains": {"main": {"vkey": key.vkey}}},
    )
    for words, chains in ((["status", "--json"], []), (["status", "--json", "-d", "other"], ["main"])):
        run(words)
        assert [each["chain"] for each in json.loads(capsys.readouterr().out)["chains"]] == chains
