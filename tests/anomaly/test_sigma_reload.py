"""Sigma rules of a running `sealstream run anomaly`: read again as they change; a wrong one is named, others run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.anomaly.bench import BEGIN_S, CHAIN, WatchBench
from tests.long_runs import long_run

from sealstream.anomaly.detecting import second_at
from sealstream.kafka import KafkaSettings
from sealstream.layout.activity import Activity, Cell
from sealstream.layout.alerts import decode_alert

RULE = """
title: A record was {verb}
name: {verb}
logsource: {{product: sealstream}}
detection:
  selection: {{action: record.{verb}}}
  condition: selection
level: high
"""
WRONG = """
title: A process was started
name: started
logsource: {product: sealstream}
detection:
  selection:
    CommandLine|contains: mimikatz
  condition: selection
"""


@pytest.fixture
def bench(kafka: KafkaSettings, tmp_path: Path) -> Iterator[WatchBench]:
    (tmp_path / "rules").mkdir()
    made = WatchBench(kafka, tmp_path)
    made.more_settings = f'sigma_rules = "{tmp_path}/rules"\n'
    made.write_settings(8, 15)
    yield made
    made.close()


def did(actor_id: str, action: str, second: int) -> Activity:
    cell = Cell(action, "patient_record", "success", "user", 1, [[second, second]], "10.0.0.1", resources=["00000000"])
    return Activity(CHAIN, second_at(BEGIN_S + second), actor_id, [cell])


def subjects(bench: WatchBench, rule: str) -> list[str]:
    return [alert.subject for alert in map(decode_alert, bench.alerts()) if rule in alert.detector]


@long_run
def test_rules_are_read_again_when_they_change_and_a_wrong_one_is_named(bench: WatchBench) -> None:
    rules = bench.folder / "rules"
    (rules / "deleted.yml").write_text(RULE.format(verb="deleted"))
    bench.start()
    bench.send([did("ann", "record.deleted", 1), did("ann", "record.printed", 2)])
    bench.wait(lambda: subjects(bench, "deleted") == ["ann"], 90)
    before = bench.worker().pid
    (rules / "printed.yml").write_text(RULE.format(verb="printed"))
    (rules / "wrong.yml").write_text(WRONG)
    bench.wait(lambda: "wrong.yml" in bench.log(lines=200), 60)
    assert "CommandLine" in bench.log(lines=200)
    bench.wait(lambda: bench.worker().pid != before, 60)
    bench.send([did("bob", "record.printed", 3), did("bob", "record.deleted", 4)])
    bench.wait(lambda: subjects(bench, "printed") == ["bob"], 90)
    assert subjects(bench, "deleted") == ["ann", "bob"]
    assert bench.stop() == 0
