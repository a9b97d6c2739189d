"""The log watched as a pipeline: what was observed of a chain, and the detectors that judge it. Pure.

These read no activity but observations that somebody makes of Kafka, the stores and the processes' figures, each with
the second in which it was made. The invariant is that of `watching`: alerts follow from the observations alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import msgspec

from sealstream.anomaly.detecting import Finding
from sealstream.anomaly.watching import INCIDENT_S, alert_from
from sealstream.errors import NotCanonical
from sealstream.layout.alerts import Alert

__all__ = [
    "ChainObserved",
    "DeadLettersObserved",
    "GapObserved",
    "Observation",
    "PipelineDetector",
    "PipelineKept",
    "PipelineWatch",
    "ReviewLate",
    "ReviewsObserved",
    "SinkObserved",
]


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was seen of one chain. `at_s`: when, in epoch seconds."""

    chain: str
    at_s: int

    @property
    def subject(self) -> str:
        """What it is about, as alerts name it."""
        return self.chain


class ChainObserved(Observation, frozen=True, kw_only=True):
    """How far a chain is: entries of any kind, the last of which was sealed in second `sealed_s`; and how many of them
    the newest checkpoint covers, which was signed in `signed_s` (0 and 0: none was).
    """

    size: int
    sealed_s: int
    signed_size: int
    signed_s: int


class GapObserved(Observation, frozen=True, kw_only=True):
    """An entry `producer.gap` at `seq`, sealed at `at_s`: `missing` numbers of a producer were skipped."""

    seq: int
    producer_id: str
    missing: int


class DeadLettersObserved(Observation, frozen=True, kw_only=True):
    """How many records were refused since whoever counts began to; it may begin anew. `seqs`: of the entries
    `input.passed` that say so, where they are known.
    """

    refused: int
    seqs: list[list[int]] = []


class SinkObserved(Observation, frozen=True, kw_only=True):
    """How far a sink is: it holds `stored` of the chain's `size` entries, and the oldest that waits has waited `lag_s`
    seconds (0: none does). `sink`: the process's name.
    """

    sink: str
    stored: int
    size: int
    lag_s: float

    @property
    def subject(self) -> str:
        """The chain and the sink."""
        return f"{self.chain}/{self.sink}"


class ReviewLate(msgspec.Struct, frozen=True):
    """A period, as people write it, whose review was due in second `due_s`. `first_s`: its first second. `started_by`:
    who has begun it; empty: nobody.
    """

    period: str
    first_s: int
    due_s: int
    started_by: str = ""


class ReviewsObserved(Observation, frozen=True, kw_only=True):
    """Which reviews of a chain are overdue, in the order in which they were due. `every`: the kind of period."""

    every: Literal["day", "week", "month"]
    overdue: list[ReviewLate]


State = TypeVar("State", bound=msgspec.Struct)
_Seen_contra = TypeVar("_Seen_contra", bound=Observation, contravariant=True)


class PipelineDetector(Protocol[State, _Seen_contra]):
    """As `Detector`, but of observations: `reads` says of which."""

    name: ClassVar[str]
    says: ClassVar[str]
    reads: ClassVar[type[Observation]]
    state: ClassVar[type[msgspec.Struct]]
    thresholds: Any

    def detect(self, state: State, seen: _Seen_contra) -> tuple[State, Sequence[Finding]]:
        """What follows from one observation. `state` is used up."""
        ...


class PipelineKept(msgspec.Struct):
    """What is known: by detector and subject its state; by chain the newest incident and its last alert's second."""

    states: dict[str, dict[str, Any]] = {}
    incidents: dict[str, tuple[str, int]] = {}


class PipelineWatch:
    """The pipeline's detectors together."""

    def __init__(self, detectors: Sequence[PipelineDetector[Any, Any]]) -> None:
        self._detectors = list(detectors)
        states: list[tuple[str, Any, Any]] = [
            (each.name, dict[str, each.state], msgspec.field(default_factory=dict))  # type: ignore[name-defined]
            for each in detectors
        ]
        self._states = msgspec.defstruct("PipelineStates", states)
        kept = [("states", self._states), ("incidents", dict[str, tuple[str, int]])]
        self._kept = msgspec.defstruct("PipelineKept", kept)
        self._decoder = msgspec.json.Decoder(self._kept)

    def see(self, kept: PipelineKept, seen: Observation) -> list[Alert]:
        """What follows from one observation; `kept` is changed in place."""
        alerts = []
        for detector in self._detectors:
            if not isinstance(seen, detector.reads):
                continue
            states = kept.states.setdefault(detector.name, {})
            state = states.get(seen.subject)
            states[seen.subject], findings = detector.detect(detector.state() if state is None else state, seen)
            for finding in findings:
                alert = alert_from(detector.name, "pipeline", seen.subject, seen.chain, None, finding)
                incident, last_s = kept.incidents.get(seen.chain, ("", 0))
                if not incident or seen.at_s - last_s > INCIDENT_S:
                    incident = alert.id
                kept.incidents[seen.chain] = incident, max(seen.at_s, last_s)
                alerts.append(msgspec.structs.replace(alert, incident=incident))
        return alerts

    def encode(self, kept: PipelineKept) -> bytes:
        """JSON."""
        return msgspec.json.encode(self._kept(self._states(**kept.states), kept.incidents))

    def decode(self, value: bytes) -> PipelineKept:
        """The reverse. Detectors that are gone are passed over, new ones begin anew. Raises `NotCanonical`."""
        try:
            kept: Any = self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotCanonical(f"not what is known of the pipeline: {error}: {value[:80]!r}") from error
        return PipelineKept({each.name: getattr(kept.states, each.name) for each in self._detectors}, kept.incidents)
