"""Batches of records become alerts and states: the same however they are cut, and past whatever is wrong with one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from tests.anomaly.bench import CHAIN, Story, logins

from sealstream.anomaly.detecting import Thresholds
from sealstream.anomaly.raising import alert_statement
from sealstream.anomaly.watching import Watch
from sealstream.anomaly.worker_handling import Handling, Kind, State, Taken, watches_of
from sealstream.events import validate_control
from sealstream.layout.activity import Activity, AddressActivity, encode_activity
from sealstream.layout.alerts import encode_alert


class _Stored:
    """States as a table keeps them."""

    def __init__(self) -> None:
        self.states: dict[tuple[Kind, bytes], State] = {}

    def __call__(self, kind: Kind, key: bytes) -> bytes | None:
        state = self.states.get((kind, key))
        return None if state is None else state.value


def taken(records: Sequence[Activity | AddressActivity]) -> list[Taken]:
    return [
        Taken("actor", 0, offset, record.actor_id.encode(), encode_activity(record))
        if isinstance(record, Activity)
        else Taken("address", 0, offset, record.ip_address.encode(), encode_activity(record))
        for offset, record in enumerate(records)
    ]


def run(batches: Sequence[Sequence[Taken]], watches: Any = None, *, forget: bool = False) -> tuple[set[bytes], Any]:
    stored = _Stored()
    handling = Handling(watches or watches_of({}), stored)
    alerts: set[bytes] = set()
    for batch in batches:
        handled = handling.handle(batch)
        alerts |= {encode_alert(alert) for alert, _ in handled.alerts}
        for state in handled.states:
            before = stored.states.get((state.kind, state.key))
            assert before is None or state.counted > before.counted
            stored.states[state.kind, state.key] = state
        if forget:
            handling.forget()
    return alerts, {name: state.value for name, state in stored.states.items()}


def test_alerts_and_states_do_not_depend_on_how_records_are_cut_or_repeated() -> None:
    rng = random.Random(3)
    records = taken([each for second in Story(5).seconds(120) for each in second])
    whole = run([records])
    assert whole[0]
    assert whole == run([[each] for each in records], forget=True)
    cut: list[list[Taken]] = []
    at = 0
    while at < len(records):
        end = at + rng.randrange(1, 200)
        cut.append(records[max(0, at - rng.randrange(100)) : end])  # some come once more, as after a crash
        at = end
    assert whole == run(cut)


NOT_UNDERSTOOD = [
    (b"user-1", b"{"),
    (b"user-1", b"\xff\xfe"),
    (b"user-1", None),
    (None, encode_activity(logins("user-1", 1)[0])),
    (b"user-2", encode_activity(logins("user-1", 1)[0])),
    (b"user-1", encode_activity(Activity(CHAIN, "2026-11-02T09:00:00Z", "user-1"))),
    (b"user-1", encode_activity(logins("user-1", 1)[0]).replace(b"[[0,0]]", b"[]")),
    (b"user-1", encode_activity(logins("user-1", 1)[0]).replace(b'"main"', b'"../main"')),
    (b"user-1", encode_activity(logins("user-1", 1)[0]).replace(b"T09", b"T99")),
    (b"user-1", b"[" * 100_000),
]


@pytest.mark.parametrize(("key", "value"), NOT_UNDERSTOOD)
def test_a_record_that_can_t_be_understood_is_passed_over(key: bytes | None, value: bytes | None) -> None:
    records = taken(logins("user-1", 12))
    bad = Taken("actor", 0, 5, key, value)
    handling = Handling(watches_of({}), _Stored())
    assert handling.handle([bad]).malformed == 1
    assert run([[*records[:5], bad, *records[5:]]]) == run([records])


class _State(msgspec.Struct):
    seen: int = 0


class _Fails:
    """Changes its state, and then fails at each record with exactly two in a second."""

    name: ClassVar[str] = "fails"
    says: ClassVar[str] = "nothing"
    subject: ClassVar[Any] = "actor"
    state = _State
    thresholds = Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Any]]:
        state.seen += 1
        if seen.cells[0].count == 2:
            raise ZeroDivisionError("a fault of the detector")
        return state, ()


def test_a_record_at_which_a_detector_fails_is_as_if_it_had_never_been() -> None:
    good = logins("user-1", 12)
    bad = msgspec.structs.replace(good[5], cells=[msgspec.structs.replace(good[5].cells[0], count=2)])
    detectors = watches_of({})["actor"]._detectors.values()
    watches = {"actor": Watch([*detectors, _Fails()], Activity), "address": watches_of({})["address"]}
    without = taken([*good[:5], *good[6:]])
    with_bad = taken([*good[:5], bad, *good[6:]])
    handling = Handling(watches, _Stored())
    assert handling.handle(with_bad).failed == 1
    assert run([with_bad], watches) == run([without], watches)


def test_where_one_detector_fails_the_others_see_the_record() -> None:
    good = logins("user-1", 12)
    cells = [msgspec.structs.replace(each.cells[0], count=2) for each in good]
    bad = [msgspec.structs.replace(each, cells=[cell]) for each, cell in zip(good, cells, strict=True)]
    handled = Handling(watches_of({}, [_Fails()]), _Stored()).handle(taken(bad))
    assert handled.failed == len(bad)
    assert handled.alerts
    assert handled.alerts == Handling(watches_of({}), _Stored()).handle(taken(bad)).alerts


def test_the_statement_of_an_alert_is_one_that_the_sequencer_takes() -> None:
    handled = Handling(watches_of({}), _Stored()).handle(taken(logins("user-1", 12)))
    ((alert, _),) = handled.alerts
    event = validate_control(alert_statement(alert))
    assert event.id == alert.id
    assert alert_statement(alert) == alert_statement(alert)
