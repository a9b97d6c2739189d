"""Make dashboards/*.json, Grafana's dashboards, from what stands here: `python deploy/grafana/make.py`.

A test holds the files to what this makes, each query to being one, and each figure in it to being served. Grafana is
asked for nothing that it lacks since version 9: time series, stats, tables, one variable for the data source and one for
the chains.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

__all__ = ["DASHBOARDS", "FOLDER", "files"]

FOLDER = Path(__file__).parent / "dashboards"

_SOURCE = {"type": "prometheus", "uid": "${source}"}
_COLUMNS = 24
_TALL = {"stat": 5, "timeseries": 8, "table": 8}  # in Grafana's units
_MINE = 'job="$job"'
_CHAIN = f'{_MINE}, chain=~"$chain"'
_BUT_ARCHIVE = f'{_CHAIN}, process!="archive-sink"'


class Panel(NamedTuple):
    """One panel. `queries`: each with its legend; `columns`: of 24; `limits`: from which value on it is which colour;
    `hidden`: columns of a table; `tall`: otherwise than its kind is."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    columns: int = 8
    limits: tuple[tuple[float, str], ...] = ()
    legend: Literal["bottom", "right"] = "bottom"
    hidden: tuple[str, ...] = ()
    tall: int | None = None


class Dashboard(NamedTuple):
    """One dashboard. `rows`: panels below a heading each."""

    uid: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def _by(figure: str, matchers: str, *labels: str, over: str = "sum") -> str:
    return f"{over} by ({', '.join(labels)}) ({figure}{{{matchers}}})"


def _rate(figure: str, matchers: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) (rate({figure}{{{matchers}}}[$__rate_interval]))"


def _grown(figure: str, matchers: str, *labels: str, over: str = "$__range") -> str:
    """How many more in that time, as whole numbers: Prometheus reckons beyond the first and last scrape in it."""
    return f"round(sum by ({', '.join(labels)}) (increase({figure}{{{matchers}}}[{over}])))"


def _hourly(figure: str, matchers: str, *labels: str) -> str:
    return _grown(figure, matchers, *labels, over="1h")


def _appeared(figure: str, matchers: str, *labels: str, over: str = "$__range") -> str:
    """The same of a counter that is not there before its first 1, which `increase` passes over."""
    counter = f"{figure}{{{matchers}}}"
    return (
        f"round(sum by ({', '.join(labels)}) "
        f"(({counter} unless {counter} offset {over}) or increase({counter}[{over}])))"
    )


def _named(machine: str) -> str:
    """What the machine counts of a process (`process_*`), with the label `process`, which it lacks."""
    return f"{machine} * on (job, instance) group_left (process) sealstream_process_info{{{_MINE}}}"


_GOOD_BAD = ((0, "green"), (1, "red"))
_BAD_GOOD = ((0, "red"), (1, "green"))
_SOON_LATE = ((0, "green"), (60, "yellow"), (180, "red"))

_PIPELINE = Dashboard(
    "sealstream-pipeline",
    "Sealstream: pipeline",
    "How much goes through, and how far behind the first event everything is.",
    (
        (
            "Now",
            (
                Panel(
                    "Processes that are not ready",
                    "Those whose /readyz says no; it says why.",
                    "short",
                    ((f"count(sealstream_ready{{{_MINE}}} == 0) or vector(0)", "not ready"),),
                    "stat",
                    6,
                    _GOOD_BAD,
                ),
                Panel(
                    "Sealed entries",
                    "How long each chain is, by the number of its last entry.",
                    "short",
                    (
                        (
                            _by("sealstream_last_seq", f'{_CHAIN}, process="sequencer"', "chain", over="max") + " + 1",
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    6,
                ),
                Panel(
                    "Checkpoint age",
                    "How long ago the newest checkpoint was signed. A chain without entries has a heartbeat each minute.",
                    "s",
                    ((_by("sealstream_last_checkpoint_age_seconds", _CHAIN, "chain", over="min"), "{{chain}}"),),
                    "stat",
                    6,
                    _SOON_LATE,
                ),
                Panel(
                    "Events that wait to be sealed",
                    "How long the oldest of them has waited.",
                    "s",
                    (
                        (
                            _by("sealstream_lag_seconds", f'{_CHAIN}, process="sequencer"', "chain", over="max"),
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    6,
                    _SOON_LATE,
                ),
            ),
        ),
        (
            "Rates",
            (
                Panel(
                    "Entries a second",
                    "Entries sealed, checked, stored, archived or counted, and events relayed or collected, by process.",
                    "ops",
                    ((_rate("sealstream_entries_total", _CHAIN, "process", "chain"), "{{process}} {{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Entries a batch",
                    "How many a process takes at once. It grows when a process is behind, and costs less each. The archive takes "
                    "segments.",
                    "short",
                    (
                        (
                            f"{_rate('sealstream_entries_total', _BUT_ARCHIVE, 'process', 'chain')} / "
                            f"{_rate('sealstream_batches_total', _BUT_ARCHIVE, 'process', 'chain')}",
                            "{{process}} {{chain}}",
                        ),
                    ),
                    columns=12,
                ),
            ),
        ),
        (
            "Lag and latency",
            (
                Panel(
                    "Lag in time",
                    "How long the oldest entry has waited for each process; 0 when none does. The archive waits for a "
                    "segment's end.",
                    "s",
                    ((_by("sealstream_lag_seconds", _CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Lag in entries",
                    "How many wait for each process.",
                    "short",
                    ((_by("sealstream_lag_entries", _CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Age of the last entry",
                    "How old the newest entry is that a process has done with. A sawtooth of a minute is a quiet chain's "
                    "heartbeat.",
                    "s",
                    (
                        (
                            _by(
                                "sealstream_last_seq_age_seconds",
                                _BUT_ARCHIVE,
                                "process",
                                "chain",
                                over="min",
                            ),
                            "{{process}} {{chain}}",
                        ),
                    ),
                    columns=12,
                ),
                Panel(
                    "Checkpoints a second, and their age",
                    "Signed once a second while entries come.",
                    "short",
                    (
                        (_rate("sealstream_checkpoints_total", _CHAIN, "chain"), "checkpoints a second {{chain}}"),
                        (
                            _by("sealstream_last_checkpoint_age_seconds", _CHAIN, "chain", over="min"),
                            "age in seconds {{chain}}",
                        ),
                    ),
                    columns=12,
                ),
                Panel(
                    "Time since each loop moved",
                    "A loop that stands for two minutes is killed and started by whoever looks at /healthz.",
                    "s",
                    (
                        (
                            f"time() - {_by('sealstream_last_step_timestamp_seconds', _MINE, 'process', 'instance', over='max')}",
                            "{{process}} {{instance}}",
                        ),
                    ),
                    columns=12,
                    legend="right",
                ),
                Panel(
                    "Built anew",
                    "Faults that could be waited out, by hour: a store away, a place taken by another.",
                    "short",
                    (
                        (
                            _hourly("sealstream_restarts_total", _MINE, "process", "instance"),
                            "{{process}} {{instance}}",
                        ),
                    ),
                    columns=12,
                    legend="right",
                ),
            ),
        ),
        (
            "Processes",
            (
                Panel(
                    "Processor",
                    "Cores that each process uses.",
                    "short",
                    (
                        (
                            _named(f"rate(process_cpu_seconds_total{{{_MINE}}}[$__rate_interval])"),
                            "{{process}} {{instance}}",
                        ),
                    ),
                    columns=12,
                    legend="right",
                ),
                Panel(
                    "Memory",
                    "What each process holds.",
                    "bytes",
                    ((_named(f"process_resident_memory_bytes{{{_MINE}}}"), "{{process}} {{instance}}"),),
                    columns=12,
                    legend="right",
                ),
                Panel(
                    "Versions",
                    "Which version runs where.",
                    "short",
                    ((_by("sealstream_process_info", _MINE, "process", "instance", "version"), ""),),
                    "table",
                    24,
                    hidden=("Value",),
                    tall=12,
                ),
            ),
        ),
    ),
)

_INTEGRITY = Dashboard(
    "sealstream-integrity",
    "Sealstream: integrity",
    "Whether the log is whole: alarms, what was checked, what was refused, what is missing. Proof is `sealstream verify`.",
    (
        (
            "Alarms",
            (
                Panel(
                    "Alarms",
                    "Chains that a process has stopped: forked, rolled back, a wrong root, a broken link, lost input. "
                    "A person decides; the runbooks say how.",
                    "short",
                    ((f"sum(sealstream_alarms_total{{{_CHAIN}}}) or vector(0)", "alarms"),),
                    "stat",
                    4,
                    _GOOD_BAD,
                ),
                Panel(
                    "Which alarms",
                    "By kind, as the processes that are there have counted them.",
                    "short",
                    ((f"{_by('sealstream_alarms_total', _CHAIN, 'process', 'chain', 'kind')} > 0", ""),),
                    "table",
                    12,
                ),
                Panel(
                    "Stores ahead of Kafka",
                    "Entries that a store holds and Kafka does not. More than 0 for long: Kafka was rolled back.",
                    "short",
                    (
                        (
                            f'clamp_min(max by (chain) (min_over_time(sealstream_last_seq{{{_CHAIN}, process!="sequencer"}}[5m])) - '
                            f'max by (chain) (max_over_time(sealstream_last_seq{{{_CHAIN}, process="sequencer"}}[5m])), 0)',
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    8,
                    _GOOD_BAD,
                ),
            ),
        ),
        (
            "Verification as it goes",
            (
                Panel(
                    "Sealed and checked again",
                    "Checkpointing computes every hash, link, number and account again before it signs: both lines are one.",
                    "short",
                    (
                        (
                            _by("sealstream_last_seq", f'{_CHAIN}, process="sequencer"', "chain", over="max"),
                            "sealed {{chain}}",
                        ),
                        (
                            _by("sealstream_last_seq", f'{_CHAIN}, process="checkpointing"', "chain", over="max"),
                            "checked {{chain}}",
                        ),
                        (_by("sealstream_last_checkpoint_size", _CHAIN, "chain", over="max"), "signed {{chain}}"),
                    ),
                ),
                Panel(
                    "Entries that nobody has signed yet",
                    "Sealed entries beyond the newest checkpoint.",
                    "short",
                    (
                        (
                            f'clamp_min(max by (chain) (sealstream_last_seq{{{_CHAIN}, process="sequencer"}}) + 1 - '
                            f"max by (chain) (sealstream_last_checkpoint_size{{{_CHAIN}}}), 0)",
                            "{{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Segments",
                    "Ends of segments that were signed, and segments that were archived, by hour.",
                    "short",
                    (
                        (_hourly("sealstream_segments_total", _CHAIN, "chain"), "ended {{chain}}"),
                        (
                            _hourly("sealstream_archived_segments_total", _CHAIN, "chain"),
                            "archived {{chain}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "What came in",
            (
                Panel(
                    "Dead letters",
                    "Records that were refused or came too late, in the time shown.",
                    "short",
                    ((_grown("sealstream_dead_letters_total", _CHAIN, "chain"), "{{chain}}"),),
                    "stat",
                    6,
                    _GOOD_BAD,
                ),
                Panel(
                    "Runs of missing numbers",
                    "Numbers that producers have skipped and that have not come since: lost before Kafka, or in a spool.",
                    "short",
                    ((_by("sealstream_missing_ranges", _CHAIN, "chain", over="max"), "{{chain}}"),),
                    "stat",
                    6,
                    ((0, "green"), (1, "yellow")),
                ),
                Panel(
                    "Refused signatures",
                    "Events that were not signed as they should be, in the time shown.",
                    "short",
                    (
                        (
                            _appeared("sealstream_statements_total", f'{_CHAIN}, action="signature.refused"', "chain"),
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    6,
                    _GOOD_BAD,
                ),
                Panel(
                    "Producers",
                    "How many are remembered.",
                    "short",
                    ((_by("sealstream_producers", _CHAIN, "chain", over="max"), "{{chain}}"),),
                    "stat",
                    6,
                ),
                Panel(
                    "Refused, repeated, dead letters",
                    "By hour. A repeat is harmless: it was sealed before.",
                    "short",
                    (
                        (
                            _hourly("sealstream_refused_records_total", _CHAIN, "chain"),
                            "refused {{chain}}",
                        ),
                        (
                            _hourly("sealstream_repeated_records_total", _CHAIN, "chain"),
                            "repeated {{chain}}",
                        ),
                        (
                            _hourly("sealstream_dead_letters_total", _CHAIN, "chain"),
                            "dead letters {{chain}}",
                        ),
                    ),
                    columns=6,
                ),
                Panel(
                    "Gaps",
                    "`producer.gap` statements, by hour, and how many runs are missing.",
                    "short",
                    (
                        (
                            _hourly("sealstream_producer_gaps_total", _CHAIN, "chain"),
                            "gaps an hour {{chain}}",
                        ),
                        (_by("sealstream_missing_ranges", _CHAIN, "chain", over="max"), "missing {{chain}}"),
                    ),
                    columns=6,
                ),
                Panel(
                    "What the log says itself",
                    "Statements of the sequencer, by action and hour: gaps, conflicts, refused signatures, lost input.",
                    "short",
                    (
                        (
                            _appeared(
                                "sealstream_statements_total",
                                f'{_CHAIN}, action!="chain.heartbeat"',
                                "action",
                                over="1h",
                            ),
                            "{{action}}",
                        ),
                    ),
                    columns=6,
                ),
                Panel(
                    "Producers' clocks",
                    "Broker's time minus an event's own: below 0 a clock is ahead, above it the event came late.",
                    "s",
                    (
                        (
                            _by(
                                "sealstream_producer_clock_skew_seconds",
                                f'{_CHAIN}, bound="least"',
                                "chain",
                                over="min",
                            ),
                            "least {{chain}}",
                        ),
                        (
                            _by(
                                "sealstream_producer_clock_skew_seconds",
                                f'{_CHAIN}, bound="greatest"',
                                "chain",
                                over="max",
                            ),
                            "greatest {{chain}}",
                        ),
                    ),
                    columns=6,
                ),
            ),
        ),
    ),
)

_WATCH = Dashboard(
    "sealstream-watch",
    "Sealstream: watch",
    "Who looks for what is unusual, what they have found, and whether anybody was told.",
    (
        (
            "Alerts",
            (
                Panel(
                    "Alerts",
                    "Alerts written in the time shown, by the watch over what people do and over the pipeline itself.",
                    "short",
                    ((_grown("sealstream_alerts_raised_total", _MINE, "process"), "{{process}}"),),
                    "stat",
                    6,
                ),
                Panel(
                    "Alerts that no chain was told of",
                    "They stand in the topic of alerts alone.",
                    "short",
                    ((_grown("sealstream_alerts_unsealed_total", _MINE, "process"), "{{process}}"),),
                    "stat",
                    6,
                    _GOOD_BAD,
                ),
                Panel(
                    "Overdue reviews",
                    "Periods whose review is overdue, of the newest 60.",
                    "short",
                    ((_by("sealstream_reviews_overdue", _CHAIN, "chain", over="max"), "{{chain}}"),),
                    "stat",
                    6,
                    _GOOD_BAD,
                ),
                Panel(
                    "Passed over",
                    "Records of activity that could not be understood, and those at which a detector failed.",
                    "short",
                    (
                        (_grown("sealstream_malformed_records_total", _MINE, "process"), "not understood"),
                        (_grown("sealstream_detector_failures_total", _MINE, "process"), "a detector failed"),
                    ),
                    "stat",
                    6,
                    _GOOD_BAD,
                ),
                Panel(
                    "Alerts an hour",
                    "New ones, and those that were found again after a restart and are in the chain already.",
                    "short",
                    (
                        (
                            _hourly("sealstream_alerts_raised_total", _MINE, "process"),
                            "raised by {{process}}",
                        ),
                        (
                            _hourly("sealstream_alerts_known_total", _MINE, "process"),
                            "found again by {{process}}",
                        ),
                    ),
                    columns=24,
                ),
            ),
        ),
        (
            "Detectors' workers",
            (
                Panel(
                    "Workers that are ready",
                    "Of the watch over what everybody does. None: nobody looks.",
                    "short",
                    ((f"sum(sealstream_anomaly_worker_ready{{{_MINE}}}) or vector(0)", "ready"),),
                    "stat",
                    6,
                    _BAD_GOOD,
                ),
                Panel(
                    "Partitions",
                    "Of the activity that each worker looks after.",
                    "short",
                    ((f"sealstream_anomaly_worker_partitions{{{_MINE}}}", "{{instance}}"),),
                    columns=6,
                ),
                Panel(
                    "Records a second",
                    "Records of activity that went through all detectors.",
                    "ops",
                    ((_rate("sealstream_watched_records_total", _MINE, "instance"), "{{instance}}"),),
                    columns=6,
                ),
                Panel(
                    "How late",
                    "How long the oldest record of activity has waited for a worker, and how long entries wait to be counted.",
                    "s",
                    (
                        (f'max(sealstream_lag_seconds{{{_MINE}, process="anomaly"}})', "detectors"),
                        (
                            _by("sealstream_lag_seconds", f'{_CHAIN}, process="activity"', "chain", over="max"),
                            "activity {{chain}}",
                        ),
                    ),
                    columns=6,
                ),
                Panel(
                    "Activity",
                    "Records of who did what in each second, written a second.",
                    "ops",
                    ((_rate("sealstream_activity_records_total", _CHAIN, "chain"), "{{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Looks at the pipeline",
                    "How often each chain is looked at by the watch over the pipeline, a minute.",
                    "short",
                    (
                        (
                            "60 * " + _rate("sealstream_batches_total", f'{_CHAIN}, process="watch"', "chain"),
                            "{{chain}}",
                        ),
                    ),
                    columns=12,
                ),
            ),
        ),
        (
            "Who is told",
            (
                Panel(
                    "Messages",
                    "Those that each target took, a second.",
                    "ops",
                    ((_rate("sealstream_forwarded_total", _MINE, "target"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "Attempts that failed",
                    "Tried again, at growing pauses.",
                    "short",
                    ((_hourly("sealstream_forward_failures_total", _MINE, "target"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "Letters",
                    "Messages that a target refused, by hour: `sealstream forward list` says why.",
                    "short",
                    ((_hourly("sealstream_forward_letters_total", _MINE, "target"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "How late",
                    "How long the oldest message has waited for its target.",
                    "s",
                    ((_by("sealstream_forward_lag_seconds", _MINE, "target", over="max"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "Waiting",
                    "Records that wait for each target.",
                    "short",
                    ((_by("sealstream_forward_lag_messages", _MINE, "target", over="max"), "{{target}}"),),
                    columns=24,
                ),
            ),
        ),
    ),
)

_STORES = Dashboard(
    "sealstream-stores",
    "Sealstream: stores",
    "Kafka, Postgres and the archive: whether they answer, and how far each is; and the ways in.",
    (
        (
            "Whether they answer",
            (
                Panel(
                    "Away",
                    "Stores that did not answer the process that asked last.",
                    "short",
                    ((f"count(sealstream_store_reachable{{{_MINE}}} == 0) or vector(0)", "away"),),
                    "stat",
                    4,
                    _GOOD_BAD,
                ),
                Panel(
                    "Who reaches what",
                    "1 when the store answered the last time it was asked.",
                    "short",
                    (
                        (
                            _by("sealstream_store_reachable", _MINE, "store", "process", over="min"),
                            "{{store}} from {{process}}",
                        ),
                    ),
                    columns=20,
                ),
            ),
        ),
        (
            "How far each is",
            (
                Panel(
                    "Positions",
                    "The last entry that each has done with.",
                    "short",
                    ((_by("sealstream_last_seq", _CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                ),
                Panel(
                    "Behind",
                    "How long the oldest entry has waited for Postgres and the activity.",
                    "s",
                    (
                        (
                            _by(
                                "sealstream_lag_seconds",
                                f'{_CHAIN}, process=~"postgres-sink|activity"',
                                "process",
                                "chain",
                                over="max",
                            ),
                            "{{process}} {{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Age of the archive",
                    "How old the archive's newest entry is: a segment's length while events come, a day in an idle chain.",
                    "s",
                    (
                        (
                            _by(
                                "sealstream_last_seq_age_seconds",
                                f'{_CHAIN}, process="archive-sink"',
                                "chain",
                                over="min",
                            ),
                            "{{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Rows a second in Postgres",
                    "Entries that the sink has stored.",
                    "ops",
                    ((_rate("sealstream_entries_total", f'{_CHAIN}, process="postgres-sink"', "chain"), "{{chain}}"),),
                ),
                Panel(
                    "Segments archived",
                    "By hour.",
                    "short",
                    ((_hourly("sealstream_archived_segments_total", _CHAIN, "chain"), "{{chain}}"),),
                ),
                Panel(
                    "Offsets",
                    "Where each process goes on in the chain's topic; of the sequencer, in the raw topic.",
                    "short",
                    ((_by("sealstream_next_offset", _CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                ),
            ),
        ),
        (
            "Ways in",
            (
                Panel(
                    "The collector's answers",
                    "By status. 429 and 503 are asked again; 422 names what is wrong with an event.",
                    "reqps",
                    ((_rate("sealstream_collect_answers_total", _MINE, "status"), "{{status}}"),),
                ),
                Panel(
                    "Events that the collector refused",
                    "By hour, as their senders were told.",
                    "short",
                    (
                        (
                            _appeared("sealstream_collect_refused_events_total", _CHAIN, "chain", over="1h"),
                            "{{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory of bodies under way",
                    "What they have taken of `memory_bytes`; beyond it callers are told to come again.",
                    "bytes",
                    ((f"sealstream_collect_memory_bytes{{{_MINE}}}", "{{instance}}"),),
                ),
                Panel(
                    "Outboxes",
                    "Rows that wait in applications' outboxes, and since when.",
                    "short",
                    (
                        (
                            _by("sealstream_lag_entries", f'{_CHAIN}, process="outbox-relay"', "chain", over="max"),
                            "rows {{chain}}",
                        ),
                        (
                            _by("sealstream_lag_seconds", f'{_CHAIN}, process="outbox-relay"', "chain", over="max"),
                            "seconds {{chain}}",
                        ),
                    ),
                    columns=24,
                ),
            ),
        ),
    ),
)

DASHBOARDS = (_PIPELINE, _INTEGRITY, _WATCH, _STORES)


def files() -> dict[str, str]:
    """The files by name, as they must be."""
    return {f"{each.uid}.json": json.dumps(_document(each), indent=1) + "\n" for each in DASHBOARDS}


def _document(dashboard: Dashboard) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, row in dashboard.rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": heading,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
                "panels": [],
            }
        )
        top += 1
        for line in _lines(row):
            left, height = 0, max(panel.tall or _TALL[panel.kind] for panel in line)
            for panel in line:
                place = {"x": left, "y": top, "w": panel.columns, "h": height}
                panels.append(_panel(panel, len(panels) + 1, place))
                left += panel.columns
            top += height
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["sealstream"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "Sealstream",
                "type": "dashboards",
                "tags": ["sealstream"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source(), _variable("job", "sealstream_process_info"), _chains()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _lines(row: tuple[Panel, ...]) -> list[list[Panel]]:
    """The panels side by side, as many as there is room for; those of a line are equally tall."""
    lines: list[list[Panel]] = [[]]
    for panel in row:
        if sum(each.columns for each in lines[-1]) + panel.columns > _COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    return lines


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    limits = panel.limits or ((0, "green"),)
    steps = [{"color": colour, "value": value if n else None} for n, (value, colour) in enumerate(limits)]
    made: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend or "__auto",
                "range": panel.kind != "table",
                "instant": panel.kind == "table",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for n, (expression, legend) in enumerate(panel.queries)
        ],
    }
    if panel.kind == "stat":
        made["options"] = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value" if not panel.limits else "background",
            "graphMode": "none",
        }
    elif panel.kind == "table":
        excluded = dict.fromkeys(("Time", *panel.hidden), True)
        made["transformations"] = [
            {"id": "organize", "options": {"excludeByName": excluded, "renameByName": {}, "indexByName": {}}}
        ]
    else:
        made["options"] = {"legend": {"displayMode": "list", "placement": panel.legend}, "tooltip": {"mode": "multi"}}
    return made


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(label: str, figure: str) -> dict[str, Any]:
    query = f"label_values({figure}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    }


def _chains() -> dict[str, Any]:
    # Figures that are of no chain have none: `.*` takes them, too.
    more = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return _variable("chain", 'sealstream_last_seq{job="$job"}') | more


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
