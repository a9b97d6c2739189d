"""Real processes on a real stack: what they serve, what they tell systemd, and how they stop and go on."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.deploy.queries import RULES, Series, expressions_of_rules, faults_of, series_of
from tests.deploy.test_dashboards import FILES, queries_of
from tests.health.conftest import PROCESSES, Away, Watched
from tests.long_runs import long_run
from tests.pipeline import Pipeline, sql, wait_until

from sealstream import errors
from sealstream.cli.settings import write_settings
from sealstream.errors import ChainStopped
from sealstream.events.statements import STATEMENTS
from sealstream.layout import figures
from sealstream.layout.figures import ALL, FIGURES, figures_of
from sealstream.sealing import new_signing_key, signer

pytestmark = long_run

Running = tuple[Pipeline, dict[str, Watched]]


def test_each_process_counts_what_it_does(watched: Running) -> None:
    pipeline, processes = watched
    chain = {"chain": pipeline.name}
    early = pipeline.event(2_000, timestamp="2036-01-01T00:00:00Z")
    pipeline.send(
        [*(pipeline.event(n, producer="p-1") for n in range(598)), b"not json", pipeline.event(0, producer="p-1")]
    )
    pipeline.send([pipeline.event(600, producer="p-1", number=605), early])
    sql(
        pipeline.admin_dsn,
        "INSERT INTO sealstream_outbox (event) VALUES (convert_to($1, 'UTF8'))",
        pipeline.event(601).decode(),
    )
    size = pipeline.wait_sealed()
    pipeline.wait_stored(size)
    pipeline.wait_archived(500)
    relay = processes["outbox-relay"]
    wait_until(lambda: relay.figure(figures.ENTRIES, **chain) == 1, 20, relay.log)
    size = pipeline.wait_quiet()

    sequencer = processes["sequencer"]
    assert sequencer.figure(figures.LAST_SEQ, **chain) == size - 1
    assert sequencer.figure(figures.REFUSED, **chain) == 1
    assert sequencer.figure(figures.DEAD_LETTERS, **chain) == 1
    assert sequencer.figure(figures.REPEATED, **chain) == 1
    assert sequencer.figure(figures.GAPS, **chain) == 1
    assert sequencer.figure(figures.MISSING_RANGES, **chain) == 1
    assert sequencer.figure(figures.STATEMENTS, action="chain.created", **chain) == 1
    assert sequencer.figure(figures.CHAIN_TAKEN, **chain) == 1
    assert 0 <= (sequencer.figure(figures.LAST_AGE, **chain) or -1) < 60
    signed = processes["checkpointing"]
    assert signed.figure(figures.CHECKPOINT_SIZE, **chain) == size
    assert signed.figure(figures.ENTRIES, **chain) == size
    assert 0 <= (signed.figure(figures.CHECKPOINT_AGE, **chain) or -1) < 60
    stored = processes["postgres-sink"]
    assert stored.figure(figures.LAST_SEQ, **chain) == size - 1
    assert stored.figure(figures.ENTRIES, **chain) == size
    archive = processes["archive-sink"]
    wait_until(lambda: archive.figure(figures.ARCHIVED_SEGMENTS, **chain) == 1, 20, archive.log)
    assert archive.figure(figures.LAST_SEQ, **chain) == 499
    rolled_up = processes["activity"]
    wait_until(lambda: rolled_up.figure(figures.LAST_SEQ, **chain) == size - 1, 20, rolled_up.log)
    assert rolled_up.figure(figures.ENTRIES, **chain) == size
    assert (rolled_up.figure(figures.ACTIVITY_RECORDS, **chain) or 0) >= 10  # actors
    for name, each in processes.items():
        behind = size - 500 if name == "archive-sink" else 0
        wait_until(lambda each=each, behind=behind: each.figure(figures.LAG_ENTRIES, **chain) == behind, 20, each.log)
        assert (each.figure(figures.BATCHES, **chain) or 0) >= 1
        assert each.figure(figures.READY) == 1
        assert each.figure(figures.STORE_REACHABLE) == 1
        assert {own for own in each.figures() if own.startswith("sealstream_")} <= {f.name for f in figures_of(name)}


def test_alert_rules_and_dashboards_name_what_is_served(watched: Running) -> None:
    _, processes = watched
    served = [series for each in processes.values() for series in series_of(each.get("/metrics")[1])]
    # Of processes that have no part in this chain, the names and the labels; of what happens seldom, all that can be.
    for figure in FIGURES:
        for process in {*figure.processes} - {*PROCESSES}:
            served.append(Series(figure.name, {"process": process, **dict.fromkeys(figure.labels, "")}))
    alarms = [name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, ChainStopped)]
    for process in ALL:
        served += [Series(figures.ALARMS.name, {"process": process, "chain": "", "kind": kind}) for kind in alarms]
    served += [
        Series(figures.STATEMENTS.name, {"process": "sequencer", "chain": "", "action": each}) for each in STATEMENTS
    ]
    for name, expression in expressions_of_rules(RULES.read_text()).items():
        assert faults_of(expression, served) == [], name
    for file in FILES:
        for expression in queries_of(file):
            assert faults_of(expression, served) == [], (file.name, expression)


def test_each_process_answers_its_probes_and_nothing_else(watched: Running) -> None:
    for name, each in watched[1].items():
        assert each.probe("/healthz") == (200, {"process": name, "alive": True, "because": []})
        assert each.probe("/readyz") == (200, {"process": name, "ready": True, "because": []})
        assert each.get("/")[0] == 404
        assert each.url().startswith("http://127.0.0.1:")


def test_systemd_is_told_that_each_is_ready_and_alive(watched: Running) -> None:
    for each in watched[1].values():
        wait_until(lambda each=each: "WATCHDOG=1" in each.heard, 10, each.log)
        assert each.heard.count("READY=1") == 1
        assert [word for word in each.heard if word.startswith("STATUS=")][-1] == "STATUS=ready"


def test_status_asks_them_all(watched: Running) -> None:
    pipeline, _ = watched
    said = pipeline.command("status", "--json", "--timeout", "30")
    document = json.loads(said.out)
    assert said.code == document["exit_code"] == 1
    assert [each["about"] for each in document["findings"] if each["severity"] != "note"] == ["dead letters"]
    assert {each["name"].removesuffix(f"-{pipeline.name}") for each in document["processes"]} == set(PROCESSES)
    assert all(each["ready"] and each["alive"] for each in document["processes"])
    (sequencer,) = (each for each in document["processes"] if each["name"] == "sequencer")
    assert sequencer["figures"][figures.LAST_SEQ.name][0]["value"] == document["chains"][0]["sealed"]["size"] - 1
    assert document["chains"][0]["letters"]["last_day"] == 1
    assert document["chains"][0]["producers"]["missing"] == 7
    assert document["chains"][0]["rolled_up"]["size"] == document["chains"][0]["sealed"]["size"]
    shown = pipeline.command("status", "--timeout", "30").out
    assert "1 record refused or too late in the last day" in " ".join(shown.split())
    assert "docs/runbooks/dead-letters.md" in shown


def test_each_stops_in_order_and_goes_on_where_it_was(watched: Running) -> None:
    pipeline, processes = watched
    before = pipeline.wait_quiet()
    for name in reversed(PROCESSES):
        begun = time.monotonic()
        assert pipeline.stop(name) == {name: 0}
        assert time.monotonic() - begun < 10
        assert "STOPPING=1" in processes[name].heard
        processes[name].close()

    down = json.loads(pipeline.command("status", "--json", "--timeout", "30").out)
    assert {each["severity"] for each in down["findings"] if "does not answer at http" in each["words"]} == {"wrong"}

    pipeline.send([pipeline.event(n, producer="p-1", number=n) for n in range(700, 710)])
    again = {name: Watched(pipeline, name) for name in PROCESSES}
    for each in again.values():
        each.wait_ready()
        assert each.heard.count("READY=1") <= 1
    after = pipeline.wait_sealed()
    pipeline.wait_stored(after)
    assert again["sequencer"].figure(figures.LAST_SEQ, chain=pipeline.name) == after - 1
    assert after >= before + 12  # ten events, `sequencer.stopped`, `sequencer.started`
    ids = pipeline.stored_ids()
    assert len(ids) == len(set(ids)) == 598 + 3 + 10
    for each in again.values():
        each.close()


@long_run
def test_a_process_whose_servers_are_away_says_so_and_still_stops_in_time(tmp_path: Path) -> None:
    key = new_signing_key("audit.example.com/away")
    (tmp_path / "away.key").write_text(key)
    (tmp_path / "away.key").chmod(0o600)
    dsn, config = "postgresql://nobody:secret@127.0.0.1:1/nothing", tmp_path / "sealstream.toml"
    write_settings(
        config,
        {
            "log": "audit.example.com",
            "kafka": {"bootstrap": "127.0.0.1:1"},
            "postgres": {"sink_dsn": dsn},
            "archive": {"endpoint_url": "http://127.0.0.1:1", "access_key": "a", "secret_key": "b"},
            "chains": {"away": {"vkey": signer(key).vkey, "key_file": "away.key"}},
            "metrics": {"ask_every_seconds": 0.5},
        },
    )
    away = Away(tmp_path, "away", config, dsn, {})
    processes = {name: Watched(away, name) for name in PROCESSES}
    try:
        for each in processes.values():
            wait_until(lambda each=each: bool(each.url()), 60, each.log)
            wait_until(lambda each=each: not each.probe("/readyz").said["ready"], 10, each.log)
            assert each.probe("/healthz").code == 200, "waiting is moving"
        begun = time.monotonic()
        for each in processes.values():
            each.process.terminate()
        assert {name: each.process.wait(30) for name, each in processes.items()} == dict.fromkeys(PROCESSES, 0)
        assert time.monotonic() - begun < 10
        assert not any("READY=1" in each.heard for each in processes.values())
    finally:
        for each in processes.values():
            each.process.kill()
            each.process.wait()
            each.close()
