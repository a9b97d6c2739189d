"""Subjects shared out among processes: together they say what one would say alone."""

from __future__ import annotations

import pytest
from examples.company import Company
from examples.company.watching import counted

from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.rolling import Counted, RollUp
from sealstream.anomaly.settings import checked_thresholds, thresholds_of
from sealstream.anomaly.sharing import Share, ShareRollUp, ShareWatch
from sealstream.anomaly.watching import chosen
from sealstream.errors import Misconfigured
from sealstream.layout.activity import Activity, AddressActivity, encode_activity
from sealstream.layout.alerts import Alert, encode_alert


@pytest.fixture(scope="module")
def entries() -> list[Counted]:
    return [counted(each, seq) for seq, each in enumerate(Company(5, 120, days=4, warm_up=1, times=1))]


def test_the_shares_together_roll_up_what_one_does(entries: list[Counted]) -> None:
    whole = RollUp("main")
    records: list[Activity | AddressActivity] = []
    for entry in entries:
        if (second := whole.take(entry)) is not None:
            records += [*second.actors, *second.addresses]
    last = whole.so_far()
    assert last is not None
    records += [*last.actors, *last.addresses]
    shared: list[Activity | AddressActivity] = []
    for number in range(3):
        part = ShareRollUp("main", Share(number, 3))
        for entry in entries:
            if (second := part.take(entry)) is not None:
                shared += [*second.actors, *second.addresses]
        if (last := part.so_far()) is not None:
            shared += [*last.actors, *last.addresses]
    assert sorted(map(encode_activity, shared)) == sorted(map(encode_activity, records))


def test_the_shares_together_raise_what_one_does(entries: list[Counted]) -> None:
    alone = watched(entries, Share())
    assert any(alert.detector == "failed_login_burst" for alert in alone)
    together = [alert for number in range(2) for alert in watched(entries, Share(number, 2))]
    assert sorted(map(encode_alert, together)) == sorted(map(encode_alert, alone))


def watched(entries: list[Counted], share: Share) -> list[Alert]:
    roll_up, watching = ShareRollUp("main", share), ShareWatch(chosen(DETECTORS, {}))
    return [alert for entry in entries if (second := roll_up.take(entry)) for alert in watching.see(second)]


def test_thresholds_are_given_as_words() -> None:
    assert thresholds_of(["failed_login_burst.failures=5", "failed_login_burst.usual_factor = 2.5"]) == {
        "failed_login_burst": {"failures": 5, "usual_factor": 2.5}
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("failed_login_burst", "expected detector.threshold=value"),
        ("failed_login_burst=3", "expected detector.threshold=value"),
        ("failed_login_brust.failures=3", "there is no detector failed_login_brust; did you mean failed_login_burst?"),
        ("failed_login_burst.failurs=3", "failed_login_burst has no threshold failurs; did you mean failures?"),
        ("failed_login_burst.failures=many", "failed_login_burst.failures: expected `int`, got `str`: 'many'"),
    ],
)
def test_a_wrong_threshold_is_named(text: str, said: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        thresholds_of([text])
    assert said in str(raised.value)
    with pytest.raises(Misconfigured):
        checked_thresholds({"failed_login_burst": {"failures": "many"}})
