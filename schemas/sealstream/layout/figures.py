"""What each process counts: every figure's name, kind and meaning, and the tally that a process keeps of them.

The one list: metrics, `sealstream status` and the table in docs/operating.md come from it. Names follow Prometheus'
conventions (base units, `_total` for what only rises). Every figure carries the label `process` beside its own.

A `Figures` is written by a process's own threads, once a batch and never once an event, and read at any moment by
another thread. The invariant: reading takes a copy, in one step of the interpreter, so it neither waits for a writer
nor makes one wait. Each value has one writing thread. Nothing is kept: a new process counts from zero, as Prometheus
expects of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

__all__ = [
    "ACTIVITY_RECORDS",
    "AGES",
    "ALARMS",
    "ALERTS_KNOWN",
    "ALERTS_RAISED",
    "ALERTS_UNSEALED",
    "ALL",
    "ARCHIVED_SEGMENTS",
    "BATCHES",
    "CHAIN_TAKEN",
    "CHECKPOINTS",
    "CHECKPOINT_AGE",
    "CHECKPOINT_SIZE",
    "CHECKPOINT_TIME",
    "CLOCK_SKEW",
    "COLLECT_ANSWERS",
    "COLLECT_MEMORY",
    "COLLECT_REFUSED",
    "DEAD_LETTERS",
    "DETECTOR_FAILURES",
    "ENTRIES",
    "FIGURES",
    "FORWARDED",
    "FORWARD_FAILURES",
    "FORWARD_LAG",
    "FORWARD_LAG_SECONDS",
    "FORWARD_LETTERS",
    "GAPS",
    "INFO",
    "LAG_ENTRIES",
    "LAG_SECONDS",
    "LAST_AGE",
    "LAST_SEQ",
    "LAST_TIME",
    "MALFORMED",
    "MISSING_RANGES",
    "NEXT_OFFSET",
    "PRODUCERS",
    "READY",
    "REFUSED",
    "REPEATED",
    "RESTARTS",
    "REVIEWS_OVERDUE",
    "SEGMENTS",
    "SPANS_DROPPED",
    "SPANS_SENT",
    "STATEMENTS",
    "STEP_TIME",
    "STORE_REACHABLE",
    "WATCHED",
    "WORKER_PARTITIONS",
    "WORKER_READY",
    "Alarm",
    "Figure",
    "Figures",
    "figures_of",
]

ALL = (
    *("sequencer", "checkpointing", "postgres-sink", "archive-sink", "activity"),
    *("outbox-relay", "forward", "anomaly", "watch", "collect"),
)
_IN_CHAIN = ALL[:5]
_SEQUENCER, _CHECKPOINTING = ("sequencer",), ("checkpointing",)
_ANOMALY = ("anomaly",)
_RAISING = ("anomaly", "watch")
_CHAIN = ("chain",)


class Figure(NamedTuple):
    """One figure. `labels`: beside `process`; `processes`: which have it."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    labels: tuple[str, ...] = _CHAIN
    processes: tuple[str, ...] = ALL


INFO = Figure("sealstream_process_info", "gauge", "Always 1; which version runs.", ("version",))
READY = Figure("sealstream_ready", "gauge", "1 while /readyz says yes, else 0.", ())
STEP_TIME = Figure(
    "sealstream_last_step_timestamp_seconds", "gauge", "When the loop last moved; of a sequencer, each chain's too."
)
RESTARTS = Figure(
    "sealstream_restarts_total",
    "counter",
    "How often it was built anew after a fault that can be waited out; without a chain: the whole process.",
)
ALARMS = Figure(
    "sealstream_alarms_total",
    "counter",
    "Chains that it has stopped with an alarm. A process whose last chain has stopped ends with exit code 1.",
    ("chain", "kind"),
)
STORE_REACHABLE = Figure(
    "sealstream_store_reachable", "gauge", "1 when the store answered the last time it was asked, else 0.", ("store",)
)
BATCHES = Figure(
    "sealstream_batches_total",
    "counter",
    "Batches done: committed and read back, signed, stored, put; looks at a chain; requests whose events are written.",
)
ENTRIES = Figure(
    "sealstream_entries_total",
    "counter",
    "Entries sealed, checked, stored, archived or counted; events relayed or collected.",
)
LAST_SEQ = Figure(
    "sealstream_last_seq",
    "gauge",
    "The last entry that this process has done with: sealed, checked, stored, archived, rolled up.",
    processes=_IN_CHAIN,
)
LAST_TIME = Figure(
    "sealstream_last_seq_timestamp_seconds", "gauge", "That entry's `sequenced_at`.", processes=_IN_CHAIN
)
LAST_AGE = Figure(
    "sealstream_last_seq_age_seconds",
    "gauge",
    "How old that entry is now; of the archive sink, the age of the archive.",
    processes=_IN_CHAIN,
)
NEXT_OFFSET = Figure(
    "sealstream_next_offset",
    "gauge",
    "Where it goes on: the next offset of the chain's topic (sequencer: of the raw topic).",
    processes=_IN_CHAIN,
)
LAG_ENTRIES = Figure(
    "sealstream_lag_entries",
    "gauge",
    "How many wait for this process: records in its topics, entries of the chain, rows of the outbox.",
)
LAG_SECONDS = Figure("sealstream_lag_seconds", "gauge", "How long the oldest of them has waited; 0 when none does.")
CHAIN_TAKEN = Figure(
    "sealstream_chain_taken", "gauge", "1: it seals this chain; 0: it is taking it; absent: another does.", _CHAIN,
    _SEQUENCER,
)  # fmt: skip
DEAD_LETTERS = Figure(
    "sealstream_dead_letters_total", "counter", "Records copied to the dead letters.", _CHAIN, _SEQUENCER
)
REFUSED = Figure("sealstream_refused_records_total", "counter", "Records that are no valid event.", _CHAIN, _SEQUENCER)
REPEATED = Figure(
    "sealstream_repeated_records_total", "counter", "Records that were sealed before.", _CHAIN, _SEQUENCER
)
GAPS = Figure(
    "sealstream_producer_gaps_total", "counter", "`producer.gap` statements: numbers were skipped.", _CHAIN, _SEQUENCER
)
STATEMENTS = Figure(
    "sealstream_statements_total", "counter", "Entries that the log says itself, by action.", ("chain", "action"),
    _SEQUENCER,
)  # fmt: skip
MISSING_RANGES = Figure(
    "sealstream_missing_ranges", "gauge", "Runs of producers' numbers that are missing now.", _CHAIN, _SEQUENCER
)
PRODUCERS = Figure("sealstream_producers", "gauge", "Producers that are remembered.", _CHAIN, _SEQUENCER)
CLOCK_SKEW = Figure(
    "sealstream_producer_clock_skew_seconds",
    "gauge",
    "Broker's time minus `timestamp`, the least and the greatest of some events of the last batch: "
    "below 0 a producer's clock is ahead, above it is behind or the event came late.",
    ("chain", "bound"),
    _SEQUENCER,
)
CHECKPOINTS = Figure("sealstream_checkpoints_total", "counter", "Checkpoints signed.", _CHAIN, _CHECKPOINTING)
SEGMENTS = Figure("sealstream_segments_total", "counter", "Of these, ends of segments.", _CHAIN, _CHECKPOINTING)
CHECKPOINT_SIZE = Figure(
    "sealstream_last_checkpoint_size", "gauge", "Entries under the newest checkpoint.", _CHAIN, _CHECKPOINTING
)
CHECKPOINT_TIME = Figure(
    "sealstream_last_checkpoint_timestamp_seconds", "gauge", "When it was signed.", _CHAIN, _CHECKPOINTING
)
CHECKPOINT_AGE = Figure(
    "sealstream_last_checkpoint_age_seconds", "gauge", "How long ago that was.", _CHAIN, _CHECKPOINTING
)
ARCHIVED_SEGMENTS = Figure(
    "sealstream_archived_segments_total", "counter", "Segments archived and sealed as archived.", _CHAIN,
    ("archive-sink",),
)  # fmt: skip
ACTIVITY_RECORDS = Figure(
    "sealstream_activity_records_total", "counter", "Records of activity written, of actors and addresses.", _CHAIN,
    ("activity",),
)  # fmt: skip

_FORWARD, _TARGET = ("forward",), ("target",)
FORWARDED = Figure("sealstream_forwarded_total", "counter", "Messages that the target took.", _TARGET, _FORWARD)
FORWARD_FAILURES = Figure(
    "sealstream_forward_failures_total", "counter", "Attempts that the target did not take.", _TARGET, _FORWARD
)
FORWARD_LETTERS = Figure(
    "sealstream_forward_letters_total", "counter", "Messages that became letters: refused, or gone before their time.",
    _TARGET, _FORWARD,
)  # fmt: skip
FORWARD_LAG = Figure(
    "sealstream_forward_lag_messages", "gauge", "Records that wait for the target, markers of Kafka among them.",
    _TARGET, _FORWARD,
)  # fmt: skip
FORWARD_LAG_SECONDS = Figure(
    "sealstream_forward_lag_seconds", "gauge", "How long the oldest message that was read waits; 0 when none does.",
    _TARGET, _FORWARD,
)  # fmt: skip
WORKER_READY = Figure(
    "sealstream_anomaly_worker_ready", "gauge", "1 while the worker has its partitions and its states.", (), _ANOMALY
)
WORKER_PARTITIONS = Figure(
    "sealstream_anomaly_worker_partitions", "gauge", "Partitions of activity that the worker looks after.", (), _ANOMALY
)
WATCHED = Figure("sealstream_watched_records_total", "counter", "Records of activity handled.", (), _ANOMALY)
MALFORMED = Figure(
    "sealstream_malformed_records_total", "counter", "Of these passed over: they could not be understood.", (), _ANOMALY
)
DETECTOR_FAILURES = Figure(
    "sealstream_detector_failures_total", "counter", "Of these passed over: a detector failed at them.", (), _ANOMALY
)
ALERTS_RAISED = Figure("sealstream_alerts_raised_total", "counter", "Alerts written.", (), _RAISING)
ALERTS_KNOWN = Figure(
    "sealstream_alerts_known_total", "counter", "Alerts found again that the chain held already.", (), _RAISING
)
ALERTS_UNSEALED = Figure(
    "sealstream_alerts_unsealed_total", "counter", "Alerts written that no chain could be told of.", (), _RAISING
)
REVIEWS_OVERDUE = Figure(
    "sealstream_reviews_overdue", "gauge", "Periods whose review is overdue, of the newest 60.", _CHAIN, ("watch",)
)
_COLLECT = ("collect",)
COLLECT_ANSWERS = Figure("sealstream_collect_answers_total", "counter", "Answers, by status.", ("status",), _COLLECT)
COLLECT_REFUSED = Figure(
    "sealstream_collect_refused_events_total", "counter", "Events refused, as their senders were told.", _CHAIN,
    _COLLECT,
)  # fmt: skip
COLLECT_MEMORY = Figure(
    "sealstream_collect_memory_bytes", "gauge", "What bodies under way have taken of `memory_bytes`.", (), _COLLECT
)
_TRACING = ("sequencer", "postgres-sink")
SPANS_SENT = Figure("sealstream_spans_sent_total", "counter", "Spans that `tracing.endpoint` took.", (), _TRACING)
SPANS_DROPPED = Figure(
    "sealstream_spans_dropped_total", "counter", "Spans that it did not take, or that found no room.", (), _TRACING
)

FIGURES = (
    *(INFO, READY, STEP_TIME, RESTARTS, ALARMS, STORE_REACHABLE, BATCHES, ENTRIES),
    *(LAST_SEQ, LAST_TIME, LAST_AGE, NEXT_OFFSET, LAG_ENTRIES, LAG_SECONDS),
    *(CHAIN_TAKEN, DEAD_LETTERS, REFUSED, REPEATED, GAPS, STATEMENTS, MISSING_RANGES, PRODUCERS, CLOCK_SKEW),
    *(CHECKPOINTS, SEGMENTS, CHECKPOINT_SIZE, CHECKPOINT_TIME, CHECKPOINT_AGE),
    *(ARCHIVED_SEGMENTS, ACTIVITY_RECORDS),
    *(FORWARDED, FORWARD_FAILURES, FORWARD_LETTERS, FORWARD_LAG, FORWARD_LAG_SECONDS),
    *(WORKER_READY, WORKER_PARTITIONS, WATCHED, MALFORMED, DETECTOR_FAILURES),
    *(ALERTS_RAISED, ALERTS_KNOWN, ALERTS_UNSEALED, REVIEWS_OVERDUE),
    *(COLLECT_ANSWERS, COLLECT_REFUSED, COLLECT_MEMORY),
    *(SPANS_SENT, SPANS_DROPPED),
)
"""All, in the order in which they are shown."""

AGES = {LAST_AGE: LAST_TIME, CHECKPOINT_AGE: CHECKPOINT_TIME}
"""Figures that are reckoned from another one when somebody asks."""


def figures_of(process: str) -> list[Figure]:
    """The figures that a process of this name has."""
    return [figure for figure in FIGURES if process in figure.processes]


class Alarm(NamedTuple):
    """Why a chain was stopped. `kind`: the error's class; `runbook`: the page that helps."""

    kind: str
    reason: str
    runbook: str


class Figures:
    """One process's tally. `clock`: seconds since 1970; without one, moments are not known, as in a simulated world."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._values: dict[tuple[str, tuple[str, ...]], float] = {}
        self._alarms: dict[str, Alarm] = {}

    def add(self, figure: Figure, count: float, *labels: str) -> None:
        """So many more. Labels in the figure's order."""
        key = (figure.name, labels)
        self._values[key] = self._values.get(key, 0.0) + count

    def set(self, figure: Figure, value: float, *labels: str) -> None:
        """It is this now."""
        self._values[figure.name, labels] = value

    def now(self, figure: Figure, *labels: str) -> None:
        """It happened at this moment."""
        self._values[figure.name, labels] = self._clock()

    def reached(self, chain: str, size: int, sequenced_at: str) -> None:
        """The process has done with the chain's first `size` entries; the last was sealed then."""
        if size:
            self.set(LAST_SEQ, size - 1, chain)
            self.set(LAST_TIME, datetime.fromisoformat(sequenced_at).timestamp(), chain)

    def forget(self, figure: Figure, *labels: str) -> None:
        """There is no such thing (any more)."""
        self._values.pop((figure.name, labels), None)

    def alarm(self, chain: str, alarm: Alarm) -> None:
        """This chain was stopped: only a person decides when it goes on."""
        self._alarms[chain] = alarm
        self.add(ALARMS, 1, chain, alarm.kind)

    def resumed(self, chain: str) -> None:
        """It is tried again, so what stopped it before is over, or will be said again."""
        self._alarms.pop(chain, None)

    def value(self, figure: Figure, *labels: str) -> float | None:
        """As of now; None where nothing was counted."""
        return self._values.get((figure.name, labels))

    def values(self) -> Mapping[tuple[str, tuple[str, ...]], float]:
        """A copy of everything, by the figure's name and labels."""
        return self._values.copy()

    def alarms(self) -> Mapping[str, Alarm]:
        """A copy of the alarms, by chain."""
        return self._alarms.copy()
