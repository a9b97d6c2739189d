"""The lookout, purely: what stores and statements give to see, and that a crash at any write raises each alert once."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from sealstream.anomaly.detectors import PIPELINE_DETECTORS
from sealstream.anomaly.pipeline import (
    ChainObserved,
    DeadLettersObserved,
    GapObserved,
    Observation,
    PipelineWatch,
    SinkObserved,
)
from sealstream.anomaly.watching import chosen
from sealstream.errors import NotCanonical, Unavailable
from sealstream.events import format_timestamp
from sealstream.health.asking import Archived, Signed, Stored
from sealstream.layout import Entry, Figures, WrittenFields, figures
from sealstream.layout.alerts import Alert, decode_alert, encode_alert
from sealstream.layout.pipeline_watch import WatchState, decode_watch_state, encode_watch_state
from sealstream.lookout import LogWatch, Looked, Raised, Seen, of_sinks, of_statements, of_the_chain

NOW = 1_796_947_200
WELL = Seen(
    1_000, NOW - 5.5, Signed(990, NOW - 6.5, 900, NOW - 400), Stored(980, NOW - 9, 1_100), NOW - 7.0,
    Archived(700, NOW - 1_000), NOW - 420.0,
)  # fmt: skip


def test_what_the_stores_say_is_dated_by_the_asking() -> None:
    assert list(of_the_chain("main", WELL, NOW)) == [
        ChainObserved(chain="main", at_s=NOW, size=1_000, sealed_s=NOW - 6, signed_size=990, signed_s=NOW - 7)
    ]
    assert list(of_sinks("main", WELL, NOW)) == [
        SinkObserved(chain="main", at_s=NOW, sink="postgres-sink", stored=980, size=1_000, lag_s=7.0),
        SinkObserved(chain="main", at_s=NOW, sink="archive-sink", stored=700, size=900, lag_s=420.0),
    ]


def test_what_was_not_answered_is_not_judged_by() -> None:
    assert list(of_the_chain("main", Seen(0, None, WELL.signed), NOW)) == []
    assert list(of_the_chain("main", WELL._replace(signed=None), NOW)) == []
    assert list(of_sinks("main", WELL._replace(stored=None, archived=None), NOW)) == []
    ahead = WELL._replace(stored=Stored(1_003, NOW, 9), behind_since=NOW - 900.0, archived=None)
    assert list(of_sinks("main", ahead, NOW)) == [
        SinkObserved(chain="main", at_s=NOW, sink="postgres-sink", stored=1_003, size=1_003, lag_s=0.0)
    ]


def entry(seq: int, action: str, metadata: dict[str, Any], kind: str = "log") -> Entry:
    sealed = format_timestamp(datetime.fromtimestamp(NOW + seq, UTC))
    return Entry(
        f"e{seq}", sealed, "sealstream/sequencer", "system", action, "chain", "main", "success",
        WrittenFields("main", -1, kind, -1, seq, sealed, 1), metadata=metadata,
    )  # fmt: skip


STATEMENTS = [
    entry(3, "producer.gap", {"producer_id": "p", "ranges": [[4, 6], [9, 9]]}),
    entry(4, "producer.gap", {"producer_id": "claimed", "ranges": [[0, 9]]}, kind="event"),
    entry(5, "input.passed", {"items": [{"what": "refused", "first": 7, "last": 9, "reason": "r"}]}),
    entry(6, "input.passed", {"items": [{"what": "repeated", "first": 10, "last": 10}]}),
    entry(7, "review.signed", {}, kind="control"),
    entry(8, "input.passed", {"items": [{"what": "refused", "first": 12, "last": 12, "reason": "r"}]}),
]


def test_what_statements_give_is_dated_by_the_chain_and_is_the_same_again() -> None:
    told = of_statements("main", STATEMENTS, 40)
    assert told.observations == [
        GapObserved(chain="main", at_s=NOW + 3, seq=3, producer_id="p", missing=4),
        DeadLettersObserved(chain="main", at_s=NOW + 5, refused=43, seqs=[[5, 5]]),
        DeadLettersObserved(chain="main", at_s=NOW + 8, refused=44, seqs=[[8, 8]]),
    ]
    assert told.refused == 44
    first, then = of_statements("main", STATEMENTS[:3], 40), of_statements("main", STATEMENTS[3:], 43)
    assert (first.observations + then.observations, then.refused) == told


# --- the process ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends at this line."""


class Stores:
    """What Kafka holds: states, alerts, and statements, which the sequencer seals a minute later. `dies_in`: so many
    writes from now.
    """

    def __init__(self) -> None:
        self.clock = [0.0]
        self.states: dict[str, bytes] = {}
        self.alerts: list[bytes] = []
        self.said: list[tuple[float, bytes]] = []
        self.dies_in: int | None = None
        self.writes = 0

    def sealed(self) -> dict[str, bytes]:
        """By id; the same bytes again are passed over."""
        found: dict[str, bytes] = {}
        for at, value in self.said:
            if self.clock[0] >= at + 60:
                assert found.setdefault(decode_alert(value).id, value) == value, "a conflict in the chain"
        return found

    def written(self) -> None:
        """Called behind each write: it has reached the store."""
        self.writes += 1
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in == 0:
                raise Killed

    def of(self, chain: str) -> WatchState | None:
        value = self.states.get(chain)
        return None if value is None else decode_watch_state(value)

    def store(self, chain: str, state: WatchState) -> None:
        if self.states.get(chain) != encode_watch_state(state):
            self.states[chain] = encode_watch_state(state)
            self.written()

    def raise_all(self, chain: str, alerts: list[Alert]) -> Raised:
        fresh = [alert for alert in alerts if alert.id not in self.sealed()]
        for alert in fresh:
            self.alerts.append(encode_alert(alert))
            self.written()
        for alert in fresh:
            self.said.append((self.clock[0], encode_alert(alert)))
            self.written()
        return Raised(len(fresh), len(alerts) - len(fresh), 0)


def of_checkpoints(stores: Stores) -> LogWatch:
    """A chain whose checkpoint is late and to which numbers are missing, as seen at each second of the clock."""
    clock = stores.clock

    def look(state: WatchState | None) -> Looked:
        now_s = NOW + int(clock[0])
        next_seq = 0 if state is None else state.next_seq
        statements = [each for each in STATEMENTS if next_seq <= each.written.seq < clock[0]]
        told = of_statements("main", statements, 0 if state is None else state.refused)
        seen: list[Observation] = list(told.observations)
        seen.append(ChainObserved(chain="main", at_s=now_s, size=9, sealed_s=now_s, signed_size=5, signed_s=NOW))
        return Looked(seen, max(int(clock[0]), next_seq), told.refused)

    watch = PipelineWatch(chosen(PIPELINE_DETECTORS, {"checkpoint_late": {"late_s": 20}}))
    return LogWatch(
        {"main": look},
        stores,  # type: ignore[arg-type]
        stores,  # type: ignore[arg-type]
        watch,
        every_s=5,
        clock=lambda: clock[0],
        sleep=lambda s: None,
    )


def run(stores: Stores, seconds: int = 300) -> None:
    """Built anew after each end."""
    end = stores.clock[0] + seconds
    process = of_checkpoints(stores)
    while stores.clock[0] < end:
        try:
            process.step()
        except Killed:
            process = of_checkpoints(stores)
        stores.clock[0] += 1
    with suppress(Killed):
        process.close()


def test_a_kill_at_any_write_raises_each_alert_once_and_never_two_that_differ() -> None:
    calm = Stores()
    run(calm)
    assert {decode_alert(value).detector for value in calm.alerts} == {"checkpoint_late", "producer_gap"}
    assert len(calm.alerts) == len(calm.sealed()) == 2
    for kill in range(1, calm.writes + 1):
        killed = Stores()
        killed.dies_in = kill
        run(killed)
        assert killed.sealed().keys() == calm.sealed().keys(), kill
        assert len(set(killed.alerts)) == 2, kill


def test_a_state_that_was_lost_raises_nothing_that_the_chain_holds() -> None:
    stores = Stores()
    run(stores)
    stores.states.clear()
    before = stores.sealed()
    run(stores)
    assert stores.sealed() == before
    assert len(stores.alerts) == 2


def test_a_start_that_is_stopped_in_order_goes_on_where_it_was() -> None:
    stores = Stores()
    for _ in range(10):
        process = of_checkpoints(stores)
        for _ in range(8):
            process.step()
            stores.clock[0] += 1
        process.close()
    late = next(alert for alert in map(decode_alert, stores.alerts) if alert.detector == "checkpoint_late")
    assert late.seen["late_s"] == 21  # since the first look of the first of them
    assert len(stores.alerts) == 2


def test_a_chain_that_can_not_be_asked_is_waited_for() -> None:
    def look(state: WatchState | None) -> Looked:
        raise Unavailable("Kafka does not answer")

    stores, tally = Stores(), Figures()
    watch = PipelineWatch(chosen(PIPELINE_DETECTORS, {}))
    process = LogWatch({"main": look}, stores, stores, watch, every_s=5, tally=tally)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        process.step()
    process.close()
    assert (stores.states, tally.value(figures.BATCHES, "main")) == ({}, None)


def test_a_state_that_is_none_is_refused_and_detectors_that_changed_begin_anew() -> None:
    with pytest.raises(NotCanonical, match="not a state of the watch"):
        decode_watch_state(b"{}")
    stores = Stores()
    stores.store("main", WatchState(7, 3, '{"states":{"silence":{"main":{"told_of_s":"x"}}}}'))
    stores.clock[0] = 10
    of_checkpoints(stores).step()
    process = of_checkpoints(stores)
    process.close()
    state = stores.of("main")
    assert state is not None
    assert state.refused >= 3
