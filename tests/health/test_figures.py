"""The figures: one list for code, registry and the table in docs/operating.md; and what a batch adds to them."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sealstream.events import canonical_event
from sealstream.health import Vitals
from sealstream.health.collecting import registry_of
from sealstream.health.lagging import lag_in_chain
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, Figures, figures, named_retention
from sealstream.layout.figures import AGES, ALL, FIGURES, figures_of
from sealstream.sequencer.counting import clock_skews

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


def test_the_reference_is_the_list() -> None:
    rows = re.findall(r"^\| `(sealstream_\w+)` \| (\w+) \| (.*?) \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    told = {name: (kind, labels, of, meaning) for name, kind, labels, of, meaning in rows}
    expected = {
        figure.name: (
            figure.kind,
            ", ".join(f"`{label}`" for label in figure.labels),
            "all" if figure.processes == ALL else ", ".join(figure.processes),
            figure.meaning,
        )
        for figure in FIGURES
    }
    assert told == expected


def test_names_follow_prometheus_conventions() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
    for figure in FIGURES:
        assert figure.name.endswith("_total") == (figure.kind == "counter")
        assert figure.meaning.endswith(".")
        assert not re.search(r"_(ms|millis|minutes|kb)\b", figure.name)


def test_each_process_has_a_registry_of_its_own_with_every_figure_of_its() -> None:
    for process in ALL:
        tally = Figures()
        for figure in figures_of(process):
            if figure not in AGES:
                tally.add(figure, 3.0, *figure.labels)
        told = list(
            text_string_to_metric_families(generate_latest(registry_of(Vitals(process, ("main",), tally))).decode())
        )
        samples = {sample.name: sample for family in told for sample in family.samples}
        assert {figure.name for figure in figures_of(process)} <= set(samples)
        assert "process_resident_memory_bytes" in samples
        assert samples[figures.BATCHES.name].labels == {"process": process, "chain": "chain"}


def test_ages_are_reckoned_when_somebody_asks() -> None:
    tally = Figures()
    tally.set(figures.CHECKPOINT_TIME, 1_000.0, "main")
    registry = registry_of(Vitals("checkpointing", ("main",), tally), wall=lambda: 1_075.0)
    labels = {"process": "checkpointing", "chain": "main"}
    assert registry.get_sample_value(figures.CHECKPOINT_AGE.name, labels) == 75
    assert registry.get_sample_value(figures.CHECKPOINT_TIME.name, labels) == 1_000


def test_a_count_begins_at_zero_so_that_its_first_is_seen() -> None:
    registry = registry_of(Vitals("sequencer", ("main", "phi"), tally := Figures()))
    labels = {"process": "sequencer", "chain": "main"}
    assert registry.get_sample_value(figures.DEAD_LETTERS.name, labels) == 0
    assert registry.get_sample_value(figures.RESTARTS.name, {"process": "sequencer", "chain": ""}) == 0
    assert registry.get_sample_value(figures.LAG_ENTRIES.name, labels) is None  # not known is not none
    tally.add(figures.DEAD_LETTERS, 2, "main")
    assert registry.get_sample_value(figures.DEAD_LETTERS.name, labels) == 2
    assert registry.get_sample_value(figures.DEAD_LETTERS.name, labels | {"chain": "phi"}) == 0
    watched = registry_of(Vitals("anomaly", (), Figures()))
    assert watched.get_sample_value(figures.DETECTOR_FAILURES.name, {"process": "anomaly"}) == 0


def test_a_tally_is_read_while_it_is_written() -> None:
    tally, done = Figures(), threading.Event()

    def write() -> None:
        for n in range(20_000):
            tally.set(figures.STATEMENTS, n, "main", f"action-{n % 5_000}")
            tally.add(figures.ENTRIES, 1, "main")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        tally.values()
    thread.join()
    assert tally.value(figures.ENTRIES, "main") == 20_000


def test_a_clock_that_is_ahead_is_seen_in_any_of_many_entries() -> None:
    def entry(n: int, timestamp: str) -> bytes:
        event = canonical_event(
            {
                "id": f"00000000-0000-4000-8000-{n:012d}",
                "timestamp": timestamp,
                "actor_id": "user-1",
                "actor_type": "user",
                "action": "read",
                "resource_type": "record",
                "resource_id": "1",
                "result": "success",
            }
        )
        written = (
            b',"written":{"chain":"main","control_offset":-1,"kind":"event","raw_offset":0,"received_at":'
            b'"2026-11-24T03:00:10.000000Z","seq":0,"sequenced_at":"2026-11-24T03:00:11.000000Z","v":1}}'
        )
        return event[:-1] + written

    behind, ahead = entry(1, "2026-11-24T03:00:00Z"), entry(2, "2026-11-24T04:00:00Z")
    assert clock_skews([]) == []
    assert clock_skews([b"{}", behind]) == [10.0]
    skews = clock_skews([ahead, *[behind] * 9_999])
    assert (min(skews), max(skews), len(skews)) == (-3590.0, 10.0, 16)


def test_a_process_that_has_not_found_its_place_yet_is_not_said_to_lag_by_the_whole_chain() -> None:
    tally, chain = Figures(), ChainSettings("main", "localhost/test", "key", named_retention("soc2"))
    tally.set(figures.LAG_ENTRIES, 7, "main")  # of the life before
    lag_in_chain(KafkaSettings("127.0.0.1:1"), chain, tally, time.time)()
    assert tally.value(figures.LAG_ENTRIES, "main") is None
    assert tally.value(figures.LAG_SECONDS, "main") is None
