"""`sealstream anomaly` as a person runs it: both stores, recorded in the log, settings that are told by line."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.pipeline import say
from tests.search.conftest import Searchable, pipeline_roles, searchable

from sealstream.anomaly.detectors import DETECTORS
from sealstream.cli.harmless import harmless
from sealstream.cli.settings import load_settings
from sealstream.errors import Misconfigured
from sealstream.kafka import read_until_end
from sealstream.layout import ChainTopics

__all__ = ["pipeline_roles", "searchable"]

pytestmark = long_run

SPAN = ("--since", "2026-09-20", "--until", "2026-12-31", "--warm-up", "0")


def reads(searchable: Searchable, chain: str) -> list[dict[str, Any]]:
    topic = ChainTopics.of(chain).control
    values = [json.loads(record.value or b"") for batch in read_until_end(searchable.kafka, topic) for record in batch]
    return [value["metadata"] for value in values if value["metadata"].get("what", "").startswith("anomaly")]


@pytest.mark.parametrize("store", ["archive", "postgres"])
def test_a_backtest_reads_what_the_store_holds_and_is_recorded(searchable: Searchable, store: str) -> None:
    said = say(searchable.config, "anomaly", "backtest", *SPAN, "--source", store, "--processes", "1", "--json")
    told = json.loads(said.out)
    entries = searchable.archived() if store == "archive" else searchable.entries()
    if store == "postgres":  # which counts events alone
        entries = [entry for entry in entries if entry["written"]["kind"] == "event"]
    assert told["entries"] == dict(Counter(entry["written"]["chain"] for entry in entries))
    acted = {entry["actor_id"] for entry in entries if entry["written"]["kind"] == "event"}
    assert (told["store"], told["actors"]) == (store, len(acted))
    for chain in searchable.chains:
        begin, end = reads(searchable, chain)[-2:]
        assert (begin["phase"], begin["what"], begin["store"]) == ("begin", "anomaly backtest", store)
        assert begin["query"].startswith("sealed_after:2026-09-20T00:00:00+00:00 ")
        assert (end["phase"], end["outcome"], end["rows"]) == ("end", "complete", told["entries"][chain])


def test_how_far_the_archive_goes_is_told_and_no_more_is_claimed(searchable: Searchable) -> None:
    last = [json.loads(each.values[each.archived_size() - 1])["written"] for each in searchable.made]
    told = {written["chain"]: datetime.fromisoformat(written["sequenced_at"]) for written in last}
    said = say(searchable.config, "anomaly", "backtest", *SPAN, "--processes", "1")
    for chain, end in told.items():
        assert f"chain {chain}: the archive goes until {end:%Y-%m-%d %H:%M:%S} (UTC)" in said.err
    assert said.err.count("--source postgres has the rest") == 2
    (latest, earliest) = sorted(told, key=lambda chain: told[chain], reverse=True)
    assert f"{earliest} (until {told[earliest]:%Y-%m-%d %H:%M})" in said.out
    assert f"{latest} (until" not in said.out
    assert f" from 2026-09-20 00:00 to {told[latest]:%Y-%m-%d %H:%M} (UTC)" in said.out
    until = (told[earliest] - timedelta(days=1)).strftime("%Y-%m-%d")
    within = ("--since", "2026-09-20", "--until", until, "--warm-up", "0", "--processes", "1")
    assert say(searchable.config, "anomaly", "backtest", *within).err == ""
    assert say(searchable.config, "anomaly", "backtest", *SPAN, "--source", "postgres").err == ""


def test_a_changed_threshold_stands_beside_the_present_one(searchable: Searchable) -> None:
    changed = "failed_login_burst.failures=1"
    said = say(searchable.config, "anomaly", "backtest", *SPAN, "--source", "archive", "--set", changed, "--list")
    assert "failed_login_burst with failures 1: " in said.out
    assert "0 → " in said.out
    told = json.loads(
        say(searchable.config, "anomaly", "backtest", *SPAN, "--set", changed, "--processes", "2", "--json").out
    )
    burst = told["detectors"]["failed_login_burst"]
    assert sum(burst["changed"].values()) == len(told["changed_alerts"]) > sum(burst["present"].values())
    assert burst["thresholds"] == {"failures": 1}


def test_somebody_is_explained_from_the_entries_where_no_worker_knows_them(searchable: Searchable) -> None:
    (chain, _other) = searchable.chains
    told = json.loads(
        say(searchable.config, "anomaly", "explain", "user-12", "--chain", chain, "--since", "2026-09-20", "--json").out
    )
    assert [each["detector"] for each in told["detectors"]] == [
        name for name, kind in DETECTORS.items() if kind.subject == "actor"
    ]
    assert "entries since 2026-09-20" in told["from"]
    (read,) = reads(searchable, chain)[-1:]
    assert (read["what"], read["query"]) == ("anomaly explain", "actor user-12")
    assert read["rows"] > 0
    said = say(searchable.config, "anomaly", "explain", "10.0.0.7", "--from", "history", "--since", "2026-09-20")
    assert "password_spray" in said.out
    refused = say(searchable.config, "anomaly", "explain", "user-12", "--from", "workers")
    assert refused.code == 2
    assert "the workers know nothing of user-12" in refused.err


@pytest.mark.parametrize(
    ("name", "hint"), [("nobody", ""), ("user-1234", "; did you mean user-123?"), ("10.9.8.7", ""), ("\x1b[31m", "")]
)
def test_of_whom_nothing_is_known_one_line_says_so(searchable: Searchable, name: str, hint: str) -> None:
    said = say(searchable.config, "anomaly", "explain", name, "--since", "2026-09-20")
    assert said.code == 0, said.err
    assert said.out.startswith(f"nothing is known of {harmless(name)}: no entry since 2026-09-20 00:00 in ")
    assert said.out.endswith(f"{hint}\n")
    assert said.out.count("\n") == 1
    assert ("did you mean" in said.out) == bool(hint)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "soon"), "--since, --until: this is no span of time"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "sealed_before: is not later than sealed_after:"),
        (("--detector", "mass_reed"), "there is no detector mass_reed: did you mean mass_read?"),
        (("--set", "mass_read.factr=2"), "mass_read has no threshold factr; did you mean factor?"),
        (("--set", "mass_read.quantile=2"), "mass_read.quantile: expected at most 1, got 2"),
        (("--detector", "mass_read", "--set", "denied_scan.types=2"), "--detector leaves denied_scan out"),
        (("--chain", "nowhere"), "chain 'nowhere' is not in the settings"),
    ],
)
def test_what_can_t_be_meant_is_told(searchable: Searchable, words: tuple[str, ...], said: str) -> None:
    refused = say(searchable.config, "anomaly", "backtest", *words)
    assert refused.code == 2
    assert said in refused.err


def test_detectors_are_listed_with_where_thresholds_were_set(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    config.write_text('[anomaly]\ntime_zone = "Europe/Berlin"\n[anomaly.detectors.mass_read]\nfactor = 2.5\n')
    assert load_settings(config).anomaly.thresholds() == {
        "mass_read": {"factor": 2.5},
        "unusual_hour": {"zone": "Europe/Berlin", "zones": {}},
    }
    rows = {row["name"]: row for row in json.loads(say(config, "anomaly", "detectors", "--json").out)}
    assert rows.keys() == DETECTORS.keys()
    factor = next(limit for limit in rows["mass_read"]["limits"] if limit["name"] == "factor")
    assert (factor["value"], factor["default"], factor["origin"]) == (
        2.5,
        DETECTORS["mass_read"].thresholds.factor,
        f"{config}:4",
    )
    zone = next(limit for limit in rows["unusual_hour"]["limits"] if limit["name"] == "zone")
    assert (zone["value"], zone["setting"], zone["origin"]) == ("Europe/Berlin", "anomaly.time_zone", f"{config}:2")
    assert "anomaly.detectors.mass_read.factor" in say(config, "anomaly", "detectors", "mass_read").out


def test_wrong_thresholds_in_the_settings_are_told_with_their_lines(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    config.write_text(
        '[anomaly]\ntime_zone = "Mars"\n[anomaly.detectors.mass_read]\nfactr = 2\nquantile = 3\n[anomaly.detectors.x]\n'
    )
    with pytest.raises(Misconfigured) as raised:
        load_settings(config)
    told = str(raised.value)
    assert f"{config}:4: anomaly.detectors.mass_read.factr: there is no such setting; did you mean" in told
    assert f"{config}:5: anomaly.detectors.mass_read.quantile: input should be less than or equal to 1" in told
    assert f"{config}:6: anomaly.detectors.x: there is no such setting" in told
    config.write_text('[anomaly]\ntime_zone = "Mars"\n')
    with pytest.raises(Misconfigured, match=r"sealstream\.toml:2: anomaly\.time_zone: 'Mars' is no time zone"):
        load_settings(config)
