"""Whether somebody would notice: the watch over what people do, the watch over the pipeline, and who is told.

What is late is told by the stores that the processes write, not by the processes themselves.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sealstream.alerts import ACTIONS, Case, fold
from sealstream.anomaly.worker_beginning import input_lost, lost_places
from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed
from sealstream.forward.positions import kept_positions
from sealstream.health.asking import refused_letters, waiting_since
from sealstream.health.judging import said_age
from sealstream.kafka import (
    CommittedReader,
    Place,
    committed_offsets,
    end_offsets,
    first_offsets,
    last_record,
    partition_counts,
)
from sealstream.kafka.settings import TopicMissing
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import SEVERITIES
from sealstream.layout.forwarding import ForwardTopics
from sealstream.layout.pipeline_watch import watch_topic
from sealstream.layout.workers import worker_group

__all__ = ["CHECKS", "judged_cases"]

_LATE_S = 180.0
_OPERATING = "docs/operating.md"
_SEVERE, _PATIENCE_SEVERE, _PATIENCE = "high", timedelta(days=1), timedelta(days=7)


def _activity(asking: Asking) -> Outcome:
    found = []
    to_do = f"start it: `sealstream run activity` ({_OPERATING})"
    for chain in asking.system.chains:
        position, sealed, now = asking.rolled_up(chain), asking.sealed(chain), asking.system.clock().timestamp()
        if position is None:
            found.append(
                (f"chain {chain.name}", failed("nobody counts what is done: no detector sees it", to_do=to_do))
            )
            continue
        said = f"{position.size:,} of {sealed.size:,} entries are counted"
        late = position.size < sealed.size and now - position.sequenced_at > _LATE_S
        found.append((f"chain {chain.name}", failed(said, to_do=to_do) if late else passed(said)))
    return folded(found)


def _detectors(asking: Asking) -> Outcome:
    """How far the workers' group has come in the activity."""
    kafka, prefix, now = asking.system.kafka, asking.system.prefix, asking.system.clock().timestamp()
    topic, group = ActivityTopics.of(prefix).activity, worker_group(prefix)
    to_do = f"start it: `sealstream run anomaly` (docs/detection.md, {_OPERATING})"
    try:
        places = [Place(topic, number) for number in range(partition_counts(kafka, [topic])[topic])]
    except TopicMissing as error:
        return failed(str(error), to_do=to_do)
    done = committed_offsets(kafka, group, places)
    firsts, ends = first_offsets(kafka, places), end_offsets(kafka, places)
    if not done:
        return failed(f"group {group} has read nothing of {topic}: no detector runs", to_do=to_do)
    if lost := lost_places(done, firsts, ends):
        return failed(str(input_lost(lost, done, firsts, ends)), to_do="docs/runbooks/input-lost.md")
    goes_on_at = {place: max(done.get(place, 0), firsts[place]) for place in places}
    behind = {place: ends[place] - offset for place, offset in goes_on_at.items()}
    waiting = [place for place, count in behind.items() if count > 0]
    oldest = min((at for place in waiting if (at := _came(asking, place, goes_on_at[place]))), default=now)
    said = f"group {group} is {sum(behind.values()):,} records of {topic} behind"
    if waiting and now - oldest > _LATE_S:
        return failed(f"{said}, the oldest for {said_age(now - oldest)}", to_do=to_do)
    return passed(said)


def _came(asking: Asking, place: Place, offset: int) -> float | None:
    """When the first record at the offset or behind it came."""
    if place.partition == 0:
        return waiting_since(asking.system.kafka, place.topic, offset)
    with CommittedReader(asking.system.kafka, place.topic, offset, partition=place.partition) as reader:
        for _ in range(30):
            if records := reader.read(1, 0.1):
                return records[0].timestamp_ms / 1000
            if reader.position() > offset:
                return None
    return None


def _pipeline(asking: Asking) -> Outcome:
    """Its states are kept at least once a minute."""
    topic, now = watch_topic(asking.system.prefix).name, asking.system.clock().timestamp()
    to_do = f"start it: `sealstream run watch` ({_OPERATING})"
    try:
        newest = last_record(asking.system.kafka, topic)
    except TopicMissing:
        newest = None
    if newest is None:
        return failed("nobody looks after the pipeline: there is no state of the watch", to_do=to_do)
    age_s = now - newest.timestamp_ms / 1000
    said = f"the watch over the pipeline kept its state {said_age(age_s)} ago"
    return failed(said, to_do=to_do) if age_s > _LATE_S else passed(said)


def _forwarded(asking: Asking) -> Outcome:
    kafka, prefix, targets = asking.system.kafka, asking.system.prefix, asking.system.targets
    if not targets:
        return failed(
            "no target: nobody is told of an alert who does not look for it",
            to_do="name one in [forward.targets], and `sealstream run forward` (docs/forwarding.md)",
        )
    topics, alerts = ForwardTopics.of(prefix), ActivityTopics.of(prefix).alerts
    try:
        refused, positions = refused_letters(kafka, prefix), kept_positions(kafka, topics.positions)
    except TopicMissing as error:
        return failed(str(error), to_do="start it once: `sealstream run forward` makes its topics (docs/forwarding.md)")
    counts = partition_counts(kafka, [alerts])[alerts]
    ends = end_offsets(kafka, [Place(alerts, number) for number in range(counts)])
    found = []
    for target in targets:
        to_do = "`sealstream forward list` says what was refused and why; docs/forwarding.md"
        kept = positions.get(target)
        places = kept.places if kept else {}
        waiting = sum(
            max(0, end - places[f"{place.topic}/{place.partition}"].next)
            for place, end in ends.items()
            if f"{place.topic}/{place.partition}" in places
        )
        said = f"{waiting:,} alerts are still to be sent, {refused.get(target, 0):,} messages were refused"
        if kept is None:
            to_do = "start it: `sealstream run forward` (docs/forwarding.md)"
            found.append((f"target {target}", failed("nothing was ever sent to it", to_do=to_do)))
        elif waiting or refused.get(target, 0):
            found.append((f"target {target}", failed(said, to_do=to_do)))
        else:
            found.append((f"target {target}", passed(said)))
    return folded(found)


def _looked_into(asking: Asking) -> Outcome:
    return folded(
        (
            f"chain {chain.name}",
            judged_cases(list(fold(asking.statements(chain, ACTIONS)).cases.values()), asking.system.clock()),
        )
        for chain in asking.system.chains
    )


def judged_cases(cases: list[Case], now: datetime) -> Outcome:
    """Whether somebody looked into each alert in time: severe ones within a day, others within a week."""
    waiting = [case for case in cases if case.state == "open" and case.muted_by is None]
    late = [case for case in waiting if now - case.at > _patience(case)]
    done = sum(case.state != "open" for case in cases)
    said = f"{len(cases):,} alerts were raised, {done:,} acknowledged or judged, {len(waiting):,} wait"
    if late:
        oldest = min(late, key=lambda case: case.at)
        return failed(
            f"{said}, {len(late):,} for too long, the oldest since {oldest.at:%Y-%m-%d %H:%M}Z ({oldest.detector})",
            to_do="`sealstream alerts list`, then `sealstream alerts ack` or `close` (docs/alerts.md)",
        )
    return passed(said)


def _patience(case: Case) -> timedelta:
    severe = SEVERITIES.index(case.severity) >= SEVERITIES.index(_SEVERE)
    return _PATIENCE_SEVERE if severe else _PATIENCE


CHECKS = (
    Check(
        "watch.activity",
        "what everybody does is counted as it comes",
        "the position of the roll-up is held against the chain's end",
        _activity,
    ),
    Check(
        "watch.detectors",
        "detectors look at what everybody does (failed logins, spikes, unusual hours)",
        "the committed offsets of the workers' group are held against the activity's end",
        _detectors,
    ),
    Check(
        "watch.pipeline",
        "somebody looks after the log itself: silence, gaps, late checkpoints, sinks that lag",
        "the age of the state that the watch keeps",
        _pipeline,
    ),
    Check(
        "alerts.forwarded",
        "alerts are sent to somebody, and none was refused",
        "the forward sink's positions and letters",
        _forwarded,
    ),
    Check(
        "alerts.acknowledged",
        "each alert is looked into: a severe one within a day, others within a week",
        "the statements about alerts in the chain",
        _looked_into,
    ),
)
