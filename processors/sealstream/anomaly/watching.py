"""All detectors over one subject's records: a record in, alerts out, and what is known of the subject. Pure.

The invariant: alerts follow from the records alone, each byte of them, and a record that is given again, whole or in
part, changes nothing. So a worker that was killed at any line does the last records again, and raises no new alert;
what it must keep in one value is the `Subject`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar

import msgspec

from sealstream.anomaly.actions import ALL, traits_of
from sealstream.anomaly.detecting import Detector, Finding, epoch_of, news_of, second_at
from sealstream.anomaly.runs import Run
from sealstream.errors import NotCanonical
from sealstream.layout.activity import Activity, AddressActivity
from sealstream.layout.alerts import Alert, SubjectKind, alert_id

__all__ = ["INCIDENT_S", "Subject", "Watch", "alert_from", "alert_of", "chosen"]

INCIDENT_S = 3_600
"""Alerts of one subject that follow each other within this are one incident, named by its first alert."""

Seen = TypeVar("Seen", Activity, AddressActivity)


class Subject(msgspec.Struct, Generic[Seen], omit_defaults=True):
    """What is known of one actor or address.

    `states`: by detector. `last`: by chain, the last record that was counted. `incident`, `last_alert_s`: the newest
    incident, and its last alert's second.
    """

    states: dict[str, Any] = {}
    last: dict[str, Seen] = {}
    incident: str = ""
    last_alert_s: int = 0


class Watch(Generic[Seen]):
    """The detectors of one kind of subject. `record`: `Activity` for actors, `AddressActivity` for addresses.

    `goes_on`: where a detector fails at a record, the others are asked all the same, and `failures` has what it was;
    else it is raised.
    """

    def __init__(self, detectors: Sequence[Detector[Any, Seen]], record: type[Seen], *, goes_on: bool = False) -> None:
        self.failures: list[tuple[str, Exception]] = []
        self._goes_on = goes_on
        self._detectors: dict[str, Detector[Any, Seen]] = {each.name: each for each in detectors}
        self._traits: Callable[[Any], int] = traits_of if record is Activity else _any
        self._asked = _Asked(list(self._detectors.values()))
        self._looking: list[tuple[str, Any, Any, int]] = [
            (name, each, getattr(each, "ahead", None), getattr(each, "concerns", ALL))
            for name, each in self._detectors.items()
        ]
        states = [(name, each.state | None, None) for name, each in self._detectors.items()]
        self._states = msgspec.defstruct("States", states, omit_defaults=True)
        self._kept = msgspec.defstruct(
            "Kept",
            [
                ("states", self._states, msgspec.field(default_factory=self._states)),
                ("last", dict[str, record], msgspec.field(default_factory=dict)),  # type: ignore[valid-type]
                ("incident", str, ""),
                ("last_alert_s", int, 0),
            ],
            omit_defaults=True,
        )
        self._decoder = msgspec.json.Decoder(self._kept)
        self._encoder = msgspec.json.Encoder()

    def see(self, subject: Subject[Seen], record: Seen) -> list[Alert]:
        """What follows from one record; `subject` is changed in place."""
        return self.see_all(subject, (record,))

    def see_all(self, subject: Subject[Seen], records: Iterable[Seen]) -> list[Alert]:
        """The same of several, one after another."""
        alerts: list[Alert] = []
        asked, traits = self._asked, self._traits
        states, last = subject.states, subject.last
        at_hand = [states.get(name) for name in self._detectors]
        for record in records:
            news, chain = record, record.chain
            earlier = last.get(chain)
            if earlier is not None and record.second <= earlier.second:
                grown = news_of(record, earlier)
                if grown is None:
                    continue
                news = grown
            last[chain] = record
            second = epoch_of(record.second)
            for place, detect, detector in asked[traits(news)]:
                state = at_hand[place]
                if state is None:
                    state = states[detector.name] = at_hand[place] = detector.state()
                try:
                    after, findings = detect(state, news, second)
                except Exception as error:
                    if not self._goes_on:
                        raise
                    self.failures.append((detector.name, error))
                    continue
                if after is not state:
                    states[detector.name] = at_hand[place] = after
                if findings:
                    alerts += _told(subject, detector, news, second, findings)
        return alerts

    def see_runs(self: Watch[Activity], subject: Subject[Activity], runs: Sequence[Run]) -> list[Alert]:
        """The same of an actor's runs, those of each chain in the order of time and one chain's after another's."""
        if any(run.chain != runs[0].chain for run in runs):
            records = [record for run in runs for record in run.records()]
            return self.see_all(subject, sorted(records, key=attrgetter("second")))
        return [alert for run in runs for alert in self._see_run(subject, run)]

    def _see_run(self: Watch[Activity], subject: Subject[Activity], run: Run) -> list[Alert]:
        """Each detector looks at all of it before the next one does: none of them knows of another."""
        earlier = subject.last.get(run.chain)
        if self._goes_on or not run.is_plain or (earlier is not None and run.first_second <= epoch_of(earlier.second)):
            return self.see_all(subject, run.records())
        found: list[tuple[int, int, Any, Activity, Sequence[Finding]]] = []
        states, record_of = subject.states, run.record
        for place, (name, detector, ahead, concerns) in enumerate(self._looking):
            if ahead is None and not run.traits & concerns:
                continue
            state = states.get(name)
            if state is None:
                state = states[name] = detector.state()
            for second in run.concerned(concerns) if ahead is None else ahead(state, run):
                record = record_of(second)
                state, findings = detector.detect(state, record, second)
                if findings:
                    found.append((second, place, detector, record, findings))
            states[name] = state
        subject.last[run.chain] = record_of(run.last_second)
        found.sort(key=itemgetter(0, 1))
        return [
            alert
            for second, _, detector, record, findings in found
            for alert in _told(subject, detector, record, second, findings)
        ]

    def encode(self, subject: Subject[Seen]) -> bytes:
        """As a table keeps it: JSON; a detector's state that is as at the beginning is left out."""
        states = {name: state for name, state in subject.states.items() if state != self._detectors[name].state()}
        return self._encoder.encode(
            self._kept(self._states(**states), subject.last, subject.incident, subject.last_alert_s)
        )

    def decode(self, value: bytes) -> Subject[Seen]:
        """The reverse. Detectors that are gone are passed over, new ones begin anew. Raises `NotCanonical`."""
        try:
            kept: Any = self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotCanonical(f"not what is known of a subject: {error}: {value[:80]!r}") from error
        states = {name: state for name in self._detectors if (state := getattr(kept.states, name)) is not None}
        return Subject(states, kept.last, kept.incident, kept.last_alert_s)


class _Asked(dict[int, list[tuple[int, Any, Any]]]):
    """Which detectors a record concerns, by its traits: their places, their `detect`, themselves."""

    def __init__(self, detectors: Sequence[Detector[Any, Any]]) -> None:
        super().__init__()
        self._all = [(place, each, getattr(each, "concerns", ALL)) for place, each in enumerate(detectors)]

    def __missing__(self, traits: int) -> list[tuple[int, Any, Any]]:
        asked = self[traits] = [
            (place, each.detect, each) for place, each, concerns in self._all if concerns == ALL or concerns & traits
        ]
        return asked


def _told(
    subject: Subject[Any], detector: Detector[Any, Any], news: Any, second: int, findings: Iterable[Finding]
) -> list[Alert]:
    """The alerts that findings are, each part of an incident."""
    alerts = []
    for finding in findings:
        alert = alert_of(detector, news, finding)
        if not subject.incident or second - subject.last_alert_s > INCIDENT_S:
            subject.incident = alert.id
        subject.last_alert_s = max(second, subject.last_alert_s)
        alerts.append(msgspec.structs.replace(alert, incident=subject.incident))
    return alerts


def _any(_record: object) -> int:
    return ALL


def alert_of(detector: Detector[Any, Any], record: Activity | AddressActivity, finding: Finding) -> Alert:
    """The alert, as if it were alone: its incident is its own."""
    if isinstance(record, Activity):
        alert = alert_from(detector.name, "actor", record.actor_id, record.chain, record.tenant, finding)
    else:
        alert = alert_from(detector.name, "address", record.ip_address, record.chain, None, finding)
    rule = getattr(detector, "rule", None)  # of a Sigma rule's detector
    return alert if rule is None else msgspec.structs.replace(alert, rule=rule)


def alert_from(
    detector: str, kind: SubjectKind, subject: str, chain: str, tenant: str | None, finding: Finding
) -> Alert:
    """The same of any subject, by the detector's name."""
    identity = alert_id(detector, chain, kind, subject, second_at(finding.key_s))
    return Alert(
        id=identity,
        detector=detector,
        subject_kind=kind,
        subject=subject,
        chain=chain,
        severity=finding.severity,
        confidence=round(finding.confidence, 2),
        summary=finding.summary,
        window=(second_at(finding.window[0]), second_at(finding.window[1])),
        query=finding.query,
        incident=identity,
        score=round(finding.score, 2),
        seen=finding.seen,
        usual=finding.usual,
        seqs=finding.seqs,
        tenant=tenant,
    )


def chosen(detectors: Mapping[str, type[Any]], thresholds: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """One of each, with these thresholds instead of its defaults. Raises `msgspec.ValidationError` that names one."""
    made = []
    for name, kind in detectors.items():
        detector = kind()
        if name in thresholds:
            whole = msgspec.structs.asdict(kind.thresholds) | dict(thresholds[name])
            detector.thresholds = msgspec.convert(whole, type(kind.thresholds))
        made.append(detector)
    return made
