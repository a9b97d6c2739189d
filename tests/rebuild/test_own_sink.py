"""A user's own sink: filled from either source, resumed, proven, swapped; and told what it does wrong."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.pipeline import say
from tests.rebuild.long_runs import long_run

from sealstream.errors import ChainBroken, Forked, Misconfigured
from sealstream.kafka import read_until_end
from sealstream.layout import ChainTopics
from sealstream.rebuild import SinkEntry, SinkReplay, load_sink

EXAMPLE = Path(__file__).parents[2] / "examples" / "sqlite-sink"


class ListSink:
    """Keeps everything in memory; `kept` by its target."""

    kept: dict[str, list[SinkEntry]] = {}  # noqa: RUF012

    def __init__(self, target: str) -> None:
        self.entries = self.kept.setdefault(target, [])

    def position(self) -> int:
        return len(self.entries)

    def store(self, entries: Sequence[SinkEntry]) -> None:
        self.entries += entries

    def close(self) -> None:
        pass


@pytest.fixture
def in_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The working directory is a copy of the example's folder."""
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def rows(file: Path) -> list[tuple[int, str, str, bytes]]:
    with sqlite3.connect(file) as db:
        return db.execute("SELECT seq, actor, body, hash FROM entry ORDER BY seq").fetchall()


@pytest.mark.parametrize("source", ["archive", pytest.param("kafka", marks=long_run)])
def test_the_example_is_filled_and_proven_as_its_readme_says(stores, in_example: Path, source: str):
    command = [
        "replay",
        "sqlite_sink:SqliteSink",
        "--to",
        "audit.db",
        "--from",
        source,
        "--chain",
        stores.settings.name,
    ]
    said = say(stores.config, *command)
    assert said.code == 0, said.err
    size = stores.made.size if source == "kafka" else stores.made.archived_size()
    assert f"{size:,} entries stored in audit.db" in said.out
    assert f"its hashes fold to the root that was signed over {size:,} entries" in said.out
    found = rows(in_example / "audit.db")
    assert [row[3] for row in found] == stores.made.hashes[:size]
    assert [row[2].encode() for row in found] == [value[:-154] + b"}" for value in stores.made.values[:size]]
    assert "0 entries stored" in say(stores.config, *command).out
    # That entries left the log's own stores is itself in the log.
    control = ChainTopics.of(stores.settings.name).control
    said = [json.loads(record.value or b"") for batch in read_until_end(stores.kafka, control) for record in batch]
    begin, end = [each["metadata"] for each in said if each["action"] == "log.read"][-4:-2]
    assert (begin["what"], begin["query"], begin["store"]) == ("export", "replay sqlite_sink:SqliteSink", source)
    assert (end["rows"], end["outcome"]) == (size, "complete")


@long_run
def test_what_the_archive_gave_kafka_goes_on_with(stores):
    target = f"both-{stores.settings.name}"
    for archive, kafka in ((stores.archive, None), (None, stores.kafka)):
        replay = SinkReplay(stores.settings, ListSink, target, archive, kafka)
        replay.fill()
        assert replay.prove() is None, "this class can't tell its hashes"
        replay.close()
    assert [entry.hash for entry in ListSink.kept[target]] == stores.made.hashes
    assert [entry.fields["written"]["seq"] for entry in ListSink.kept[target]] == list(range(stores.made.size))
    assert [entry.prev_hash for entry in ListSink.kept[target]][1:] == stores.made.hashes[:-1]


@long_run
def test_a_live_file_is_replaced_only_when_the_new_one_is_proven(stores, in_example: Path):
    live = in_example / "audit.db"
    command = [
        "replay",
        "sqlite_sink:SqliteSink",
        "--to",
        str(live),
        "--from",
        "archive",
        "--chain",
        stores.settings.name,
    ]
    assert say(stores.config, *command).code == 0
    with sqlite3.connect(live) as db:
        db.execute("UPDATE entry SET hash = x'00' WHERE seq = 5")
    reader = sqlite3.connect(live)
    said = say(stores.config, *command)
    assert said.code == 1
    assert "do not hash to the root that chain" in said.err
    said = say(stores.config, *command, "--afresh")
    assert said.code == 0, said.err
    assert "was put in the place of" in said.out
    assert not Path(f"{live}.beside").exists()
    assert len(rows(live)[5][3]) == 32
    assert reader.execute("SELECT count(*) FROM entry").fetchone()[0] == stores.made.archived_size()
    reader.close()


@long_run
def test_a_replay_that_is_killed_goes_on_where_the_sink_stands(stores, in_example: Path):
    slow = (
        (in_example / "sqlite_sink.py")
        .read_text()
        .replace("        with self._db:", "        import time\n        time.sleep(0.4)\n        with self._db:")
    )
    (in_example / "slow_sink.py").write_text(slow)
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(stores.config), "replay"]
    command += ["slow_sink:SqliteSink", "--to", "audit.db", "--from", "kafka", "--chain", stores.settings.name]
    process = subprocess.Popen(command, cwd=in_example)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        try:
            if rows(in_example / "audit.db"):
                break
        except sqlite3.OperationalError:
            pass
        time.sleep(0.1)
    process.kill()
    process.wait()
    held = len(rows(in_example / "audit.db"))
    assert 0 < held < stores.made.size
    said = say(stores.config, "replay", "sqlite_sink:SqliteSink", "--to", "audit.db", "--from", "kafka", "--chain",
               stores.settings.name)  # fmt: skip
    assert f"{stores.made.size - held:,} entries stored" in said.out
    assert [row[3] for row in rows(in_example / "audit.db")] == stores.made.hashes


def test_nothing_forged_is_handed_over(stores, archive_copy: Path):
    objects = sorted(archive_copy.glob("entries/*/*/*.parquet"))
    shutil.copyfile(objects[3], objects[2])
    target = f"forged-{stores.settings.name}"
    replay = SinkReplay(stores.settings, ListSink, target, archive_copy, None)
    with pytest.raises((ChainBroken, Forked)):
        replay.fill()
    replay.close()
    assert [entry.hash for entry in ListSink.kept[target]] == stores.made.hashes[: replay.position]


class Forgetful(ListSink):
    """Its position is not where its data is."""

    def position(self) -> int:
        return len(self.entries) // 2


def test_a_sink_whose_position_is_not_its_datas_is_told_so(stores):
    replay = SinkReplay(stores.settings, Forgetful, f"forgetful-{stores.settings.name}", stores.archive, None)
    with pytest.raises(ChainBroken, match="it must keep its position with its data"):
        replay.fill()
    replay.close()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("sqlite", "expected postgres, archive or module:Class"),
        ("no_such_module:Sink", "can't be loaded: No module named 'no_such_module'"),
        ("os:getcwdx", "can't be loaded"),
        ("collections:OrderedDict", "lacks position, store, close"),
    ],
)
def test_a_name_that_is_no_sink_is_told_so(path: str, told: str):
    with pytest.raises(Misconfigured, match=told):
        load_sink(path)


@long_run
def test_the_command_asks_for_what_it_needs(stores):
    base = ["replay", "os:x", "--chain", stores.settings.name]
    assert "--to is missing" in say(stores.config, *base, "--from", "kafka").err
    assert "--follow needs --from kafka" in say(stores.config, *base, "--from", "archive", "--to", "x", "--follow").err
    assert say(stores.config, "replay", "postgres", "--from", "kafka", "--to", "x").code == 2
    assert os.getcwd()
